using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;

namespace Cloze.Tests
{
    /// <summary>What cannot be used is named.</summary>
    internal static class ArgumentTests
    {
        [Test]
        private static void NullIsRefused()
        {
            using (Model model = Given.Base())
            {
                foreach (Action call in new Action[]
                {
                    () => Model.Open((string)null), () => Model.Open((Dictionary<string, byte[]>)null),
                    () => Model.Open(new Dictionary<string, byte[]> { { "config.json", null } }),
                    () => model.Embed(null), () => model.Embed("a", (float[])null), () => model.Embed((string)null),
                    () => model.Embed(new[] { "a", null }), () => model.HiddenStates("a", null),
                    () => model.Decode(null),
                    () => model.Save(null), () => model.UseHead(null), () => model.Adapt(null),
                    () => new Trainer(null), () => model.Evaluate((Dataset)null), () => Corpus.Open(null, "a"),
                    () => Dataset.Read(null, TargetKind.Label), () => Target.Label(null), () => Input.OfPair("a", null),
                    () => Model.Create(null, "a"), () => Vocabulary.Learn("a", null),
                })
                {
                    Check.Throws<ArgumentNullException>(call, "");
                }
            }
        }

        [Test]
        private static void WhatIsWrongIsNamed()
        {
            using (Model model = Given.Base())
            using (Dataset data = Given.Moods())
            {
                Action<string, Action> refused = (part, call) => Check.Throws<ArgumentException>(call, part);
                refused("folder: NUL at index 1", () => Model.Open("a\0b"));
                refused("Threads is -1", () => Model.Open("a", new OpenOptions { Threads = -1 }));
                refused("MaxTokens is -7", () => model.Embed("a", new EmbedOptions { MaxTokens = -7 }));
                refused("layers is -1", () => model.HiddenStates("a", new[] { -1 }));
                refused("2 ids, 1 types", () => Input.OfIds(new[] { 2, 3 }, new[] { 0 }));
                refused("2 words, 1 tags", () => data.AddWords(new[] { "a", "b" }, new[] { "O" }));
                refused("no number", () => Target.Numbers());
                refused("start is -2", () => Target.Answer("b", -2));
                refused("example 0: answer: starts at 9 of 1", () =>
                    data.Add(Input.OfPair("a", "b"), Target.Answer("b", 9)));
                refused("example 0: label: NUL at index 0", () => data.Add("a", Target.Label("\0")));
                refused("example 0: 2 token ids, 1 label ids", () =>
                    data.Add(Input.OfIds(new[] { 2, 3 }), Target.TokenLabels(1)));
                refused("Head: NUL", () => new Trainer(model, new TrainOptions { Head = "a\0" }, data));
                refused("Epochs is -1", () => new Trainer(model, new TrainOptions { Epochs = -1 }, data));
                refused("3 numbers are no rows of 2", () => new Matrix(new float[3], 2));
                Check.Equal(data.Count, 8L, "examples");
                using (var trainer = new Trainer(model, new TrainOptions { Trainable = Trainable.Head }, data))
                {
                    refused("learningRate is -1", () => trainer.Apply(-1f));
                    refused("learningRate is NaN", () => trainer.Apply(float.NaN));
                    Check.Throws(Status.BufferTooSmall, "", () => trainer.Parameters(new float[3]));
                }
            }
        }

        [Test]
        private static void TheLibraryNamesFilesAndInputs()
        {
            string folder = Place.New();
            File.WriteAllText(Path.Combine(folder, "rows.tsv"), "the cat\tgood\nthe dog\n");
            using (Model model = Given.Base())
            {
                Check.Throws(Status.Io, "no/such/folder: ", () => Model.Open("no/such/folder"));
                Check.Throws(Status.Missing, "config.json", () => Model.Open(folder));
                Check.Throws(Status.InvalidFile, "rows.tsv:2: ", () =>
                    Dataset.Read(Path.Combine(folder, "rows.tsv"), TargetKind.Label));
                Check.Throws(Status.Io, "none.csv", () => Dataset.Read("none.csv", TargetKind.Label));
                Check.Throws(Status.Io, "config.json", () => model.Save(Place.Model + "/config.json/in"));
                Check.Throws(Status.InvalidInput, "input 1", () => model.Fill(new[] { "a [MASK]", "none" }));
                Check.Throws(Status.InvalidInput, "input 1: text: lone surrogate at index 1", () =>
                    model.Embed(new[] { "a", "a\ud800b" }));
                Check.Throws(Status.InvalidInput, "input 0: pair: lone surrogate at index 0", () =>
                    model.NextSentence(Input.OfPair("a", "\udc00")));
                Check.Throws(Status.BufferTooSmall, "", () => model.Embed("a", new float[255]));
                Check.Throws(Status.Unsupported, "", () => model.Generate("a"));
                Check.Throws(Status.Missing, "mood", () => model.UseHead("mood"));
            }
        }

        [Test]
        private static void TextMayHoldAnything()
        {
            using (Model model = Given.Base())
            {
                Token[] tokens = model.Tokenize(Input.OfText("a\0b \ud83d\ude00\u00e9"));
                Check.Equal(tokens.Length > 3, true, "tokens");
                string word = new string('\u4e2d', 5000);
                Check.Equal(model.Embed(word).Rows, 1, "three bytes a unit");
            }
        }

        [Test]
        private static void OffsetsAreThoseOfAString()
        {
            const string Text = "\ud83d\ude00 na\u00efvely she laughed";
            using (Model model = Given.Base())
            {
                Token she = model.Tokenize(Text).Single(token =>
                    Text.Substring(token.Start, token.End - token.Start) == "she");
                Check.Equal(she.Start, Text.IndexOf("she", StringComparison.Ordinal), "UTF-16");
                var options = new TokenizeOptions { Offsets = Offsets.CodePoints };
                Token same = model.Tokenize(Text, options)[Array.IndexOf(model.Tokenize(Text), she)];
                Check.Equal(same.Start, she.Start - 1, "code points");
                using (var data = new Dataset())
                {
                    Input question = Input.OfPair("Who laughed?", Text);
                    data.Add(question, Target.Answer("she laughed", she.Start));
                    Check.Throws(Status.InvalidInput, "example 0", () =>
                        data.Add(question, Target.Answer("she laughed", she.Start - 1)));
                }
            }
        }
    }
}
