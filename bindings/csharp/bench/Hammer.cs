using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;

namespace Cloze.Bench
{
    /// <summary>32 tasks on one model, with tokens that are cancelled at random: every answer is that of a single
    /// thread, or the call was cancelled. Hammer MODEL SECONDS</summary>
    internal static class Hammer
    {
        private const int Tasks = 32;

        private static readonly string[] Texts =
        {
            "The old man sat by the fire.", "It rained all day.", "She poured out the tea.", "caf\u00e9 \ud83d\ude00",
            "",
        };

        private static long answers;
        private static long cancelled;
        private static long wrong;

        private static int Main(string[] arguments)
        {
            var seconds = double.Parse(arguments[1]);
            using (Model model = Model.Open(arguments[0], new OpenOptions { Threads = 1 }))
            {
                Func<CancellationToken, Array>[] calls = Calls(model).ToArray();
                Array[] expected = calls.Select(call => call(CancellationToken.None)).ToArray();
                Stopwatch clock = Stopwatch.StartNew();
                Task[] tasks = Enumerable.Range(0, Tasks).Select(seed => Task.Factory.StartNew(
                    () =>
                    {
                        var random = new Random(seed);
                        while (clock.Elapsed.TotalSeconds < seconds)
                        {
                            int own = random.Next(calls.Length);
                            Ask(calls[own], expected[own], random);
                        }
                    },
                    TaskCreationOptions.LongRunning)).ToArray();
                for (int part = 1; part <= 6; part++)
                {
                    TimeSpan until = TimeSpan.FromSeconds(seconds * part / 6) - clock.Elapsed;
                    Task.WaitAll(tasks, until > TimeSpan.Zero ? until : TimeSpan.Zero);
                    using (Process self = Process.GetCurrentProcess())
                    {
                        Console.WriteLine(
                            $"{clock.Elapsed.TotalSeconds,5:F0} s: {Interlocked.Read(ref answers)} answers, "
                            + $"{self.WorkingSet64 / 1048576.0:F1} MiB resident, "
                            + $"{GC.GetTotalMemory(false) / 1048576.0:F1} MiB managed");
                    }
                }
                Task.WaitAll(tasks);
            }
            Console.WriteLine($"{Tasks} tasks: {answers} answers, {cancelled} cancelled, {wrong} wrong");
            return wrong == 0 && answers > 0 && cancelled > 0 ? 0 : 1;
        }

        private static IEnumerable<Func<CancellationToken, Array>> Calls(Model model)
        {
            foreach (string text in Texts)
            {
                yield return token => model.Embed(text, null, token).Data;
            }
            yield return token => model.Fill("the [MASK] door", null, token);
            yield return token => model.Score("The old woman smiled.", null, token);
            yield return token => model.Embed(Enumerable.Repeat(Texts[0], 50).ToArray(), null, token).Data;
        }

        private static void Ask(Func<CancellationToken, Array> call, Array expected, Random random)
        {
            using (var source = new CancellationTokenSource())
            {
                if (random.Next(2) == 0)
                {
                    source.CancelAfter(random.Next(200));
                }
                try
                {
                    if (call(source.Token).Cast<object>().SequenceEqual(expected.Cast<object>()))
                    {
                        Interlocked.Increment(ref answers);
                        return;
                    }
                    Interlocked.Increment(ref wrong);
                }
                catch (OperationCanceledException e) when (e.CancellationToken == source.Token)
                {
                    Interlocked.Increment(ref cancelled);
                }
                catch (Exception e)
                {
                    Console.WriteLine(e);
                    Interlocked.Increment(ref wrong);
                }
            }
        }
    }
}
