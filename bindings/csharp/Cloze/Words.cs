using System;
using System.Collections.Generic;
using System.Threading;

namespace Cloze
{
    /// <summary>Options of <see cref="Model.Fill"/>.</summary>
    public sealed class FillOptions
    {
        /// <summary>How text becomes tokens.</summary>
        public TextMode Text { get; set; }

        /// <summary>Longest text in tokens; 0: what the model allows.</summary>
        public int MaxTokens { get; set; }

        /// <summary>Candidates for each mask.</summary>
        public int TopK { get; set; } = 5;

        /// <summary>Told how much is done.</summary>
        public IProgress<CallProgress> Progress { get; set; }

        /// <summary>Only these ids, one given twice counting once; null: all words.</summary>
        public int[] Targets { get; set; }

        /// <summary>Id of the mask token; null: the tokenizer's.</summary>
        public int? Mask { get; set; }
    }

    /// <summary>A word for a mask.</summary>
    public readonly struct Candidate
    {
        /// <summary>Index of its input.</summary>
        public int Input { get; }

        /// <summary>Of the mask among the input's tokens.</summary>
        public int Position { get; }

        /// <summary>Its number in the vocabulary: <see cref="Model.TokenText"/>.</summary>
        public int Id { get; }

        /// <summary>Over the whole vocabulary, also with targets.</summary>
        public float Probability { get; }

        internal Candidate(int input, int position, int id, float probability)
        {
            Input = input;
            Position = position;
            Id = id;
            Probability = probability;
        }
    }

    /// <summary>How texts are scored.</summary>
    public enum ScoreMethod : uint
    {
        /// <summary>Pseudo-log-likelihood: each token is masked in turn.</summary>
        Pll = Raw.CLOZE_SCORE_PLL,

        /// <summary>With it, the later pieces of its word are masked too.</summary>
        PllWordL2R = Raw.CLOZE_SCORE_PLL_WORD_L2R,

        /// <summary>The chain rule: the one method of causal models, and theirs alone.</summary>
        Causal = Raw.CLOZE_SCORE_CAUSAL,
    }

    /// <summary>Options of <see cref="Model.Score"/> and <see cref="Model.ScoreTokens"/>.</summary>
    public sealed class ScoreOptions
    {
        /// <summary>How text becomes tokens.</summary>
        public TextMode Text { get; set; }

        /// <summary>Longest text in tokens; 0: what the model allows.</summary>
        public int MaxTokens { get; set; }

        /// <summary>How texts are scored.</summary>
        public ScoreMethod Method { get; set; }

        /// <summary>Told how much is done.</summary>
        public IProgress<CallProgress> Progress { get; set; }

        /// <summary>Id of the mask token; null: the tokenizer's.</summary>
        public int? Mask { get; set; }
    }

    /// <summary>How likely a text is.</summary>
    public readonly unsafe struct TextScore
    {
        /// <summary>Sum over the tokens, natural logarithm.</summary>
        public double LogLikelihood { get; }

        /// <summary>Scored tokens: all but special ones; of causal models, all but the first.</summary>
        public long Tokens { get; }

        /// <summary>A score.</summary>
        public TextScore(double logLikelihood, long tokens)
        {
            LogLikelihood = logLikelihood;
            Tokens = tokens;
        }

        /// <summary>Pseudo-perplexity of a corpus from the scores of its texts: exp of minus the sum of their
        /// log-likelihoods by the sum of their tokens; 1 for no tokens.</summary>
        public static double Perplexity(IReadOnlyList<TextScore> scores)
        {
            if (scores == null)
            {
                throw new ArgumentNullException(nameof(scores));
            }
            using (var call = new Call(CancellationToken.None))
            {
                var list = (Raw.cloze_text_score*)call.Room((long)scores.Count * sizeof(Raw.cloze_text_score));
                for (int i = 0; i < scores.Count; i++)
                {
                    list[i].log_likelihood = scores[i].LogLikelihood;
                    list[i].tokens = Native.U64(scores[i].Tokens, nameof(Tokens));
                }
                return Raw.cloze_perplexity(list, Native.Size(scores.Count));
            }
        }
    }

    /// <summary>How likely a token is.</summary>
    public readonly struct TokenScore
    {
        /// <summary>Index of its input.</summary>
        public int Input { get; }

        /// <summary>Among the input's tokens.</summary>
        public int Position { get; }

        /// <summary>Its number in the vocabulary.</summary>
        public int Id { get; }

        /// <summary>Natural logarithm.</summary>
        public float LogProbability { get; }

        internal TokenScore(int input, int position, int id, float logProbability)
        {
            Input = input;
            Position = position;
            Id = id;
            LogProbability = logProbability;
        }
    }

    public sealed unsafe partial class Model
    {
        /// <summary>The best words for every "[MASK]" of every input: input by input, mask by mask, the likeliest
        /// first, as many as <see cref="FillOptions.TopK"/> for each mask.</summary>
        /// <exception cref="ClozeException"><see cref="Status.InvalidInput"/>: an input has no mask.</exception>
        public Candidate[] Fill(
            Inputs inputs, FillOptions options = null, CancellationToken cancellationToken = default)
        {
            using (var call = new Call(cancellationToken, Handle))
            {
                FillOptions own = options ?? new FillOptions();
                Raw.cloze_input* input = call.Inputs(inputs);
                var o = new Raw.cloze_fill_options
                {
                    size = (uint)sizeof(Raw.cloze_fill_options),
                    text = (uint)own.Text,
                    max_tokens = Native.U32(own.MaxTokens, nameof(own.MaxTokens)),
                    top_k = Native.U32(own.TopK, nameof(own.TopK)),
                    cancel = call.Flag(),
                    progress = call.Progress(own.Progress),
                    user = call.User(),
                    targets = call.Copy(own.Targets),
                    target_count = Native.Size(own.Targets?.Length ?? 0),
                    mask = call.Id(own.Mask),
                };
                Raw.cloze_fill_options* at = &o;
                int found, room = (int)Math.Min((long)inputs.Count * Math.Max(own.TopK, 5), 1 << 20);
                var list = (Raw.cloze_candidate*)call.Fetch(
                    sizeof(Raw.cloze_candidate), room, out found, (to, capacity, count) => Raw.cloze_fill(
                        Handle.Value, input, Native.Size(inputs.Count), at, (Raw.cloze_candidate*)to, capacity, count,
                        call.Error));
                var candidates = new Candidate[found];
                for (int i = 0; i < found; i++)
                {
                    Raw.cloze_candidate* c = list + i;
                    candidates[i] = new Candidate((int)c->input, (int)c->position, c->id, c->probability);
                }
                return candidates;
            }
        }

        /// <summary>How likely each input is: one score an input.</summary>
        public TextScore[] Score(
            Inputs inputs, ScoreOptions options = null, CancellationToken cancellationToken = default)
        {
            using (var call = new Call(cancellationToken, Handle))
            {
                Raw.cloze_input* input = call.Inputs(inputs);
                Raw.cloze_score_options o = call.Options(options);
                var list = (Raw.cloze_text_score*)call.Room((long)inputs.Count * sizeof(Raw.cloze_text_score));
                UIntPtr inputCount = Native.Size(inputs.Count);
                call.Check(Raw.cloze_score(Handle.Value, input, inputCount, &o, list, inputCount, call.Error));
                var scores = new TextScore[inputs.Count];
                for (int i = 0; i < scores.Length; i++)
                {
                    scores[i] = new TextScore(list[i].log_likelihood, (long)list[i].tokens);
                }
                return scores;
            }
        }

        /// <summary>How likely each token of each input is.</summary>
        public TokenScore[] ScoreTokens(
            Inputs inputs, ScoreOptions options = null, CancellationToken cancellationToken = default)
        {
            using (var call = new Call(cancellationToken, Handle))
            {
                Raw.cloze_input* input = call.Inputs(inputs);
                Raw.cloze_score_options o = call.Options(options);
                Raw.cloze_score_options* at = &o;
                int found;
                var list = (Raw.cloze_token_score*)call.Fetch(
                    sizeof(Raw.cloze_token_score), inputs.Guess(), out found, (to, capacity, count) =>
                        Raw.cloze_score_tokens(
                            Handle.Value, input, Native.Size(inputs.Count), at, (Raw.cloze_token_score*)to, capacity,
                            count, call.Error));
                var scores = new TokenScore[found];
                for (int i = 0; i < found; i++)
                {
                    Raw.cloze_token_score* s = list + i;
                    scores[i] = new TokenScore((int)s->input, (int)s->position, s->id, s->log_probability);
                }
                return scores;
            }
        }
    }

    internal sealed unsafe partial class Call
    {
        internal Raw.cloze_score_options Options(ScoreOptions options)
        {
            ScoreOptions own = options ?? new ScoreOptions();
            return new Raw.cloze_score_options
            {
                size = (uint)sizeof(Raw.cloze_score_options),
                text = (uint)own.Text,
                max_tokens = Native.U32(own.MaxTokens, nameof(own.MaxTokens)),
                method = (uint)own.Method,
                cancel = Flag(),
                progress = Progress(own.Progress),
                user = User(),
                mask = Id(own.Mask),
            };
        }
    }
}
