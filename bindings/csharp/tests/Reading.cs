using System;
using System.Collections;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using System.Text;

namespace Cloze.Tests
{
    using Fields = Dictionary<string, object>;

    /// <summary>What bindings/vectors.json says, as values of C#. bindings/README.md tells its schema.</summary>
    internal sealed class Reading
    {
        private readonly Fields constants;
        private readonly Fields datasets;

        internal Reading(Fields file)
        {
            constants = (Fields)file["constants"];
            datasets = (Fields)file["datasets"];
        }

        /// <summary>A name without what differs between languages: "log_likelihood" and LogLikelihood are
        /// one.</summary>
        internal static string Plain(string name)
        {
            return name.Replace("_", "").ToLowerInvariant();
        }

        internal static object Get(Fields fields, string name)
        {
            object value;
            return fields.TryGetValue(name, out value) ? value : null;
        }

        internal static PropertyInfo Property(Type type, string name)
        {
            string plain = Plain(name);
            return type.GetProperties().FirstOrDefault(p => Plain(p.Name) == plain || Plain(p.Name) == "is" + plain);
        }

        internal double Number(object value)
        {
            var name = value as string;
            return ((Number)(name == null ? value : constants[name])).Value;
        }

        /// <summary>Options of a call; null where there are none.</summary>
        internal T Options<T>(object from)
            where T : class, new()
        {
            if (from == null)
            {
                return null;
            }
            var options = new T();
            foreach (KeyValuePair<string, object> field in (Fields)from)
            {
                PropertyInfo property = Property(typeof(T), field.Key);
                Check.True(property != null, $"{typeof(T).Name} has no property for {field.Key}");
                property.SetValue(options, As(property.PropertyType, field.Value));
            }
            return options;
        }

        internal T[] List<T>(object from)
        {
            return from == null ? null : ((List<object>)from).Select(value => (T)As(typeof(T), value)).ToArray();
        }

        private object As(Type type, object value)
        {
            type = Nullable.GetUnderlyingType(type) ?? type;
            var list = value as List<object>;
            if (type == typeof(string) || type == typeof(bool))
            {
                return value;
            }
            if (type.IsEnum)
            {
                var names = list ?? new List<object> { value };
                return Enum.ToObject(type, names.Aggregate(0u, (bits, name) => bits | (uint)Number(name)));
            }
            if (list != null)
            {
                return type == typeof(int[]) ? List<int>(value)
                    : type == typeof(float[]) ? List<float>(value)
                    : (object)List<string>(value);
            }
            return Convert.ChangeType(Number(value), type);
        }

        internal static Inputs InputsOf(Fields call)
        {
            return new Inputs(((List<object>)call["inputs"]).Select(input => InputOf((Fields)input)));
        }

        /// <summary>Bytes that are no UTF-8 are no string: a case with them is left out.</summary>
        internal static bool IsString(Fields call)
        {
            var inputs = Get(call, "inputs") as List<object>;
            return inputs == null || !inputs.Any(input => ((Fields)input).ContainsKey("utf8"));
        }

        private static Input InputOf(Fields input)
        {
            if (input.ContainsKey("ids"))
            {
                return Input.OfIds(Ints(input["ids"]), Ints(Get(input, "types")));
            }
            var text = (string)input["text"];
            var times = Get(input, "times") as Number;
            if (times != null)
            {
                text = string.Concat(Enumerable.Repeat(text, (int)times.Value));
            }
            var pair = Get(input, "pair") as string;
            return pair == null ? Input.OfText(text) : Input.OfPair(text, pair);
        }

        private static int[] Ints(object from)
        {
            return ((List<object>)from)?.Select(number => (int)((Number)number).Value).ToArray();
        }

        internal List<object> Examples(object from)
        {
            return (List<object>)(from is string ? datasets[(string)from] : from);
        }

        internal Dataset DatasetOf(IEnumerable<object> examples)
        {
            var data = new Dataset();
            foreach (Fields example in examples)
            {
                if (example.ContainsKey("words"))
                {
                    data.AddWords(List<string>(example["words"]), List<string>(Get(example, "tags")));
                    continue;
                }
                data.Add(InputOf(example), TargetOf(example));
            }
            return data;
        }

        private Target TargetOf(Fields example)
        {
            object value;
            if (example.TryGetValue("label", out value))
            {
                return Target.Label((string)value);
            }
            if (example.TryGetValue("labels", out value))
            {
                return Target.Labels(List<string>(value));
            }
            if (example.TryGetValue("number", out value))
            {
                return Target.Numbers((float)Number(value));
            }
            if (example.TryGetValue("numbers", out value))
            {
                return Target.Numbers(List<float>(value));
            }
            if (example.TryGetValue("token_labels", out value))
            {
                return Target.TokenLabels(Ints(value));
            }
            if (example.TryGetValue("answer", out value))
            {
                byte[] pair = Encoding.UTF8.GetBytes((string)example["pair"]);
                int bytes = (int)Number(example["start"]);
                return Target.Answer((string)value, Encoding.UTF8.GetCharCount(pair, 0, bytes));
            }
            return Target.None;
        }
    }

    /// <summary>Compares what is expected with what was answered.</summary>
    internal sealed class Comparison
    {
        private readonly Fields[] tolerances;

        /// <summary>Tolerances by names of fields, those of the case first.</summary>
        internal Comparison(params Fields[] tolerances)
        {
            this.tolerances = tolerances.Where(tolerance => tolerance != null).ToArray();
        }

        internal void Same(object expected, object found, params string[] at)
        {
            string where = string.Join(".", at);
            if (expected is Number)
            {
                SameNumber((Number)expected, found, at);
            }
            else if (expected is Fields)
            {
                foreach (KeyValuePair<string, object> field in (Fields)expected)
                {
                    Same(field.Value, Member(found, field.Key, where), at.Concat(new[] { field.Key }).ToArray());
                }
            }
            else if (expected is List<object>)
            {
                var list = (List<object>)expected;
                object[] elements = Elements(found, where);
                Check.Equal(elements.Length, list.Count, where + ", elements");
                for (int i = 0; i < list.Count; i++)
                {
                    Same(list[i], elements[i], at.Concat(new[] { i.ToString() }).ToArray());
                }
            }
            else if (expected == null)
            {
                Check.True(found is double && double.IsNaN((double)found), $"{where}: {found}, expected NaN");
            }
            else
            {
                Check.True(Equals(found, expected), $"{where}: {found}, expected {expected}");
            }
        }

        private static object Member(object found, string name, string where)
        {
            var fields = found as IEnumerable<KeyValuePair<string, object>>;
            var metrics = found as IReadOnlyDictionary<string, double>;
            Check.True(found != null, $"{where}: nothing");
            if (fields != null || metrics != null)
            {
                object value = fields?.FirstOrDefault(field => field.Key == name).Value;
                double metric = 0;
                Check.True(value != null || (metrics?.TryGetValue(name, out metric) ?? false), $"{where}: no {name}");
                return value ?? metric;
            }
            PropertyInfo property = Reading.Property(found.GetType(), name);
            Check.True(property != null, $"{where}: {found.GetType().Name} has no {name}");
            return property.GetValue(found);
        }

        private static object[] Elements(object found, string where)
        {
            var matrix = found as Matrix;
            if (matrix != null)
            {
                return Enumerable.Range(0, matrix.Rows).Select(row => (object)matrix.Row(row)).ToArray();
            }
            Check.True(found is IEnumerable, $"{where}: {found}, expected a list");
            return ((IEnumerable)found).Cast<object>().ToArray();
        }

        private void SameNumber(Number expected, object found, string[] at)
        {
            string where = string.Join(".", at);
            Check.True(
                found is Enum || found is bool || found is IConvertible && !(found is string),
                $"{where}: {found}, expected {expected.Text}");
            double number = Convert.ToDouble(found is Enum ? Convert.ToInt64(found) : found);
            double room = expected.HasPoint ? Within(at) * Math.Max(1, Math.Abs(expected.Value)) : 0;
            Check.True(
                Math.Abs(number - expected.Value) <= room,
                $"{where}: {number:R}, expected {expected.Text} within {room}");
        }

        /// <summary>The tolerance of the nearest field above a number.</summary>
        private double Within(string[] at)
        {
            foreach (Fields tolerance in tolerances)
            {
                string name = at.Reverse().FirstOrDefault(tolerance.ContainsKey);
                if (name == null && tolerance.ContainsKey("default"))
                {
                    name = "default";
                }
                if (name != null)
                {
                    return ((Number)tolerance[name]).Value;
                }
            }
            return 0;
        }
    }
}
