using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;

namespace Cloze.Tests
{
    /// <summary>A method that the runner calls. It fails by throwing.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    internal sealed class TestAttribute : Attribute
    {
    }

    internal sealed class FailedException : Exception
    {
        internal FailedException(string message)
            : base(message)
        {
        }
    }

    internal sealed class SkippedException : Exception
    {
        internal SkippedException(string message)
            : base(message)
        {
        }
    }

    internal static class Check
    {
        internal static void True(bool condition, string message)
        {
            if (!condition)
            {
                throw new FailedException(message);
            }
        }

        internal static void Equal<T>(T found, T expected, string what)
        {
            True(Equals(found, expected), $"{what}: {found}, expected {expected}");
        }

        internal static void Same(float[] found, float[] expected, string what)
        {
            True(found.SequenceEqual(expected), $"{what}: other numbers");
        }

        /// <summary>The exception that an action throws, of a type, with a part of its message.</summary>
        internal static T Throws<T>(Action action, string part)
            where T : Exception
        {
            try
            {
                action();
            }
            catch (T e)
            {
                True(e.Message.Contains(part), $"{e.Message}, expected \"{part}\"");
                return e;
            }
            catch (Exception e)
            {
                throw new FailedException(
                    $"{e.GetType().Name}: {e.Message}, expected {typeof(T).Name} with \"{part}\"");
            }
            throw new FailedException($"nothing thrown, expected {typeof(T).Name} with \"{part}\"");
        }

        internal static void Throws(Status status, string part, Action action)
        {
            Equal(Throws<ClozeException>(action, part).Status, status, part);
        }
    }

    /// <summary>Folders that tests read or write.</summary>
    internal static class Place
    {
        private static readonly List<string> Temporary = new List<string>();

        /// <summary>The root of the repository.</summary>
        internal static string Root => Environment.GetEnvironmentVariable("CLOZE_ROOT") ?? "../..";

        internal static string Model => Path.Combine(Root, "model");

        /// <summary>The folder of a model beside the checkout. Without it the test is skipped, or fails where
        /// CLOZE_REQUIRE has "shared".</summary>
        internal static string Shared(string name)
        {
            string folder = Path.Combine(Root, "../shared/models", name);
            if (!Directory.Exists(folder))
            {
                Check.True(!Required("shared"), $"CLOZE_REQUIRE has shared, but {folder} is not there");
                throw new SkippedException($"{folder} is not there");
            }
            return folder;
        }

        internal static bool Required(string what)
        {
            return (Environment.GetEnvironmentVariable("CLOZE_REQUIRE") ?? "").Split(',').Contains(what);
        }

        /// <summary>An empty folder, which is deleted at the end.</summary>
        internal static string New()
        {
            string folder = Path.Combine(Path.GetTempPath(), "cloze-" + Guid.NewGuid().ToString("N"));
            Directory.CreateDirectory(folder);
            Temporary.Add(folder);
            return folder;
        }

        internal static void Clean()
        {
            foreach (string folder in Temporary)
            {
                Directory.Delete(folder, true);
            }
        }
    }

    internal static class Program
    {
        private static int Main(string[] names)
        {
            var tests = typeof(Program).Assembly.GetTypes()
                .SelectMany(type => type.GetMethods(BindingFlags.Static | BindingFlags.NonPublic | BindingFlags.Public))
                .Where(method => method.GetCustomAttribute<TestAttribute>() != null)
                .Where(method => names.Length == 0 || names.Contains(method.Name))
                .OrderBy(method => method.Name, StringComparer.Ordinal);
            int passed = 0, failed = 0, skipped = 0;
            foreach (MethodInfo test in tests)
            {
                try
                {
                    ((Action)Delegate.CreateDelegate(typeof(Action), test))();
                    passed++;
                }
                catch (SkippedException e)
                {
                    Console.WriteLine($"SKIPPED {test.Name}: {e.Message}");
                    skipped++;
                }
                catch (Exception e)
                {
                    Console.WriteLine($"FAILED {test.Name}: {(e is FailedException ? e.Message : e.ToString())}");
                    failed++;
                }
            }
            Place.Clean();
            Console.WriteLine($"{passed} passed, {failed} failed, {skipped} skipped");
            return failed == 0 && passed > 0 ? 0 : 1;
        }
    }
}
