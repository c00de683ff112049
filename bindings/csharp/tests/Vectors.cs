using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;

namespace Cloze.Tests
{
    using Fields = Dictionary<string, object>;

    /// <summary>The calls that the tests of every language make.</summary>
    internal static class VectorTests
    {
        [Test]
        private static void DifferencesAreFound()
        {
            var comparison = new Comparison((Fields)Json.Parse("{\"default\": 1e-3, \"loss\": 0.1}"));
            Func<string, object, bool> differ = (expected, found) =>
            {
                try
                {
                    comparison.Same(Json.Parse(expected), found);
                    return false;
                }
                catch (FailedException)
                {
                    return true;
                }
            };
            Check.True(!differ("[{\"a\": 1.0, \"loss\": 2.0}]", new[] { new { A = 1.0009, Loss = 2.19 } }), "alike");
            Check.True(differ("{\"a\": 1.0}", new { A = 1.0011 }), "a number");
            Check.True(differ("{\"loss\": 2.0}", new { Loss = 2.3 }), "a number with a tolerance");
            Check.True(differ("[1, 2]", new[] { 1, 2, 3 }), "a list");
            Check.True(differ("{\"a\": 1}", new { B = 1 }), "a field");
            Check.True(differ("4", 5), "a whole number");
            Check.True(differ("\"\\u00e9\"", "e"), "a text");
            Check.True(differ("null", 0.0), "NaN");
            Check.True(differ("{\"a\": 1}", new Fields { { "b", 1 } }), "a field of a dictionary");
        }

        [Test]
        private static void EveryCaseAnswersWhatTheFileSays()
        {
            var file = (Fields)Json.Parse(File.ReadAllText(Path.Combine(Place.Root, "bindings/vectors.json")));
            Check.Equal(((Number)file["format"]).Value, 1.0, "format");
            var options = new OpenOptions { Threads = (int)((Number)file["threads"]).Value };
            Dictionary<string, Model> models = ((Fields)file["models"]).ToDictionary(
                entry => entry.Key, entry => Model.Open(Path.Combine(Place.Root, (string)entry.Value), options));
            var reading = new Reading(file);
            var cases = (List<object>)file["cases"];
            Check.True(cases.Count > 90, $"{cases.Count} cases");
            var wrong = new List<string>();
            int answered = 0;
            foreach (Fields given in cases)
            {
                if (!Reading.IsString(given))
                {
                    Console.WriteLine($"left out, it is no string: {given["name"]}");
                    continue;
                }
                try
                {
                    Judge(file, given, models, new VectorCalls(reading, given));
                    answered++;
                }
                catch (FailedException e)
                {
                    wrong.Add($"{given["name"]}: {e.Message}");
                }
            }
            foreach (Model model in models.Values)
            {
                model.Dispose();
            }
            Console.WriteLine($"{answered} of {cases.Count} cases of vectors.json");
            Check.True(wrong.Count == 0, string.Join("\n    ", wrong));
        }

        private static void Judge(Fields file, Fields given, Dictionary<string, Model> models, VectorCalls calls)
        {
            var tolerances = new Comparison(Reading.Get(given, "tolerance") as Fields, (Fields)file["tolerance"]);
            var error = Reading.Get(given, "error") as Fields;
            object found;
            try
            {
                found = calls.Answer(models[Reading.Get(given, "model") as string ?? "base"], tolerances);
            }
            catch (OperationCanceledException e)
            {
                JudgeError(error, Status.Cancelled, e.Message);
                return;
            }
            catch (ClozeException e)
            {
                var call = (string)given["call"];
                bool leftOut = e.Status == Status.Unsupported && e.Message.Contains("linalg");
                if (!leftOut || (call != "solve" && call != "whiten"))
                {
                    JudgeError(error, e.Status, e.Message);
                }
                return;
            }
            Check.True(error == null, $"no error, expected {Json.Write(error)}");
            tolerances.Same(given["expected"], found, (string)given["call"]);
        }

        private static void JudgeError(Fields error, Status status, string message)
        {
            bool same = error != null
                && Reading.Plain((string)error["status"]) == "cloze" + Reading.Plain(status.ToString())
                && message.Contains((string)error["message"]);
            Check.True(same, $"{status}: {message}, expected {Json.Write(error)}");
        }
    }
}
