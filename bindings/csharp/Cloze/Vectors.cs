using System;
using System.Collections.Generic;
using System.Threading;

namespace Cloze
{
    /// <summary>How the tokens' vectors become one.</summary>
    public enum Pooling : uint
    {
        /// <summary>As the folder says, with all steps that follow; the mean where it says nothing.</summary>
        Auto = Raw.CLOZE_POOLING_AUTO,

        /// <summary>The vector of [CLS].</summary>
        Cls = Raw.CLOZE_POOLING_CLS,

        /// <summary>The mean of the vectors.</summary>
        Mean = Raw.CLOZE_POOLING_MEAN,

        /// <summary>The largest of each number.</summary>
        Max = Raw.CLOZE_POOLING_MAX,
    }

    /// <summary>Options of embeddings.</summary>
    public sealed class EmbedOptions
    {
        /// <summary>How text becomes tokens.</summary>
        public TextMode Text { get; set; }

        /// <summary>Longest text in tokens; 0: what the model allows.</summary>
        public int MaxTokens { get; set; }

        /// <summary>How the tokens' vectors become one.</summary>
        public Pooling Pooling { get; set; }

        /// <summary>Told how much is done.</summary>
        public IProgress<CallProgress> Progress { get; set; }

        /// <summary>Name of a sentence-transformers prompt; null: the folder's default.</summary>
        public string Prompt { get; set; }

        /// <summary>Makes embeddings of unit length, also where the folder does not.</summary>
        public bool Normalize { get; set; }
    }

    public sealed unsafe partial class Model
    {
        /// <summary>Numbers in an embedding of a pooling.</summary>
        public int EmbeddingWidth(Pooling pooling)
        {
            return pooling == Pooling.Auto ? Info.Embedding : Info.Hidden;
        }

        /// <summary>One vector an input, [inputs, <see cref="EmbeddingWidth"/>], equal to those of
        /// sentence-transformers' encode.</summary>
        public Matrix Embed(Inputs inputs, EmbedOptions options = null, CancellationToken cancellationToken = default)
        {
            if (inputs == null)
            {
                throw new ArgumentNullException(nameof(inputs));
            }
            int width = EmbeddingWidth(options?.Pooling ?? Pooling.Auto);
            var data = new float[checked(inputs.Count * width)];
            Embed(inputs, data, options, cancellationToken);
            return new Matrix(data, width);
        }

        /// <summary>Writes the vectors into an array, row by row.</summary>
        /// <param name="inputs">What is embedded.</param>
        /// <param name="destination">Has room for <see cref="EmbeddingWidth"/> numbers an input.</param>
        /// <param name="options">How.</param>
        /// <param name="cancellationToken">Stops the call.</param>
        /// <returns>How many numbers were written.</returns>
        /// <exception cref="ClozeException"><see cref="Status.BufferTooSmall"/>: the array has less room.</exception>
        public int Embed(
            Inputs inputs,
            float[] destination,
            EmbedOptions options = null,
            CancellationToken cancellationToken = default)
        {
            using (var call = new Call(cancellationToken, Handle))
            {
                EmbedOptions own = options ?? new EmbedOptions();
                Raw.cloze_input* input = call.Inputs(inputs);
                var o = new Raw.cloze_embed_options
                {
                    size = (uint)sizeof(Raw.cloze_embed_options),
                    text = (uint)own.Text,
                    max_tokens = Native.U32(own.MaxTokens, nameof(own.MaxTokens)),
                    pooling = (uint)own.Pooling,
                    cancel = call.Flag(),
                    progress = call.Progress(own.Progress),
                    user = call.User(),
                    prompt = call.String(own.Prompt, nameof(own.Prompt)),
                    normalize = own.Normalize ? 1u : 0u,
                };
                Raw.cloze_embed_options* at = &o;
                return call.Floats(destination, (to, capacity, count) => Raw.cloze_embed(
                    Handle.Value, input, Native.Size(inputs.Count), at, (float*)to, capacity, count, call.Error));
            }
        }

        /// <summary>Hidden states of layers, 0 being the embeddings and the last <see cref="Info.Layers"/>.</summary>
        /// <returns>For each input, for each of the layers in their order, a row a token, as many as
        /// <see cref="Tokenize"/> tells; <see cref="Info.Hidden"/> numbers in a row.</returns>
        public Matrix HiddenStates(
            Inputs inputs,
            IReadOnlyList<int> layers,
            CallOptions options = null,
            CancellationToken cancellationToken = default)
        {
            if (layers == null)
            {
                throw new ArgumentNullException(nameof(layers));
            }
            using (var call = new Call(cancellationToken, Handle))
            {
                Raw.cloze_input* input = call.Inputs(inputs);
                Raw.cloze_call_options o = call.Options(options);
                Raw.cloze_call_options* at = &o;
                uint* numbers = (uint*)call.Room((long)layers.Count * sizeof(uint));
                for (int i = 0; i < layers.Count; i++)
                {
                    numbers[i] = Native.U32(layers[i], nameof(layers));
                }
                float[] states = call.Floats(0, (to, capacity, count) => Raw.cloze_hidden_states(
                    Handle.Value, input, Native.Size(inputs.Count), numbers, Native.Size(layers.Count), at, (float*)to,
                    capacity, count, call.Error));
                return new Matrix(states, Info.Hidden);
            }
        }
    }
}
