using System;
using System.Threading;

namespace Cloze
{
    /// <summary>A token that was generated.</summary>
    public readonly unsafe struct NewToken
    {
        /// <summary>Index of its input.</summary>
        public int Input { get; }

        /// <summary>Number of its continuation of that input, from 0.</summary>
        public int Continuation { get; }

        /// <summary>Its number in the vocabulary.</summary>
        public int Id { get; }

        /// <summary>Natural logarithm, as the model gives it: before temperature, top-k and top-p.</summary>
        public float LogProbability { get; }

        internal NewToken(Raw.cloze_new_token* token)
        {
            Input = (int)token->input;
            Continuation = (int)token->continuation;
            Id = token->id;
            LogProbability = token->log_probability;
        }
    }

    /// <summary>Options of <see cref="Model.Generate"/>.</summary>
    public sealed class GenerateOptions
    {
        /// <summary>How text becomes tokens.</summary>
        public TextMode Text { get; set; }

        /// <summary>Longest input in tokens; 0: what the model allows.</summary>
        public int PromptTokens { get; set; }

        /// <summary>Most new tokens of a continuation; 0: what the model has positions for.</summary>
        public int MaxTokens { get; set; }

        /// <summary>Continuations of every input. More than one have to be drawn.</summary>
        public int Count { get; set; } = 1;

        /// <summary>0: the likeliest token each time. Else tokens are drawn: below 1 likely ones more often.</summary>
        public float Temperature { get; set; }

        /// <summary>Of so many likeliest; 0: of all.</summary>
        public int TopK { get; set; }

        /// <summary>Of the likeliest whose probabilities sum to this; 0: of all.</summary>
        public float TopP { get; set; }

        /// <summary>One seed gives one text on any number of threads.</summary>
        public ulong Seed { get; set; }

        /// <summary>Told how much is done.</summary>
        public IProgress<CallProgress> Progress { get; set; }

        /// <summary>Told each token as soon as it is there; false makes it the last of its continuation. What it throws
        /// ends the call and comes out of it.</summary>
        public Func<NewToken, bool> OnToken { get; set; }

        /// <summary>Id of the token that ends a text; null: the tokenizer's [SEP].</summary>
        public int? End { get; set; }
    }

    public sealed unsafe partial class Model
    {
        /// <summary>Continuations of every input by a causal model: input by input, continuation by continuation, token
        /// by token. A [SEP] that ended a continuation is its last token.</summary>
        /// <exception cref="ClozeException"><see cref="Status.Unsupported"/>: the model is not causal.</exception>
        public NewToken[] Generate(
            Inputs inputs, GenerateOptions options = null, CancellationToken cancellationToken = default)
        {
            using (var call = new Call(cancellationToken, Handle))
            {
                GenerateOptions own = options ?? new GenerateOptions();
                Raw.cloze_input* input = call.Inputs(inputs);
                IntPtr token = call.OnEachToken(own.OnToken);
                var o = new Raw.cloze_generate_options
                {
                    size = (uint)sizeof(Raw.cloze_generate_options),
                    text = (uint)own.Text,
                    prompt_tokens = Native.U32(own.PromptTokens, nameof(own.PromptTokens)),
                    max_tokens = Native.U32(own.MaxTokens, nameof(own.MaxTokens)),
                    count = Native.U32(own.Count, nameof(own.Count)),
                    temperature = own.Temperature,
                    top_k = Native.U32(own.TopK, nameof(own.TopK)),
                    top_p = own.TopP,
                    seed = own.Seed,
                    cancel = call.Flag(),
                    progress = call.Progress(own.Progress),
                    token = token,
                    user = call.User(),
                    end = call.Id(own.End),
                };
                Raw.cloze_generate_options* at = &o;
                int found;
                var list = (Raw.cloze_new_token*)call.Fetch(
                    sizeof(Raw.cloze_new_token), 0, out found, (to, capacity, count) => Raw.cloze_generate(
                        Handle.Value, input, Native.Size(inputs.Count), at, (Raw.cloze_new_token*)to, capacity, count,
                        call.Error));
                var tokens = new NewToken[found];
                for (int i = 0; i < found; i++)
                {
                    tokens[i] = new NewToken(list + i);
                }
                return tokens;
            }
        }
    }
}
