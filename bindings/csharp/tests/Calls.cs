using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;

namespace Cloze.Tests
{
    /// <summary>Calls that vectors.json does not make.</summary>
    internal static class CallTests
    {
        [Test]
        private static void DevicesAreListed()
        {
            IReadOnlyList<Device> devices = Device.All();
            Check.True(devices.Count > 0 && devices[0].Id == "cpu" && devices[0].IsUsable, "the CPU is not the first");
            Check.True(devices[0].Name != "", "no name");
            using (Model model = Given.Base())
            {
                Check.Equal(model.Device.Id, "cpu", "device");
                Check.Equal(model.Device.Precision, Precision.F32, "precision");
            }
            Check.Throws<ClozeException>(
                () => Model.Open(Place.Model, new OpenOptions { Device = "abacus" }), "abacus");
            Check.Throws<ClozeException>(
                () => Model.Open(Place.Model, new OpenOptions { Precision = Precision.F16 }), "f16");
            Check.True(ClozeLibrary.Version.Split('.').Length == 3, ClozeLibrary.Version);
        }

        [Test]
        private static void AModelIsSavedInAnotherType()
        {
            string folder = Path.Combine(Place.New(), "bf16");
            using (Model model = Given.Base())
            {
                model.Save(folder, Dtype.BF16);
                using (Model stored = Model.Open(folder, new OpenOptions { Threads = 1 }))
                {
                    float[] rounded = stored.Embed("the old man").Data, own = model.Embed("the old man").Data;
                    double most = own.Zip(rounded, (a, b) => (double)Math.Abs(a - b)).Max();
                    Check.True(most > 0 && most < 0.02, $"differs by {most}");
                    Check.True(stored.Report().StartsWith("{", StringComparison.Ordinal), stored.Report());
                    Check.Equal(stored.Info.Parameters, model.Info.Parameters, "parameters");
                }
            }
        }

        [Test]
        private static void EmbeddingsGoIntoAnArray()
        {
            using (Model model = Given.Base())
            {
                Matrix expected = model.Embed(new[] { "one", "two" });
                var destination = new float[2 * expected.Columns + 1];
                destination[destination.Length - 1] = 7;
                Check.Equal(model.Embed(new[] { "one", "two" }, destination), expected.Data.Length, "numbers");
                Check.Same(destination.Take(expected.Data.Length).ToArray(), expected.Data, "into an array");
                Check.Equal(destination.Last(), 7f, "beyond");
                Check.Equal(expected.ToArray()[1, 3], expected[1, 3], "as [,]");
                Check.Equal(expected.Row(1).ElementAt(3), expected[1, 3], "of a row");
                Check.Throws<IndexOutOfRangeException>(() => Check.Equal(expected[2, 0], 0f, ""), "[2, 0]");
                Check.Equal(model.Embed(new string[0]).Rows, 0, "rows of nothing");
                Check.Same(model.Embed(Input.OfText("two")).Data, expected.Row(1).ToArray(), "one of a batch");
            }
        }

        [Test]
        private static void ZeroIsNoneWhereADefaultIsAnother()
        {
            using (Model model = Given.Base())
            using (Dataset data = Given.Moods())
            {
                Func<float?, double> moved = most =>
                {
                    // an epsilon so large that the step shows how gradients were scaled
                    var options = new TrainOptions { Trainable = Trainable.Head, MaxGradientNorm = most, Epsilon = 1 };
                    using (var trainer = new Trainer(model, options, data))
                    {
                        float[] before = trainer.Parameters();
                        trainer.SetGradients(before.Select(x => x * 1000).ToArray());
                        trainer.Apply(1);
                        return trainer.Parameters().Zip(before, (a, b) => Math.Abs(a - b)).Sum();
                    }
                };
                double never = moved(0), standard = moved(null), one = moved(1);
                Check.Equal(standard, one, "the default norm");
                Check.True(never > 10 * standard, $"not scaled down: {never}, to a norm of 1: {standard}");

                Func<float?, double> dropped = dropout =>
                {
                    var options = new TrainOptions { Trainable = Trainable.Head, Dropout = dropout };
                    using (var trainer = new Trainer(model, options, data))
                    {
                        return Math.Abs(trainer.Accumulate(data) - trainer.Evaluate(data)["loss"]);
                    }
                };
                Check.True(dropped(0) < 1e-5, $"without dropout: {dropped(0)}");
                Check.True(dropped(null) > 1e-3, $"with that of the model: {dropped(null)}");
            }
        }

        [Test]
        private static void AdaptersShareOneBase()
        {
            string folder = Path.Combine(Place.New(), "adapter");
            using (Model model = Given.Base())
            using (Dataset data = Given.Moods())
            {
                float[] before = model.Embed("the old man").Data;
                var options = new TrainOptions
                {
                    Trainable = Trainable.Lora, LoraRank = 2, LearningRate = 1e-2f, MaxSteps = 4,
                };
                using (var trainer = new Trainer(model, options, data))
                {
                    trainer.Fit(data);
                    trainer.SaveAdapter(folder);
                    using (Model merged = trainer.Snapshot())
                    {
                        double own = merged.Evaluate(data)["accuracy"];
                        double named = merged.Evaluate(data, Objective.Classify)["accuracy"];
                        Check.Equal(own, trainer.Evaluate(data)["accuracy"], "accuracy");
                        Check.Equal(named, own, "accuracy of the objective");
                    }
                }
                using (Model adapted = model.Adapt(folder))
                {
                    Check.Equal(adapted.Classify("She danced.").Columns, 2, "classes");
                    Check.True(!adapted.Embed("the old man").Data.SequenceEqual(before), "the adapter changes nothing");
                }
                Check.Same(model.Embed("the old man").Data, before, "the base");
            }
        }

        [Test]
        private static void NamedHeadsAreListed()
        {
            string folder = Path.Combine(Place.New(), "heads");
            using (Model model = Given.Base())
            using (Dataset data = Given.Moods())
            {
                Check.Equal(model.Heads().Count, 0, "heads");
                var options = new TrainOptions { Trainable = Trainable.Head, Head = "mood", MaxSteps = 1 };
                using (var trainer = new Trainer(model, options, data))
                {
                    trainer.Fit(data);
                    trainer.Save(folder);
                    Check.True(trainer.Report().Contains("\"history\""), "report");
                }
                using (Model saved = Model.Open(folder))
                using (Model head = saved.UseHead("mood"))
                {
                    Check.Equal(string.Join(" ", saved.Heads()), "mood", "heads");
                    Check.Equal(string.Join(" ", head.Labels), "glad sad", "labels");
                }
            }
        }

        [Test]
        private static void NoticesTellWhatWasLeftOut()
        {
            string folder = Place.New();
            File.WriteAllText(Path.Combine(folder, "a.txt"), "");
            File.WriteAllText(Path.Combine(folder, "b.txt"), "The old man sat by the fire. He said nothing.");
            using (Model model = Given.Base())
            using (Corpus corpus = Corpus.Open(model, folder))
            {
                Check.Equal(corpus.Sentences, 2L, "sentences");
                Check.True(corpus.Notices().Single().Contains("a.txt"), "notice");
            }
        }

        /// <summary>The texts and vectors of tests/golden_models, which sentence-transformers made.</summary>
        [Test]
        private static void MiniLMEmbedsAsSentenceTransformers()
        {
            string expected = Path.Combine(Place.Root, "tests/golden_models/minilm/expected");
            using (Model model = Model.Open(Place.Shared("minilm")))
            {
                var file = (Dictionary<string, object>)Json.Parse(File.ReadAllText(expected + ".json"));
                string[] texts = ((List<object>)file["texts"]).Cast<string>().ToArray();
                Matrix found = model.Embed(texts);
                byte[] bytes = File.ReadAllBytes(expected + ".safetensors");
                int start = bytes.Length - sizeof(float) * found.Data.Length;
                Check.Equal(start, 8 + (int)BitConverter.ToInt64(bytes, 0), "bytes before the vectors");
                for (int i = 0; i < found.Data.Length; i++)
                {
                    float own = BitConverter.ToSingle(bytes, start + sizeof(float) * i);
                    string place = $"\"{texts[i / found.Columns]}\", {i % found.Columns}";
                    Check.True(Math.Abs(found.Data[i] - own) <= 1e-5, $"{place}: {found.Data[i]}, expected {own}");
                }
                var cut = new TokenizeOptions { Text = TextMode.Truncate };
                double[] tokens = ((List<object>)file["tokens"]).Select(number => ((Number)number).Value).ToArray();
                double[] counts = model.Tokenize(texts, cut)
                    .GroupBy(token => token.Input).Select(own => (double)own.Count()).ToArray();
                Check.True(counts.SequenceEqual(tokens), "tokens: " + string.Join(" ", counts));
            }
        }
    }
}
