using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Threading;

namespace Cloze.Tests
{
    using Fields = Dictionary<string, object>;

    /// <summary>Makes the calls of bindings/vectors.json.</summary>
    internal sealed class VectorCalls
    {
        private readonly Reading reading;
        private readonly Fields given;

        internal VectorCalls(Reading reading, Fields given)
        {
            this.reading = reading;
            this.given = given;
        }

        private object Given(string name)
        {
            return Reading.Get(given, name);
        }

        private int Whole(string name)
        {
            return (int)reading.Number(given[name]);
        }

        private string Folder => Path.Combine(Place.Root, Given("folder") as string ?? "");

        private T Options<T>()
            where T : class, new()
        {
            return reading.Options<T>(Given("options"));
        }

        internal object Answer(Model model, Comparison tolerances)
        {
            switch ((string)given["call"])
            {
                case "info":
                    return model.Info;
                case "label":
                    return model.Label(Whole("label"));
                case "head":
                    return model.Head(Whole("head"));
                case "tokenize":
                    return model.Tokenize(Reading.InputsOf(given), Options<TokenizeOptions>());
                case "token_text":
                    return model.TokenText(Whole("id"));
                case "token_id":
                    return model.TokenId((string)given["token"]);
                case "decode":
                    return model.Decode(reading.List<int>(given["ids"]));
                case "fill":
                    return Fill(model);
                case "score":
                    return Score(model);
                case "next_sentence":
                    return new { is_next = model.NextSentence(Reading.InputsOf(given)) };
                case "embed":
                    return new { embeddings = Embed(model) };
                case "hidden_states":
                    return HiddenStates(model);
                case "classify":
                    return new { values = model.Classify(Reading.InputsOf(given)) };
                case "tag":
                    return model.Tag(Reading.InputsOf(given), Options<TagOptions>());
                case "tag_tokens":
                    return new { probabilities = model.TagTokens(Reading.InputsOf(given)) };
                case "generate":
                    return model.Generate(Reading.InputsOf(given), Options<GenerateOptions>());
                case "evaluate":
                    using (Dataset data = reading.DatasetOf(reading.Examples(given["examples"])))
                    {
                        return model.Evaluate(data, (Objective)Whole("objective"));
                    }
                case "train":
                case "steps":
                case "solve":
                    return Teach(model, tolerances);
                case "pretrain":
                    return Pretrain();
            }
            return Made(model);
        }

        private object Fill(Model model)
        {
            FillOptions options = Options<FillOptions>();
            using (var source = new CancellationTokenSource())
            {
                switch (Given("cancel") as string)
                {
                    case "before":
                        source.Cancel();
                        break;
                    case "progress":
                        var progress = new ImmediateProgress<CallProgress>(_ => source.Cancel());
                        options = new FillOptions { Progress = progress };
                        break;
                }
                return model.Fill(Reading.InputsOf(given), options, source.Token);
            }
        }

        private Matrix Embed(Model model)
        {
            bool cancelled = Given("cancel") as string == "before";
            return model.Embed(Reading.InputsOf(given), Options<EmbedOptions>(), new CancellationToken(cancelled));
        }

        private object Score(Model model)
        {
            Inputs inputs = Reading.InputsOf(given);
            TextScore[] scores = model.Score(inputs, Options<ScoreOptions>());
            return new
            {
                scores,
                tokens = model.ScoreTokens(inputs, Options<ScoreOptions>()),
                perplexity = TextScore.Perplexity(scores),
            };
        }

        private object HiddenStates(Model model)
        {
            Matrix states = model.HiddenStates(Reading.InputsOf(given), reading.List<int>(given["layers"]));
            return new
            {
                count = states.Data.Length,
                states = Enumerable.Range(0, states.Rows).Select(row => states.Row(row).Take(8)),
            };
        }

        /// <summary>Calls whose answer is a model, a dataset or a corpus.</summary>
        private object Made(Model model)
        {
            switch ((string)given["call"])
            {
                case "open":
                    return Then(Model.Open(Folder));
                case "open_memory":
                    Dictionary<string, byte[]> files = reading.List<string>(given["files"])
                        .ToDictionary(name => name, name => File.ReadAllBytes(Path.Combine(Folder, name)));
                    return Then(Model.Open(files, new OpenOptions { Threads = 1 }));
                case "use_head":
                    return Then(model.UseHead((string)given["head"]));
                case "adapt":
                    return Then(model.Adapt(Folder));
                case "whiten":
                    return Then(model.Whiten(Reading.InputsOf(given), Whole("width")));
                case "create":
                    return Then(Model.Create(
                        Json.Write(given["config"]), Path.Combine(Place.Root, (string)given["tokenizer"])));
                case "save":
                    model.Save(Folder, (Dtype)Whole("dtype"));
                    return null;
                case "dataset":
                    return reading.DatasetOf(reading.Examples(given["examples"]));
                case "dataset_read":
                    string path = Written((string)given["file"], Given("content") as string);
                    using (Dataset data = Dataset.Read(path, (TargetKind)Whole("kind"), Options<ReadOptions>()))
                    {
                        return new { count = data.Count };
                    }
                case "vocabulary":
                    Vocabulary.Learn(Path.Combine(Place.Root, (string)given["path"]), Place.New());
                    return null;
                case "corpus":
                    using (Corpus corpus = Corpus.Open(model, Written("text.txt", Given("content") as string)))
                    {
                        return Held(corpus);
                    }
            }
            throw new FailedException($"no call {given["call"]}");
        }

        private static object Held(Corpus corpus)
        {
            return new { notices = corpus.Notices().Count, corpus.Documents, corpus.Sentences, corpus.Tokens };
        }

        private static string Written(string name, string content)
        {
            string path = Path.Combine(Place.New(), name);
            if (content != null)
            {
                File.WriteAllText(path, content);
            }
            return path;
        }

        /// <summary>Asks a model that was made.</summary>
        private object Then(Model made)
        {
            using (made)
            {
                var then = Given("then") as Fields;
                return then == null ? null : new VectorCalls(reading, then).Answer(made, null);
            }
        }

        private object[] Answers(Model made)
        {
            var calls = Given("then") as List<object> ?? new List<object>();
            return calls.Select(call => new VectorCalls(reading, (Fields)call).Answer(made, null)).ToArray();
        }

        /// <summary>Runs a fit; the events of each kind are added to the answer.</summary>
        private void Watch(Fields answer, Func<IProgress<TrainEvent>, CancellationToken, FitResult> fit)
        {
            var events = new List<TrainEvent>();
            var stopAt = Given("stop_at") as Number;
            using (var source = new CancellationTokenSource())
            {
                var progress = new ImmediateProgress<TrainEvent>(news =>
                {
                    events.Add(news);
                    if (stopAt != null && news.Step == (long)stopAt.Value)
                    {
                        source.Cancel();
                    }
                });
                answer["result"] = fit(progress, source.Token);
            }
            answer["steps"] = events.Where(news => news.Kind == EventKind.Step).ToArray();
            answer["evaluations"] = events.Where(news => news.Kind == EventKind.Evaluation).ToArray();
        }

        private object Teach(Model model, Comparison tolerances)
        {
            List<object> examples = reading.Examples(given["examples"]);
            TrainOptions options = Options<TrainOptions>();
            var answer = new Fields();
            using (Dataset data = reading.DatasetOf(examples))
            using (Dataset dev = reading.DatasetOf(reading.Examples(Given("dev") ?? new List<object>())))
            using (var trainer = new Trainer(model, options, data))
            {
                switch ((string)given["call"])
                {
                    case "train":
                        Watch(answer, (progress, token) =>
                            trainer.Fit(data, given.ContainsKey("dev") ? dev : null, progress, token));
                        break;
                    case "steps":
                        float[] start = trainer.Parameters();
                        answer["do"] = ((List<object>)given["do"])
                            .Select(step => Step(trainer, start, examples, ((Fields)step).Single())).ToArray();
                        break;
                    case "solve":
                        answer["strength"] = trainer.Solve(data, reading.Options<SolveOptions>(given["solve"]));
                        break;
                }
                answer["labels"] = trainer.Labels;
                answer["metrics"] = trainer.Evaluate(data);
                answer["then"] = Kept(model, trainer, options, tolerances);
            }
            return answer;
        }

        /// <summary>What the model answers that was kept in each of the ways: alike.</summary>
        private object[] Kept(Model model, Trainer trainer, TrainOptions options, Comparison tolerances)
        {
            object[] first = null;
            var expected = Given("expected") as Fields;
            foreach (string way in reading.List<string>(Given("keep")) ?? new[] { "snapshot" })
            {
                using (Model kept = Keep(model, trainer, way, options))
                {
                    object[] answers = Answers(kept);
                    if (expected != null)
                    {
                        tolerances.Same(expected["then"], answers, "then", way);
                    }
                    first = first ?? answers;
                }
            }
            return first;
        }

        private static Model Keep(Model model, Trainer trainer, string way, TrainOptions options)
        {
            string folder = Path.Combine(Place.New(), way);
            switch (way)
            {
                case "snapshot":
                    return trainer.Snapshot();
                case "adapter":
                    trainer.SaveAdapter(folder);
                    return model.Adapt(folder);
            }
            trainer.Save(folder);
            Model saved = Model.Open(folder, new OpenOptions { Threads = 1 });
            if (way == "save")
            {
                return saved;
            }
            using (saved)
            {
                return saved.UseHead(options.Head);
            }
        }

        private static object Summary(float[] numbers)
        {
            return new
            {
                count = numbers.Length,
                sum = numbers.Sum(x => (double)x),
                norm = Math.Sqrt(numbers.Sum(x => (double)x * x)),
            };
        }

        private object Step(Trainer trainer, float[] start, List<object> examples, KeyValuePair<string, object> step)
        {
            switch (step.Key)
            {
                case "accumulate":
                    using (Dataset data = reading.DatasetOf(examples))
                    using (Dataset batch = data.Select(reading.List<int>(step.Value)))
                    {
                        return new { loss = trainer.Accumulate(batch) };
                    }
                case "apply":
                    return new { gradient_norm = trainer.Apply((float)reading.Number(step.Value)) };
                case "exchange_gradients":
                    float[] gradients = trainer.Gradients();
                    trainer.SetGradients(gradients);
                    return Summary(gradients);
                case "read_buffers":
                    var read = new List<float>();
                    foreach (GradientBuffer buffer in trainer.GradientBuffers())
                    {
                        var values = new float[buffer.Count];
                        System.Runtime.InteropServices.Marshal.Copy(buffer.Data, values, 0, values.Length);
                        read.AddRange(values);
                    }
                    return Summary(read.ToArray());
                case "checkpoint_and_resume":
                    string checkpoint = Path.Combine(Place.New(), "checkpoint");
                    trainer.Checkpoint(checkpoint);
                    trainer.Resume(checkpoint);
                    return Summary(trainer.Parameters());
                case "average_with_start":
                    float[] mean = trainer.Parameters().Zip(start, (a, b) => (a + b) / 2).ToArray();
                    trainer.SetParameters(mean);
                    return Summary(mean);
                case "set_parameters":
                    trainer.SetParameters(new float[(int)reading.Number(step.Value)]);
                    return null;
                case "save_adapter":
                    trainer.SaveAdapter(Path.Combine(Place.New(), "adapter"));
                    return null;
            }
            throw new FailedException($"no step {step.Key}");
        }

        private object Pretrain()
        {
            string text = Written("text.txt", string.Join("\n\n", reading.List<string>(given["text"])));
            string vocabulary = Path.Combine(Place.New(), "vocabulary");
            Vocabulary.Learn(text, vocabulary, reading.Options<VocabularyOptions>(given["vocabulary"]));
            var answer = new Fields { { "vocabulary", File.ReadAllLines(Path.Combine(vocabulary, "vocab.txt")) } };
            var create = reading.Options<CreateOptions>(given["create"]);
            TrainOptions recipe = Options<TrainOptions>();
            using (Model model = Model.Create(Json.Write(given["config"]), vocabulary, create))
            using (Corpus corpus = Corpus.Open(model, text, reading.Options<CorpusOptions>(given["corpus"])))
            using (var trainer = new Trainer(model, recipe))
            {
                answer["corpus"] = Held(corpus);
                Watch(answer, (progress, token) => trainer.Pretrain(corpus, null, progress, token));
                using (Model taught = trainer.Snapshot())
                {
                    answer["metrics"] = taught.Evaluate(corpus, recipe);
                    answer["then"] = Answers(taught);
                }
            }
            return answer;
        }
    }
}
