using System;
using System.Collections.Generic;
using System.Linq;

namespace Cloze
{
    /// <summary>What a model reads: a text, a pair of texts, or token ids. The default value is the empty text. A
    /// string is an input by itself.</summary>
    public readonly struct Input
    {
        private readonly string text;

        /// <summary>The text; empty where token ids are given.</summary>
        public string Text => text ?? "";

        /// <summary>The second text; null where there is none.</summary>
        public string Pair { get; }

        /// <summary>The token ids; null where a text is given.</summary>
        public int[] Ids { get; }

        /// <summary>The segments of the token ids; null: all 0.</summary>
        public int[] Types { get; }

        private Input(string text, string pair, int[] ids, int[] types)
        {
            this.text = text;
            Pair = pair;
            Ids = ids;
            Types = types;
        }

        /// <summary>One text.</summary>
        public static Input OfText(string text)
        {
            return new Input(text ?? throw new ArgumentNullException(nameof(text)), null, null, null);
        }

        /// <summary>Two texts.</summary>
        public static Input OfPair(string text, string pair)
        {
            return new Input(
                text ?? throw new ArgumentNullException(nameof(text)),
                pair ?? throw new ArgumentNullException(nameof(pair)),
                null,
                null);
        }

        /// <summary>Token ids of a tokenizer of your own, special ones included. The arrays are read when the input is
        /// used.</summary>
        /// <param name="ids">A sequence as the model sees it.</param>
        /// <param name="types">Segments, as many as ids; null: all 0.</param>
        public static Input OfIds(int[] ids, int[] types = null)
        {
            if (ids == null)
            {
                throw new ArgumentNullException(nameof(ids));
            }
            if (types != null && types.Length != ids.Length)
            {
                throw new ArgumentException($"{ids.Length} ids, {types.Length} types", nameof(types));
            }
            return new Input(null, null, ids, types);
        }

        /// <summary>One text.</summary>
        public static implicit operator Input(string text)
        {
            return OfText(text);
        }
    }

    /// <summary>A batch of inputs, in the order of the answers. Strings, arrays and lists convert to one; a single
    /// string is a batch of one.</summary>
    public sealed class Inputs
    {
        internal Input[] Items { get; }

        /// <summary>Number of inputs.</summary>
        public int Count => Items.Length;

        /// <summary>A batch of inputs.</summary>
        public Inputs(IEnumerable<Input> inputs)
        {
            Items = (inputs ?? throw new ArgumentNullException(nameof(inputs))).ToArray();
        }

        /// <summary>A batch of texts.</summary>
        public Inputs(IEnumerable<string> texts)
            : this((texts ?? throw new ArgumentNullException(nameof(texts))).Select(Named))
        {
        }

        private static Input Named(string text, int index)
        {
            return Input.OfText(text ?? throw new ArgumentNullException("texts", $"input {index} is null"));
        }

        /// <summary>A batch of one text.</summary>
        public static implicit operator Inputs(string text)
        {
            return new Inputs(new[] { Input.OfText(text) });
        }

        /// <summary>A batch of texts.</summary>
        public static implicit operator Inputs(string[] texts)
        {
            return new Inputs(texts);
        }

        /// <summary>A batch of texts.</summary>
        public static implicit operator Inputs(List<string> texts)
        {
            return new Inputs(texts);
        }

        /// <summary>A batch of one input.</summary>
        public static implicit operator Inputs(Input input)
        {
            return new Inputs(new[] { input });
        }

        /// <summary>A batch of inputs.</summary>
        public static implicit operator Inputs(Input[] inputs)
        {
            return new Inputs(inputs);
        }

        /// <summary>A batch of inputs.</summary>
        public static implicit operator Inputs(List<Input> inputs)
        {
            return new Inputs(inputs);
        }

        /// <summary>About how many tokens there are at most.</summary>
        internal int Guess()
        {
            long tokens = 0;
            foreach (Input input in Items)
            {
                tokens += 3 + (input.Ids?.Length ?? 0) + (input.Text.Length + (input.Pair?.Length ?? 0)) / 2;
            }
            return (int)Math.Min(tokens, 1 << 20);
        }
    }

    internal sealed unsafe partial class Call
    {
        /// <summary>Inputs in memory that lives until the end of the call.</summary>
        internal Raw.cloze_input* Inputs(Inputs inputs)
        {
            Input[] items = (inputs ?? throw new ArgumentNullException(nameof(inputs))).Items;
            long units = 0;
            foreach (Input input in items)
            {
                units += input.Text.Length + (input.Pair?.Length ?? 0);
            }
            byte* text = Room(3 * units);
            var all = (Raw.cloze_input*)Zeroed((long)items.Length * sizeof(Raw.cloze_input));
            for (int i = 0; i < items.Length; i++)
            {
                Input input = items[i];
                Raw.cloze_input* own = all + i;
                if (input.Ids != null)
                {
                    own->ids = Copy(input.Ids);
                    own->types = Copy(input.Types);
                    own->id_count = Native.Size(input.Ids.Length);
                    continue;
                }
                int size = EncodeInput(input.Text, text, i, "text");
                own->text = text;
                own->text_size = Native.Size(size);
                text += size;
                if (input.Pair != null)
                {
                    size = EncodeInput(input.Pair, text, i, "pair");
                    own->pair = text;
                    own->pair_size = Native.Size(size);
                    text += size;
                }
            }
            return all;
        }

        private static int EncodeInput(string text, byte* room, int index, string part)
        {
            try
            {
                return Encode(text, room, part);
            }
            catch (ClozeException e)
            {
                throw new ClozeException(e.Status, $"input {index}: {e.Message}");
            }
        }
    }
}
