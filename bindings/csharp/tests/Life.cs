using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;

namespace Cloze.Tests
{
    internal static class Given
    {
        /// <summary>The model of the repository, with one thread.</summary>
        internal static Model Base()
        {
            return Model.Open(Place.Model, new OpenOptions { Threads = 1 });
        }

        internal static Dictionary<string, byte[]> Files()
        {
            return new[] { "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json" }
                .ToDictionary(name => name, name => File.ReadAllBytes(Path.Combine(Place.Model, name)));
        }

        /// <summary>Examples of two labels.</summary>
        internal static Dataset Moods()
        {
            var data = new Dataset();
            foreach (string text in new[]
            {
                "She laughed and danced with joy.", "It was the happiest morning of her life.",
                "He smiled with delight.", "They sang merrily all the way home.",
            })
            {
                data.Add(text, Target.Label("glad"));
            }
            foreach (string text in new[]
            {
                "He wept over the grave of his mother.", "She buried her face and wept.",
                "The poor child cried all night.", "His heart was heavy with grief.",
            })
            {
                data.Add(text, Target.Label("sad"));
            }
            return data;
        }

        /// <summary>A trainer of a head.</summary>
        internal static Trainer Head(Model model, Dataset data, int steps)
        {
            return new Trainer(model, new TrainOptions { Trainable = Trainable.Head, MaxSteps = steps }, data);
        }

        internal static string[] Times(int count, string text)
        {
            return Enumerable.Repeat(text, count).ToArray();
        }
    }

    /// <summary>Owning and letting go.</summary>
    internal static class LifeTests
    {
        [Test]
        private static void DisposingAgainDoesNothing()
        {
            Model model = Given.Base();
            Dataset data = Given.Moods();
            var trainer = new Trainer(model, new TrainOptions { Trainable = Trainable.Head }, data);
            foreach (IDisposable owner in new IDisposable[] { model, data, trainer, model, data, trainer })
            {
                owner.Dispose();
            }
            Check.Throws<ObjectDisposedException>(() => model.Embed("late"), "Model");
            Check.Throws<ObjectDisposedException>(() => model.Report(), "Model");
            Check.Throws<ObjectDisposedException>(() => new Trainer(model), "Model");
            Check.Throws<ObjectDisposedException>(() => data.Add("late", Target.None), "Dataset");
            Check.Throws<ObjectDisposedException>(() => Check.Equal(data.Count, 0, "count"), "Dataset");
            Check.Throws<ObjectDisposedException>(() => trainer.Apply(), "Trainer");
        }

        [Test]
        private static void DisposingWhileCallsRunLetsThemEnd()
        {
            Model model = Given.Base();
            float[] expected = model.Embed("the old man").Data;
            string[] texts = Given.Times(64, "the old man");
            int answered = 0, refused = 0;
            Task[] tasks = Enumerable.Range(0, 4).Select(_ => Task.Factory.StartNew(
                () =>
                {
                    var options = new EmbedOptions
                    {
                        Progress = new ImmediateProgress<CallProgress>(done => model.Dispose()),
                    };
                    try
                    {
                        Matrix vectors = model.Embed(texts, options);
                        Check.Same(vectors.Row(63).ToArray(), expected, "the last row");
                        Interlocked.Increment(ref answered);
                    }
                    catch (ObjectDisposedException)
                    {
                        Interlocked.Increment(ref refused);
                    }
                },
                TaskCreationOptions.LongRunning)).ToArray();
            Task.WaitAll(tasks);
            Check.True(answered > 0 && answered + refused == 4, $"{answered} answered, {refused} refused");
            Check.Throws<ObjectDisposedException>(() => model.Tokenize("late"), "Model");
        }

        [Test]
        private static void HandlesMayBeClosedInAnyOrder()
        {
            float[] expected;
            using (Model model = Given.Base())
            {
                expected = model.Embed("the old man").Data;
            }
            Model memory = Model.Open(Given.Files(), new OpenOptions { Threads = 1 });
            Check.Same(memory.Embed("the old man").Data, expected, "from memory");
            using (Dataset data = Given.Moods())
            {
                var trainer = new Trainer(memory, new TrainOptions { Trainable = Trainable.Head, MaxSteps = 1 }, data);
                memory.Dispose();
                Collect();
                trainer.Fit(data);
                using (Model snapshot = trainer.Snapshot())
                {
                    trainer.Dispose();
                    Collect();
                    Check.Same(snapshot.Embed("the old man").Data, expected, "from a snapshot");
                    Check.Equal(string.Join(" ", snapshot.Labels), "glad sad", "labels");
                }
            }
        }

        [Test]
        private static void FilesStayAsLongAsTheyAreRead()
        {
            WeakReference file;
            Model model = Opened(out file);
            Model.Open(Place.Model).Dispose();
            Collect();
            Check.True(file.IsAlive, "an array that is read was collected");
            model.Embed("the old man");
            model.Dispose();
            Unpinned();
            // a conservative stack may keep one of several
            int kept = Enumerable.Range(0, 8).Count(_ =>
            {
                WeakReference other;
                Opened(out other).Dispose();
                Unpinned();
                return other.IsAlive;
            });
            Check.True(kept <= 2, $"{kept} of 8 arrays stay pinned after their model");
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static Model Opened(out WeakReference file)
        {
            Dictionary<string, byte[]> files = Given.Files();
            file = new WeakReference(files["model.safetensors"]);
            return Model.Open(files, new OpenOptions { Threads = 1 });
        }

        private static void Unpinned()
        {
            new Thread(() => new byte[1 << 16].Initialize()) { IsBackground = true }.Start();
            Collect();
        }

        private static void Collect()
        {
            for (int i = 0; i < 3; i++)
            {
                GC.Collect();
                GC.WaitForPendingFinalizers();
            }
        }

        private static long Settled()
        {
            Collect();
            using (Process self = Process.GetCurrentProcess())
            {
                return self.WorkingSet64 >> 10;
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Round(Model model, Dataset data, bool disposes)
        {
            Model other = Model.Open(Place.Model, new OpenOptions { Threads = 1 });
            var trainer = new Trainer(other, new TrainOptions { Trainable = Trainable.Top, Layers = 2 }, data);
            trainer.Accumulate(data);
            trainer.Apply();
            using (var source = new CancellationTokenSource())
            {
                var progress = new ImmediateProgress<CallProgress>(_ => { });
                model.Embed(new[] { "a", "b" }, new EmbedOptions { Progress = progress }, source.Token);
            }
            if (disposes)
            {
                trainer.Dispose();
                other.Dispose();
            }
        }

        [Test]
        private static void MemoryDoesNotGrow()
        {
            const int Rounds = 20;
            using (Model model = Given.Base())
            using (Dataset data = Given.Moods())
            {
                foreach (bool disposes in new[] { true, false })
                {
                    for (int i = 0; i < 5; i++)
                    {
                        Round(model, data, disposes);
                        Collect();
                    }
                    long before = Settled();
                    for (int i = 0; i < Rounds; i++)
                    {
                        Round(model, data, disposes);
                        Collect();
                    }
                    long grown = Settled() - before;
                    // two layers with their moments take 25 MB
                    Check.True(grown < Rounds * 2048, $"disposes: {disposes}: {grown} KiB more after {Rounds} rounds");
                }
            }
        }

        [Test]
        private static void ThirtyTwoTasksGetTheAnswersOfOne()
        {
            string[] texts = { "The old man sat by the fire.", "It rained all day.", "caf\u00e9 \ud83d\ude00", "" };
            using (Model model = Model.Open(Place.Model))
            {
                float[][] expected = texts.Select(text => model.Embed(text).Data).ToArray();
                Candidate[] words = model.Fill("the [MASK] door");
                Task.WaitAll(Enumerable.Range(0, 32).Select(seed => Task.Factory.StartNew(
                    () =>
                    {
                        for (int i = 0; i < 8; i++)
                        {
                            int own = (seed + i) % texts.Length;
                            Check.Same(model.Embed(texts[own]).Data, expected[own], texts[own]);
                            Check.True(model.Fill("the [MASK] door").SequenceEqual(words), "other words");
                        }
                    },
                    TaskCreationOptions.LongRunning)).ToArray());
            }
        }

        [Test]
        private static void ATrainerIsBusyWhileItFits()
        {
            using (Model model = Given.Base())
            using (Dataset data = Given.Moods())
            using (Trainer trainer = Given.Head(model, data, 1))
            {
                int told = 0;
                trainer.Fit(data, null, new ImmediateProgress<TrainEvent>(_ =>
                {
                    told++;
                    Check.Throws(Status.Busy, "", () => trainer.Fit(data));
                    Check.Throws(Status.Busy, "", () => data.Add("a", Target.Label("b")));
                }));
                Check.True(told > 0, "nothing told");
                trainer.Dispose();
            }
        }

        [Test]
        private static void AFitGoesOnWhereItStopped()
        {
            using (Model model = Given.Base())
            using (Dataset data = Given.Moods())
            {
                Func<string, TrainOptions> options = checkpoints => new TrainOptions
                {
                    Trainable = Trainable.Top, Layers = 1, BatchSize = 4, MaxSteps = 4, CheckpointEvery = 2,
                    Checkpoints = checkpoints,
                };
                float[] expected;
                using (var whole = new Trainer(model, options(null), data))
                {
                    whole.Fit(data);
                    expected = whole.Parameters();
                }
                string folder = Path.Combine(Place.New(), "run");
                string told = null;
                using (var source = new CancellationTokenSource())
                using (var first = new Trainer(model, options(folder), data))
                {
                    var progress = new ImmediateProgress<TrainEvent>(news =>
                    {
                        if (news.Kind == EventKind.Checkpoint)
                        {
                            told = news.Folder;
                            source.Cancel();
                        }
                    });
                    var e = Check.Throws<OperationCanceledException>(
                        () => first.Fit(data, null, progress, source.Token), "");
                    Check.Equal(e.CancellationToken, source.Token, "token");
                    Check.Equal(first.Info.Steps, 2L, "steps");
                }
                Check.True(Directory.Exists(told), $"checkpoint {told}");
                using (var second = new Trainer(model, options(folder), data))
                {
                    second.Resume(folder);
                    FitResult result = second.Fit(data);
                    Check.Equal(result.Steps, 4L, "steps");
                    Check.Same(second.Parameters(), expected, "a fit that was resumed");
                }
            }
        }
    }
}
