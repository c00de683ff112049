using System;
using System.Text;

namespace Cloze
{
    /// <summary>Text and numbers between C and C#.</summary>
    internal static unsafe class Native
    {
        /// <summary>UTF-8 that refuses lone surrogates, and does not hide bytes that are none.</summary>
        internal static readonly UTF8Encoding Utf8 = new UTF8Encoding(false, true);

        /// <summary>A text that ends with NUL.</summary>
        internal static string Text(byte* text)
        {
            int size = 0;
            while (text[size] != 0)
            {
                size++;
            }
            return Encoding.UTF8.GetString(text, size);
        }

        internal static int Length(UIntPtr count)
        {
            return checked((int)count.ToUInt64());
        }

        internal static UIntPtr Size(int count)
        {
            return (UIntPtr)(uint)count;
        }

        /// <summary>Refuses what is below 0.</summary>
        internal static uint U32(int value, string name)
        {
            if (value < 0)
            {
                throw new ArgumentOutOfRangeException(name, value, $"{name} is {value}, it cannot be below 0");
            }
            return (uint)value;
        }

        /// <summary>Refuses what is below 0.</summary>
        internal static ulong U64(long value, string name)
        {
            if (value < 0)
            {
                throw new ArgumentOutOfRangeException(name, value, $"{name} is {value}, it cannot be below 0");
            }
            return (ulong)value;
        }

        /// <summary>C takes 0 for the default and less for 0.</summary>
        internal static double OrDefault(double? value)
        {
            return value == null ? 0 : value == 0 ? -1 : value.Value;
        }
    }
}
