using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;

namespace Cloze.Bench
{
    /// <summary>What the assembly costs: embeds the same 1,000 texts by Embed and by cloze_embed with everything
    /// prepared, turn by turn, with one thread each. Overhead MODEL [-cpu] [-cancel] [-pairs N]</summary>
    internal static unsafe class Overhead
    {
        [StructLayout(LayoutKind.Sequential)]
        private struct Input
        {
            internal byte* Text;
            internal UIntPtr TextSize;
            internal byte* Pair;
            internal UIntPtr PairSize;
            internal int* Ids;
            internal int* Types;
            internal UIntPtr IdCount;
        }

        [StructLayout(LayoutKind.Sequential)]
        private struct OpenOptions
        {
            internal uint Size;
            internal uint Threads;
            internal byte* Device;
            internal uint Precision;
            internal uint Reserved;
        }

        [DllImport("cloze", CallingConvention = CallingConvention.Cdecl)]
        private static extern int cloze_model_open(byte* folder, OpenOptions* options, IntPtr* model, byte* error);

        [DllImport("cloze", CallingConvention = CallingConvention.Cdecl)]
        private static extern void cloze_model_close(IntPtr model);

        [DllImport("cloze", CallingConvention = CallingConvention.Cdecl)]
        private static extern int cloze_embed(
            IntPtr model, Input* inputs, UIntPtr count, void* options, float* embeddings, UIntPtr capacity,
            UIntPtr* written, byte* error);

        [DllImport("libc", CallingConvention = CallingConvention.Cdecl)]
        private static extern int clock_gettime(int clock, long* time);

        /// <summary>Of all threads of the process, in seconds; Linux.</summary>
        private static double ProcessorTime()
        {
            long* time = stackalloc long[2];
            clock_gettime(2, time);
            return time[0] + time[1] * 1e-9;
        }

        private static int Main(string[] arguments)
        {
            bool cpu = arguments.Contains("-cpu"), cancel = arguments.Contains("-cancel");
            int at = Array.IndexOf(arguments, "-pairs"), pairs = at < 0 ? 31 : int.Parse(arguments[at + 1]);
            Func<double> now = cpu
                ? ProcessorTime
                : (Func<double>)(() => Stopwatch.GetTimestamp() / (double)Stopwatch.Frequency);
            string[] texts = Enumerable.Range(0, 1000).Select(i => $"The old man sat by the fire, {i}.").ToArray();

            IntPtr opened;
            var options = new OpenOptions { Size = (uint)sizeof(OpenOptions), Threads = 1 };
            byte* error = (byte*)Marshal.AllocHGlobal(256);
            if (cloze_model_open(Utf8(arguments[0]), &options, &opened, error) != 0)
            {
                throw new InvalidOperationException(Marshal.PtrToStringAnsi((IntPtr)(error + 4)));
            }
            IntPtr raw = opened;
            using (Model model = Model.Open(arguments[0], new Cloze.OpenOptions { Threads = 1 }))
            using (var source = new CancellationTokenSource())
            {
                CancellationToken token = cancel ? source.Token : CancellationToken.None;
                int numbers = texts.Length * model.Info.Embedding;
                Input* inputs = (Input*)Marshal.AllocHGlobal(texts.Length * sizeof(Input));
                float* vectors = (float*)Marshal.AllocHGlobal(numbers * sizeof(float));
                for (int i = 0; i < texts.Length; i++)
                {
                    inputs[i] = new Input
                    {
                        Text = Utf8(texts[i]), TextSize = (UIntPtr)(uint)Encoding.UTF8.GetByteCount(texts[i]),
                    };
                }
                float[] found = null;
                Func<double> fromC = () =>
                {
                    UIntPtr written;
                    double start = now();
                    int status = cloze_embed(
                        raw, inputs, (UIntPtr)(uint)texts.Length, null, vectors, (UIntPtr)(uint)numbers, &written,
                        error);
                    double took = now() - start;
                    return status == 0 ? took : throw new InvalidOperationException($"status {status}");
                };
                Func<double> fromSharp = () =>
                {
                    double start = now();
                    found = model.Embed(texts, null, token).Data;
                    return now() - start;
                };
                fromC();
                fromSharp();
                for (int i = 0; i < numbers; i++)
                {
                    if (found[i] != vectors[i])
                    {
                        throw new InvalidOperationException($"number {i}: {found[i]}, from C {vectors[i]}");
                    }
                }
                var ratios = new List<double>();
                var c = new List<double>();
                for (int i = 0; i < pairs; i++)
                {
                    double own = i % 2 == 0 ? 0 : fromSharp(); // neither is always the first
                    c.Add(fromC());
                    own = i % 2 == 0 ? fromSharp() : own;
                    ratios.Add(own / c[i]);
                }
                ratios.Sort();
                c.Sort();
                Console.WriteLine(
                    $"{texts.Length} texts, {(cpu ? "processor time" : "time")}{(cancel ? ", with a token" : "")}: "
                    + $"C {1e3 * c[pairs / 2]:F1} ms; C# {100 * (ratios[pairs / 2] - 1):+0.00;-0.00} % "
                    + $"({100 * (ratios[pairs / 4] - 1):+0.00;-0.00} to {100 * (ratios[pairs * 3 / 4] - 1):+0.00;-0.00}"
                    + $", quartiles of {pairs} pairs)");

                Stopwatch clock = Stopwatch.StartNew();
                for (int i = 0; i < 100; i++)
                {
                    Prepared(texts, numbers);
                }
                Console.WriteLine($"of it inputs and results: {clock.Elapsed.TotalMilliseconds * 10:F0} us a call");
            }
            cloze_model_close(raw);
            return 0;
        }

        /// <summary>What a call does beside that of the library.</summary>
        private static void Prepared(string[] texts, int numbers)
        {
            var inputs = new Inputs(texts);
            var encoding = new UTF8Encoding(false, true);
            byte[] room = new byte[3 * texts.Sum(text => text.Length)];
            int written = texts.Aggregate(0, (start, text) =>
                start + encoding.GetBytes(text, 0, text.Length, room, start));
            if (new Matrix(new float[numbers], numbers / inputs.Count).Rows != texts.Length || written == 0)
            {
                throw new InvalidOperationException();
            }
        }

        private static byte* Utf8(string text)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(text + "\0");
            IntPtr copy = Marshal.AllocHGlobal(bytes.Length);
            Marshal.Copy(bytes, 0, copy, bytes.Length);
            return (byte*)copy;
        }
    }
}
