using System;
using System.Diagnostics;
using System.Linq;
using System.Threading;

namespace Cloze.Tests
{
    /// <summary>Tokens, progress and what callbacks throw.</summary>
    internal static class CancellingTests
    {
        private const string Sentence = "The old man sat by the fire and said nothing at all.";

        [Test]
        private static void ATokenThatIsSetStopsACallBeforeItBegins()
        {
            using (Model model = Given.Base())
            {
                var token = new CancellationToken(true);
                var e = Check.Throws<OperationCanceledException>(() => model.Embed("a", null, token), "cancelled");
                Check.Equal(e.CancellationToken, token, "token");
            }
        }

        [Test]
        private static void ATokenStopsACallThatRuns()
        {
            Inputs texts = Given.Times(20000, Sentence);
            using (Model model = Given.Base())
            using (var source = new CancellationTokenSource())
            {
                bool began = false;
                var options = new EmbedOptions { Progress = new ImmediateProgress<CallProgress>(_ => began = true) };
                var canceller = new Thread(() =>
                {
                    SpinWait.SpinUntil(() => Volatile.Read(ref began));
                    source.Cancel();
                });
                canceller.Start();
                var e = Check.Throws<OperationCanceledException>(
                    () => model.Embed(texts, options, source.Token), "cancelled");
                canceller.Join();
                Check.Equal(e.CancellationToken, source.Token, "token");
                Check.Equal(model.Embed("a").Rows, 1, "the next call");
            }
        }

        [Test]
        private static void ATokenWithoutProgressStopsACallThatRuns()
        {
            Inputs texts = Given.Times(20000, Sentence);
            using (Model model = Given.Base())
            using (var source = new CancellationTokenSource(TimeSpan.FromMilliseconds(20)))
            {
                Check.Throws<OperationCanceledException>(() => model.Score(texts, null, source.Token), "cancelled");
            }
        }

        [Test]
        private static void ATokenThatIsSetLaterTakesNothingWithIt()
        {
            using (Model model = Given.Base())
            using (var source = new CancellationTokenSource())
            {
                Check.Equal(model.Embed("a", null, source.Token).Rows, 1, "rows");
                source.Cancel();
                Check.Equal(model.Embed("a").Rows, 1, "rows");
            }
        }

        [Test]
        private static void ProgressTellsAllOfIt()
        {
            using (Model model = Given.Base())
            {
                CallProgress last = default;
                int told = 0;
                long before = -1;
                int thread = Thread.CurrentThread.ManagedThreadId;
                var progress = new ImmediateProgress<CallProgress>(done =>
                {
                    Check.True(done.Done > before, $"{done.Done} after {before}");
                    Check.Equal(Thread.CurrentThread.ManagedThreadId, thread, "thread");
                    before = done.Done;
                    last = done;
                    told++;
                });
                model.Embed(Given.Times(200, Sentence), new EmbedOptions { Progress = progress });
                Check.True(told > 0 && last.Done == last.Total, $"{told} times, {last.Done} of {last.Total} at last");
            }
        }

        [Test]
        private static void WhatACallbackThrowsComesOutOfTheCall()
        {
            var mine = new InvalidOperationException("mine");
            using (Model model = Given.Base())
            using (Dataset data = Given.Moods())
            using (var trainer = new Trainer(model, new TrainOptions { Trainable = Trainable.Head }, data))
            {
                var progress = new ImmediateProgress<CallProgress>(_ => throw mine);
                Action[] calls =
                {
                    () => model.Embed("a", new EmbedOptions { Progress = progress }),
                    () => model.Classify("a", new CallOptions { Progress = progress }),
                    () => model.Fill("a [MASK]", new FillOptions { Progress = progress }),
                    () => model.Score("a", new ScoreOptions { Progress = progress }),
                    () => model.HiddenStates("a", new[] { 0 }, new CallOptions { Progress = progress }),
                    () => trainer.Fit(data, null, new ImmediateProgress<TrainEvent>(_ => throw mine)),
                };
                foreach (Action call in calls.Where((_, i) => i != 1))
                {
                    var found = Check.Throws<InvalidOperationException>(call, "mine");
                    Check.True(ReferenceEquals(found, mine), "another exception");
                    Check.True(found.StackTrace.Contains("WhatACallbackThrows"), found.StackTrace);
                }
                Check.Throws(Status.Missing, "classifier", calls[1]); // it has no classifier: nothing to report
                Check.Equal(model.Embed("still there").Rows, 1, "the next call");
                Check.Equal(trainer.Info.Steps, 1L, "steps of the fit that was stopped");
            }
        }

        [Test]
        private static void TokensAreToldAsTheyCome()
        {
            using (Model model = Model.Open(Place.Root + "/tests/golden/causal", new OpenOptions { Threads = 1 }))
            {
                int seen = 0;
                NewToken[] tokens = model.Generate("Anna walks to the", new GenerateOptions
                {
                    MaxTokens = 6,
                    OnToken = _ => ++seen < 3,
                });
                Check.Equal(tokens.Length, 3, "tokens");
                Check.Equal(seen, 3, "told");

                seen = 0;
                var options = new GenerateOptions
                {
                    MaxTokens = 6,
                    OnToken = _ =>
                    {
                        seen++;
                        throw new InvalidOperationException("mine");
                    },
                };
                Check.Throws<InvalidOperationException>(
                    () => model.Generate(new[] { "Anna walks to the", "the cat" }, options), "mine");
                Check.Equal(seen, 1, "told after an exception");
            }
        }

        [Test]
        private static void EventsArePosted()
        {
            using (Model model = Given.Base())
            using (Dataset data = Given.Moods())
            using (Trainer trainer = Given.Head(model, data, 2))
            using (var last = new CountdownEvent(2))
            {
                double loss = 0;
                var progress = new Progress<TrainEvent>(news =>
                {
                    if (news.Kind == EventKind.Step)
                    {
                        loss += news.Loss;
                        last.Signal();
                    }
                });
                trainer.Fit(data, null, progress);
                last.Wait();
                Check.True(loss > 0, "events outlive their call");
            }
        }
    }
}
