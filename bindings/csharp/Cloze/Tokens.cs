using System;
using System.Threading;

namespace Cloze
{
    /// <summary>Options of <see cref="Model.Tokenize"/>.</summary>
    public sealed class TokenizeOptions
    {
        /// <summary>How text becomes tokens.</summary>
        public TextMode Text { get; set; }

        /// <summary>Longest text in tokens; 0: what the model allows.</summary>
        public int MaxTokens { get; set; }

        /// <summary>What offsets count.</summary>
        public Offsets Offsets { get; set; } = Offsets.Utf16;
    }

    /// <summary>One token as the model sees it.</summary>
    public readonly unsafe struct Token
    {
        /// <summary>Index of its input.</summary>
        public int Input { get; }

        /// <summary>Its number in the vocabulary.</summary>
        public int Id { get; }

        /// <summary>Segment.</summary>
        public int Type { get; }

        /// <summary>Number of its word within its text; -1 for special tokens.</summary>
        public int Word { get; }

        /// <summary>0: the text, 1: the pair, -1: a special token that stands in neither.</summary>
        public int Text { get; }

        /// <summary>Within its input.</summary>
        public int Position { get; }

        /// <summary>Where in its text it starts.</summary>
        public int Start { get; }

        /// <summary>Where it ends.</summary>
        public int End { get; }

        internal Token(Raw.cloze_token* token)
        {
            Input = (int)token->input;
            Id = token->id;
            Type = token->type;
            Word = token->word;
            Text = token->text;
            Position = (int)token->position;
            Start = (int)token->start;
            End = (int)token->end;
        }
    }

    public sealed unsafe partial class Model
    {
        /// <summary>The tokens of all inputs, one after another, equal to those of HuggingFace's fast
        /// tokenizers.</summary>
        public Token[] Tokenize(Inputs inputs, TokenizeOptions options = null)
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                TokenizeOptions own = options ?? new TokenizeOptions();
                Raw.cloze_input* input = call.Inputs(inputs);
                var o = new Raw.cloze_tokenize_options
                {
                    size = (uint)sizeof(Raw.cloze_tokenize_options),
                    text = (uint)own.Text,
                    max_tokens = Native.U32(own.MaxTokens, nameof(own.MaxTokens)),
                    offsets = (uint)own.Offsets,
                };
                Raw.cloze_tokenize_options* at = &o;
                int found;
                var list = (Raw.cloze_token*)call.Fetch(
                    sizeof(Raw.cloze_token), inputs.Guess(), out found, (to, capacity, count) => Raw.cloze_tokenize(
                        Handle.Value, input, Native.Size(inputs.Count), at, (Raw.cloze_token*)to, capacity, count,
                        call.Error));
                var tokens = new Token[found];
                for (int i = 0; i < found; i++)
                {
                    tokens[i] = new Token(list + i);
                }
                return tokens;
            }
        }

        /// <summary>A token, as the vocabulary spells it: "##ing".</summary>
        /// <exception cref="ClozeException"><see cref="Status.InvalidInput"/>: there is no such id.</exception>
        public string TokenText(int id)
        {
            return Text(call => (to, capacity, size) =>
                Raw.cloze_token_text(Handle.Value, id, (byte*)to, capacity, size, call.Error));
        }

        /// <summary>The number of a token, spelled as in the vocabulary.</summary>
        /// <exception cref="ClozeException"><see cref="Status.Missing"/>: there is no such token.</exception>
        public int TokenId(string token)
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                Raw.cloze_input* input = call.Inputs(token);
                int id;
                call.Check(Raw.cloze_token_id(Handle.Value, input->text, input->text_size, &id, call.Error));
                return id;
            }
        }

        /// <summary>The text of token ids, without special tokens.</summary>
        public string Decode(params int[] ids)
        {
            if (ids == null)
            {
                throw new ArgumentNullException(nameof(ids));
            }
            using (var call = new Call(CancellationToken.None, Handle))
            {
                int* from = call.Copy(ids);
                return call.Text((to, capacity, size) => Raw.cloze_decode(
                    Handle.Value, from, Native.Size(ids.Length), (byte*)to, capacity, size, call.Error));
            }
        }
    }
}
