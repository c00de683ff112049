using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Text;

namespace Cloze.Tests
{
    /// <summary>A number as it is written: "2.0" is not "2".</summary>
    internal sealed class Number
    {
        internal string Text { get; }

        internal double Value => double.Parse(Text, CultureInfo.InvariantCulture);

        internal bool HasPoint => Text.IndexOfAny(new[] { '.', 'e', 'E' }) >= 0;

        internal Number(string text)
        {
            Text = text;
        }
    }

    /// <summary>JSON as Dictionary, List, string, Number, bool and null.</summary>
    internal sealed class Json
    {
        private readonly string text;
        private int at;

        private Json(string text)
        {
            this.text = text;
        }

        internal static object Parse(string text)
        {
            var json = new Json(text);
            object value = json.Value();
            json.Blank();
            return json.at == text.Length ? value : throw json.Wrong();
        }

        internal static string Write(object value)
        {
            if (value == null)
            {
                return "null";
            }
            if (value is bool flag)
            {
                return flag ? "true" : "false";
            }
            if (value is Number number)
            {
                return number.Text;
            }
            if (value is string s)
            {
                return "\"" + string.Concat(s.Select(Escaped)) + "\"";
            }
            if (value is List<object> list)
            {
                return "[" + string.Join(",", list.Select(Write)) + "]";
            }
            if (value is Dictionary<string, object> fields)
            {
                return "{" + string.Join(",", fields.Select(f => Write(f.Key) + ":" + Write(f.Value))) + "}";
            }
            throw new ArgumentException(value.GetType().Name);
        }

        private static string Escaped(char c)
        {
            return c < ' ' || c == '"' || c == '\\' ? $"\\u{(int)c:x4}" : c.ToString();
        }

        private FormatException Wrong()
        {
            return new FormatException($"JSON: unexpected character {at}");
        }

        private void Blank()
        {
            while (at < text.Length && char.IsWhiteSpace(text[at]))
            {
                at++;
            }
        }

        private bool Take(string expected)
        {
            Blank();
            if (string.CompareOrdinal(text, at, expected, 0, expected.Length) != 0)
            {
                return false;
            }
            at += expected.Length;
            return true;
        }

        private void Need(string expected)
        {
            if (!Take(expected))
            {
                throw Wrong();
            }
        }

        private object Value()
        {
            if (Take("{"))
            {
                return Fields();
            }
            if (Take("["))
            {
                return Elements();
            }
            if (Take("\""))
            {
                return Text();
            }
            if (Take("true"))
            {
                return true;
            }
            if (Take("false"))
            {
                return false;
            }
            if (Take("null"))
            {
                return null;
            }
            int start = at;
            while (at < text.Length && "+-.eE0123456789".IndexOf(text[at]) >= 0)
            {
                at++;
            }
            return at > start ? new Number(text.Substring(start, at - start)) : throw Wrong();
        }

        private Dictionary<string, object> Fields()
        {
            var fields = new Dictionary<string, object>();
            if (Take("}"))
            {
                return fields;
            }
            do
            {
                Need("\"");
                string name = Text();
                Need(":");
                fields.Add(name, Value());
            }
            while (Take(","));
            Need("}");
            return fields;
        }

        private List<object> Elements()
        {
            var elements = new List<object>();
            if (Take("]"))
            {
                return elements;
            }
            do
            {
                elements.Add(Value());
            }
            while (Take(","));
            Need("]");
            return elements;
        }

        private string Text()
        {
            var s = new StringBuilder();
            for (; ; at++)
            {
                if (at >= text.Length)
                {
                    throw Wrong();
                }
                if (text[at] == '"')
                {
                    at++;
                    return s.ToString();
                }
                if (text[at] != '\\')
                {
                    s.Append(text[at]);
                    continue;
                }
                at++;
                int known = "nrtbf".IndexOf(text[at]);
                if (text[at] == 'u')
                {
                    s.Append((char)int.Parse(text.Substring(at + 1, 4), NumberStyles.HexNumber));
                    at += 4;
                }
                else
                {
                    s.Append(known >= 0 ? "\n\r\t\b\f"[known] : text[at]);
                }
            }
        }
    }
}
