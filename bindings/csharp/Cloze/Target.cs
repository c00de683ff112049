using System;

namespace Cloze
{
    /// <summary>What examples are to be answered with.</summary>
    public enum TargetKind : uint
    {
        /// <summary>Nothing is known.</summary>
        None = Raw.CLOZE_TARGET_NONE,

        /// <summary>One label.</summary>
        Label = Raw.CLOZE_TARGET_LABEL,

        /// <summary>Any number of labels, none among them.</summary>
        Labels = Raw.CLOZE_TARGET_LABELS,

        /// <summary>One number or several.</summary>
        Numbers = Raw.CLOZE_TARGET_NUMBERS,

        /// <summary>A label for each word: <see cref="Dataset.AddWords"/>.</summary>
        Tags = Raw.CLOZE_TARGET_TAGS,

        /// <summary>A stretch of the second text.</summary>
        Answer = Raw.CLOZE_TARGET_ANSWER,

        /// <summary>A label id for each token id.</summary>
        Tokens = Raw.CLOZE_TARGET_TOKENS,
    }

    /// <summary>The answer to an input. The default value is that nothing is known.</summary>
    public readonly unsafe struct Target
    {
        /// <summary>Among the label ids of tokens: no label counts here.</summary>
        public const int Ignored = Raw.CLOZE_IGNORED;

        private readonly string name;
        private readonly string[] names;
        private readonly float[] numbers;
        private readonly int[] ids;
        private readonly int start;

        /// <summary>What it is.</summary>
        public TargetKind Kind { get; }

        private Target(TargetKind kind, string name, string[] names, float[] numbers, int[] ids, int start)
        {
            Kind = kind;
            this.name = name;
            this.names = names;
            this.numbers = numbers;
            this.ids = ids;
            this.start = start;
        }

        /// <summary>Nothing is known.</summary>
        public static Target None => default;

        /// <summary>One label.</summary>
        public static Target Label(string name)
        {
            return new Target(
                TargetKind.Label, name ?? throw new ArgumentNullException(nameof(name)), null, null, null, 0);
        }

        /// <summary>Any number of labels.</summary>
        public static Target Labels(params string[] names)
        {
            return new Target(
                TargetKind.Labels, null, names ?? throw new ArgumentNullException(nameof(names)), null, null, 0);
        }

        /// <summary>One number or several.</summary>
        public static Target Numbers(params float[] numbers)
        {
            if (numbers == null)
            {
                throw new ArgumentNullException(nameof(numbers));
            }
            if (numbers.Length == 0)
            {
                throw new ArgumentException("no number", nameof(numbers));
            }
            return new Target(TargetKind.Numbers, null, null, numbers, null, 0);
        }

        /// <summary>A stretch of the second text.</summary>
        /// <param name="answer">As it stands there; "" where the second text does not hold it.</param>
        /// <param name="start">Where it starts in the second text, in UTF-16 units.</param>
        public static Target Answer(string answer, int start)
        {
            Native.U32(start, nameof(start));
            return new Target(
                TargetKind.Answer, answer ?? throw new ArgumentNullException(nameof(answer)), null, null, null, start);
        }

        /// <summary>A label for each token id of the input; <see cref="Ignored"/> where none counts.</summary>
        public static Target TokenLabels(params int[] ids)
        {
            return new Target(
                TargetKind.Tokens, null, null, null, ids ?? throw new ArgumentNullException(nameof(ids)), 0);
        }

        /// <summary>Writes the target of an input for the time of a call.</summary>
        internal void Put(Call call, Raw.cloze_target* target, Input input)
        {
            target->kind = (uint)Kind;
            switch (Kind)
            {
                case TargetKind.Label:
                    target->name = call.String(name, "label");
                    break;
                case TargetKind.Labels:
                    target->names = call.Strings(names, "labels");
                    target->count = Native.Size(names.Length);
                    break;
                case TargetKind.Numbers:
                    target->numbers = call.Copy(numbers);
                    target->count = Native.Size(numbers.Length);
                    break;
                case TargetKind.Answer:
                    if (input.Pair != null && start > input.Pair.Length)
                    {
                        throw new ArgumentException($"answer: starts at {start} of {input.Pair.Length} UTF-16 units");
                    }
                    target->name = call.String(name, "answer");
                    target->start = input.Pair == null ? 0 : Bytes(input.Pair, start);
                    break;
                case TargetKind.Tokens:
                    if (ids.Length != (input.Ids?.Length ?? 0))
                    {
                        throw new ArgumentException($"{input.Ids?.Length ?? 0} token ids, {ids.Length} label ids");
                    }
                    target->ids = call.Copy(ids);
                    target->count = Native.Size(ids.Length);
                    break;
            }
        }

        /// <summary>The UTF-8 bytes before a UTF-16 unit.</summary>
        private static ulong Bytes(string text, int start)
        {
            return (ulong)System.Text.Encoding.UTF8.GetByteCount(text.ToCharArray(0, start));
        }
    }

    /// <summary>What a model reads, and what it is to answer.</summary>
    public readonly struct Example
    {
        /// <summary>What the model reads.</summary>
        public Input Input { get; }

        /// <summary>What it is to answer.</summary>
        public Target Target { get; }

        /// <summary>An example.</summary>
        public Example(Input input, Target target)
        {
            Input = input;
            Target = target;
        }
    }
}
