using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.InteropServices;

namespace Cloze.Tests
{
    using Fields = Dictionary<string, object>;

    /// <summary>The generated layer against the library and bindings/layouts.json.</summary>
    internal static class LayoutTests
    {
        private const BindingFlags Own =
            BindingFlags.Instance | BindingFlags.Static | BindingFlags.NonPublic | BindingFlags.Public;

        private static readonly Type Raw = typeof(Model).Assembly.GetType("Cloze.Raw");

        [Test]
        private static void StructsAreLaidOutAsInC()
        {
            var layouts = (Fields)Json.Parse(File.ReadAllText(Path.Combine(Place.Root, "bindings/layouts.json")));
            Dictionary<string, Type> structs = Raw.GetNestedTypes(BindingFlags.NonPublic)
                .Where(type => type.IsValueType).ToDictionary(type => type.Name);
            Check.Equal(
                string.Join(" ", structs.Keys.OrderBy(name => name, StringComparer.Ordinal)),
                string.Join(" ", layouts.Keys.OrderBy(name => name, StringComparer.Ordinal)),
                "structs");
            foreach (KeyValuePair<string, Type> own in structs)
            {
                var layout = (Fields)layouts[own.Key];
                Check.Equal(Size(own.Value), (long)((Number)layout["size"]).Value, own.Key);
                FieldInfo[] fields = own.Value.GetFields(Own);
                var expected = (Fields)layout["fields"];
                Check.Equal(fields.Length, expected.Count, own.Key + ", fields");
                foreach (FieldInfo field in fields)
                {
                    string name = $"{own.Key}.{field.Name}";
                    Check.True(expected.ContainsKey(field.Name), name);
                    Check.Equal(Offset(own.Value, field), (long)((Number)expected[field.Name]).Value, name);
                }
            }
        }

        [Test]
        private static void EveryFunctionIsInTheLibrary()
        {
            MethodInfo[] functions = Raw.GetMethods(Own)
                .Where(method => method.Attributes.HasFlag(MethodAttributes.PinvokeImpl)).ToArray();
            Check.True(functions.Length > 60, $"{functions.Length} functions");
            foreach (MethodInfo function in functions)
            {
                Marshal.Prelink(function);
            }
        }

        [Test]
        private static void StatusesHaveTheNamesOfC()
        {
            foreach (FieldInfo constant in Raw.GetFields(Own).Where(field => field.FieldType == typeof(int)))
            {
                if (constant.Name == "CLOZE_OK" || constant.Name == "CLOZE_ABI" || constant.Name == "CLOZE_IGNORED"
                    || constant.Name == "CLOZE_MAX_METRICS")
                {
                    continue;
                }
                var status = (Status)(int)constant.GetRawConstantValue();
                Check.Equal("cloze" + Reading.Plain(status.ToString()), Reading.Plain(constant.Name), constant.Name);
            }
        }

        /// <summary>What sizeof tells: the layout that unsafe code uses.</summary>
        private static long Size(Type type)
        {
            return Compute(il => il.Emit(OpCodes.Sizeof, type));
        }

        private static long Offset(Type type, FieldInfo field)
        {
            return Compute(il =>
            {
                LocalBuilder local = il.DeclareLocal(type);
                il.Emit(OpCodes.Ldloca, local);
                il.Emit(OpCodes.Ldflda, field);
                il.Emit(OpCodes.Conv_U);
                il.Emit(OpCodes.Ldloca, local);
                il.Emit(OpCodes.Conv_U);
                il.Emit(OpCodes.Sub);
            });
        }

        private static long Compute(Action<ILGenerator> code)
        {
            var method = new DynamicMethod("compute", typeof(long), Type.EmptyTypes, Raw.Module, true);
            ILGenerator il = method.GetILGenerator();
            code(il);
            il.Emit(OpCodes.Conv_I8);
            il.Emit(OpCodes.Ret);
            return ((Func<long>)method.CreateDelegate(typeof(Func<long>)))();
        }
    }
}
