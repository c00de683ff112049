using System;
using System.Threading;

namespace Cloze
{
    /// <summary>How tokens become entities: HuggingFace's aggregation strategies.</summary>
    public enum Aggregation : uint
    {
        /// <summary>Neighbouring tokens of one tag.</summary>
        Simple = Raw.CLOZE_AGGREGATION_SIMPLE,

        /// <summary>Every token is an entity.</summary>
        None = Raw.CLOZE_AGGREGATION_NONE,

        /// <summary>Words take the label of their first token.</summary>
        First = Raw.CLOZE_AGGREGATION_FIRST,

        /// <summary>Words take the label of the highest mean probability.</summary>
        Average = Raw.CLOZE_AGGREGATION_AVERAGE,

        /// <summary>Words take the label of their surest token.</summary>
        Max = Raw.CLOZE_AGGREGATION_MAX,
    }

    /// <summary>Options of <see cref="Model.Tag"/>.</summary>
    public sealed class TagOptions
    {
        /// <summary>How text becomes tokens.</summary>
        public TextMode Text { get; set; }

        /// <summary>Longest text in tokens; 0: what the model allows.</summary>
        public int MaxTokens { get; set; }

        /// <summary>How tokens become entities.</summary>
        public Aggregation Aggregation { get; set; }

        /// <summary>Told how much is done.</summary>
        public IProgress<CallProgress> Progress { get; set; }

        /// <summary>What offsets count.</summary>
        public Offsets Offsets { get; set; } = Offsets.Utf16;

        /// <summary>Returns stretches labelled "O" too.</summary>
        public bool KeepOutside { get; set; }
    }

    /// <summary>A stretch of text with a label.</summary>
    public readonly unsafe struct Entity
    {
        /// <summary>Index of its input.</summary>
        public int Input { get; }

        /// <summary>Number of its label: <see cref="Model.Labels"/> has the name, "B-PER".</summary>
        public int Label { get; }

        /// <summary>Where it starts.</summary>
        public int Start { get; }

        /// <summary>Where it ends.</summary>
        public int End { get; }

        /// <summary>Mean over the grouped tokens or words.</summary>
        public double Probability { get; }

        internal Entity(Raw.cloze_entity* entity)
        {
            Input = (int)entity->input;
            Label = (int)entity->label;
            Start = (int)entity->start;
            End = (int)entity->end;
            Probability = entity->probability;
        }
    }

    public sealed unsafe partial class Model
    {
        /// <summary>The probability that the second text of each pair follows its first: one number an input.</summary>
        public float[] NextSentence(
            Inputs inputs, CallOptions options = null, CancellationToken cancellationToken = default)
        {
            using (var call = new Call(cancellationToken, Handle))
            {
                Raw.cloze_input* input = call.Inputs(inputs);
                Raw.cloze_call_options o = call.Options(options);
                Raw.cloze_call_options* at = &o;
                return call.Floats(inputs.Count, (to, capacity, count) =>
                {
                    *count = capacity;
                    return Raw.cloze_next_sentence(
                        Handle.Value, input, Native.Size(inputs.Count), at, (float*)to, capacity, call.Error);
                });
            }
        }

        /// <summary>One number a label for each input, [inputs, labels] in the order of <see cref="Labels"/>:
        /// probabilities, or the plain numbers of a regression.</summary>
        /// <exception cref="ClozeException"><see cref="Status.Missing"/>: the model has no classifier.</exception>
        public Matrix Classify(
            Inputs inputs, CallOptions options = null, CancellationToken cancellationToken = default)
        {
            using (var call = new Call(cancellationToken, Handle))
            {
                Raw.cloze_input* input = call.Inputs(inputs);
                Raw.cloze_call_options o = call.Options(options);
                Raw.cloze_call_options* at = &o;
                float[] values = call.Floats(inputs.Count * Info.Labels, (to, capacity, count) => Raw.cloze_classify(
                    Handle.Value, input, Native.Size(inputs.Count), at, (float*)to, capacity, count, call.Error));
                return new Matrix(values, Info.Labels);
            }
        }

        /// <summary>The entities of every input, in order. Inputs are single texts.</summary>
        public Entity[] Tag(Inputs inputs, TagOptions options = null, CancellationToken cancellationToken = default)
        {
            using (var call = new Call(cancellationToken, Handle))
            {
                TagOptions own = options ?? new TagOptions();
                Raw.cloze_input* input = call.Inputs(inputs);
                var o = new Raw.cloze_tag_options
                {
                    size = (uint)sizeof(Raw.cloze_tag_options),
                    text = (uint)own.Text,
                    max_tokens = Native.U32(own.MaxTokens, nameof(own.MaxTokens)),
                    aggregation = (uint)own.Aggregation,
                    cancel = call.Flag(),
                    progress = call.Progress(own.Progress),
                    user = call.User(),
                    offsets = (uint)own.Offsets,
                    keep_outside = own.KeepOutside ? 1u : 0u,
                };
                Raw.cloze_tag_options* at = &o;
                int found;
                var list = (Raw.cloze_entity*)call.Fetch(
                    sizeof(Raw.cloze_entity), inputs.Guess(), out found, (to, capacity, count) => Raw.cloze_tag(
                        Handle.Value, input, Native.Size(inputs.Count), at, (Raw.cloze_entity*)to, capacity, count,
                        call.Error));
                var entities = new Entity[found];
                for (int i = 0; i < found; i++)
                {
                    entities[i] = new Entity(list + i);
                }
                return entities;
            }
        }

        /// <summary>The probabilities of all labels for every token of every input, special ones included:
        /// [tokens, labels].</summary>
        public Matrix TagTokens(
            Inputs inputs, CallOptions options = null, CancellationToken cancellationToken = default)
        {
            using (var call = new Call(cancellationToken, Handle))
            {
                Raw.cloze_input* input = call.Inputs(inputs);
                Raw.cloze_call_options o = call.Options(options);
                Raw.cloze_call_options* at = &o;
                float[] values = call.Floats(0, (to, capacity, count) => Raw.cloze_tag_tokens(
                    Handle.Value, input, Native.Size(inputs.Count), at, (float*)to, capacity, count, call.Error));
                return new Matrix(values, Info.Labels);
            }
        }
    }
}
