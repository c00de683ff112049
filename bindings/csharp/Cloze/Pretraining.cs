using System;
using System.Collections.Generic;
using System.Threading;

namespace Cloze
{
    /// <summary>Whether a vocabulary tells capital letters and accents apart.</summary>
    public enum Casing : uint
    {
        /// <summary>It does not.</summary>
        Uncased = Raw.CLOZE_CASING_UNCASED,

        /// <summary>It does.</summary>
        Cased = Raw.CLOZE_CASING_CASED,
    }

    /// <summary>What a line of text is.</summary>
    public enum Lines : uint
    {
        /// <summary>Sentences, found by their punctuation.</summary>
        Paragraphs = Raw.CLOZE_CORPUS_PARAGRAPHS,

        /// <summary>One sentence.</summary>
        Sentences = Raw.CLOZE_CORPUS_SENTENCES,
    }

    /// <summary>Options of <see cref="Vocabulary.Learn"/>.</summary>
    public sealed class VocabularyOptions
    {
        /// <summary>Most tokens of the vocabulary.</summary>
        public int Tokens { get; set; } = 30522;

        /// <summary>Whether it tells capital letters and accents apart.</summary>
        public Casing Casing { get; set; }

        /// <summary>What a line of text is.</summary>
        public Lines Lines { get; set; }

        /// <summary>What occurs less often is not joined to a token.</summary>
        public int MinFrequency { get; set; } = 2;

        /// <summary>model_max_length in tokenizer_config.json.</summary>
        public int MaxTokens { get; set; } = 512;
    }

    /// <summary>WordPiece vocabularies.</summary>
    public static unsafe class Vocabulary
    {
        /// <summary>Learns a vocabulary from text and writes vocab.txt, tokenizer.json and the files beside them. The
        /// same text gives the same bytes.</summary>
        /// <param name="path">A folder of .txt files, or one file: UTF-8, a blank line between documents.</param>
        /// <param name="folder">Where the files are written; it is made if need be.</param>
        /// <param name="options">How.</param>
        public static void Learn(string path, string folder, VocabularyOptions options = null)
        {
            using (var call = new Call(CancellationToken.None))
            {
                VocabularyOptions own = options ?? new VocabularyOptions();
                var o = new Raw.cloze_vocabulary_options
                {
                    size = (uint)sizeof(Raw.cloze_vocabulary_options),
                    tokens = Native.U32(own.Tokens, nameof(own.Tokens)),
                    casing = (uint)own.Casing,
                    lines = (uint)own.Lines,
                    min_frequency = Native.U32(own.MinFrequency, nameof(own.MinFrequency)),
                    max_tokens = Native.U32(own.MaxTokens, nameof(own.MaxTokens)),
                };
                byte* from = call.Required(path, nameof(path));
                byte* to = call.Required(folder, nameof(folder));
                call.Check(Raw.cloze_vocabulary_learn(from, &o, to, call.Error));
            }
        }
    }

    /// <summary>Options of <see cref="Model.Create"/>.</summary>
    public sealed class CreateOptions
    {
        /// <summary>Worker threads of the model; 0: one per processor.</summary>
        public int Threads { get; set; }

        /// <summary>Which heads: those of <see cref="Objective.MaskedLM"/> or
        /// <see cref="Objective.Pretraining"/>.</summary>
        public Objective Objective { get; set; } = Objective.Pretraining;

        /// <summary>Of the weights; 0 is 42.</summary>
        public ulong Seed { get; set; } = 42;

        /// <summary>As in <see cref="OpenOptions"/>.</summary>
        public string Device { get; set; }

        /// <summary>What is computed in.</summary>
        public Precision Precision { get; set; }

        /// <summary>How the CPU keeps the weights.</summary>
        public Memory Memory { get; set; }
    }

    /// <summary>Options of <see cref="Corpus.Open"/>.</summary>
    public sealed class CorpusOptions
    {
        /// <summary>What a line of text is.</summary>
        public Lines Lines { get; set; }

        /// <summary>Of the examples to be made of it: longer sentences are cut; 0: what the model allows.</summary>
        public int MaxTokens { get; set; }
    }

    /// <summary>Text as token ids of one vocabulary, in a scratch file without a name: it may be larger than memory. It
    /// never changes.</summary>
    public sealed unsafe class Corpus : IDisposable
    {
        private readonly Raw.cloze_corpus_state state;

        internal Handle Handle { get; }

        private Corpus(Handle handle, Raw.cloze_corpus_state state)
        {
            Handle = handle;
            this.state = state;
        }

        /// <summary>Documents.</summary>
        public long Documents => (long)state.documents;

        /// <summary>Sentences.</summary>
        public long Sentences => (long)state.sentences;

        /// <summary>Tokens.</summary>
        public long Tokens => (long)state.tokens;

        /// <summary>Reads text and splits it into tokens of the model's vocabulary.</summary>
        /// <param name="model">Whose vocabulary it is.</param>
        /// <param name="path">A folder of .txt files, or one file: UTF-8, a blank line between documents.</param>
        /// <param name="options">How.</param>
        /// <exception cref="ClozeException"><see cref="Status.InvalidFile"/> names line and byte of a file that is not
        /// UTF-8 text; <see cref="Status.InvalidInput"/>: there is no text at all.</exception>
        public static Corpus Open(Model model, string path, CorpusOptions options = null)
        {
            if (model == null)
            {
                throw new ArgumentNullException(nameof(model));
            }
            using (var call = new Call(CancellationToken.None, model.Handle))
            {
                CorpusOptions own = options ?? new CorpusOptions();
                var o = new Raw.cloze_corpus_options
                {
                    size = (uint)sizeof(Raw.cloze_corpus_options),
                    lines = (uint)own.Lines,
                    max_tokens = Native.U32(own.MaxTokens, nameof(own.MaxTokens)),
                };
                byte* from = call.Required(path, nameof(path));
                IntPtr made;
                call.Check(Raw.cloze_corpus_open(model.Handle.Value, from, &o, &made, call.Error));
                var handle = new Handle(Kind.Corpus, made, null);
                var state = new Raw.cloze_corpus_state { size = (uint)sizeof(Raw.cloze_corpus_state) };
                call.Check(Raw.cloze_corpus_info(made, &state, call.Error));
                return new Corpus(handle, state);
            }
        }

        /// <summary>What was left out or cut, with its place: "books/a.txt: no text".</summary>
        public IReadOnlyList<string> Notices()
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                var notices = new string[(int)state.notices];
                for (int i = 0; i < notices.Length; i++)
                {
                    uint number = (uint)i;
                    notices[i] = call.Text((to, capacity, size) =>
                        Raw.cloze_corpus_notice(Handle.Value, number, (byte*)to, capacity, size, call.Error));
                }
                return notices;
            }
        }

        /// <summary>Frees the corpus, as soon as no call uses it. Again does nothing.</summary>
        public void Dispose()
        {
            Handle.Dispose();
        }
    }

    public sealed unsafe partial class Model
    {
        /// <summary>A model of random weights, as HuggingFace makes them.</summary>
        /// <param name="config">The text of a config.json.</param>
        /// <param name="tokenizer">A folder with a vocabulary.</param>
        /// <param name="options">How.</param>
        /// <exception cref="ClozeException"><see cref="Status.InvalidArgument"/>: the vocabulary has more tokens than
        /// the config's vocab_size.</exception>
        public static Model Create(string config, string tokenizer, CreateOptions options = null)
        {
            return New(null, CancellationToken.None, (call, made) =>
            {
                CreateOptions own = options ?? new CreateOptions();
                var o = new Raw.cloze_create_options
                {
                    size = (uint)sizeof(Raw.cloze_create_options),
                    threads = Native.U32(own.Threads, nameof(own.Threads)),
                    objective = (uint)own.Objective,
                    seed = own.Seed,
                    device = call.String(own.Device, nameof(own.Device)),
                    precision = (uint)own.Precision,
                    memory = (uint)own.Memory,
                };
                Raw.cloze_input* text = call.Inputs(config);
                byte* folder = call.Required(tokenizer, nameof(tokenizer));
                return Raw.cloze_model_create((IntPtr)text->text, text->text_size, folder, &o, made, call.Error);
            });
        }

        /// <summary>Metrics on text: "loss", "perplexity", "mlm_accuracy", "nsp_accuracy" ...</summary>
        /// <param name="corpus">The text.</param>
        /// <param name="recipe">Only what makes examples of text counts, and the objective.</param>
        /// <param name="options">Text and MaxTokens stay at their defaults.</param>
        /// <param name="cancellationToken">Stops the call.</param>
        public IReadOnlyDictionary<string, double> Evaluate(
            Corpus corpus,
            TrainOptions recipe,
            CallOptions options = null,
            CancellationToken cancellationToken = default)
        {
            if (corpus == null)
            {
                throw new ArgumentNullException(nameof(corpus));
            }
            using (var call = new Call(cancellationToken, Handle, corpus.Handle))
            {
                Raw.cloze_train_options r = call.Options(recipe);
                Raw.cloze_call_options o = call.Options(options);
                Raw.cloze_train_options* how = &r;
                Raw.cloze_call_options* at = &o;
                return call.Metrics((to, capacity, count) => Raw.cloze_evaluate_corpus(
                    Handle.Value, corpus.Handle.Value, how, at, (Raw.cloze_metric*)to, capacity, count, call.Error));
            }
        }
    }
}
