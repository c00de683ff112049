using System;

namespace Cloze
{
    /// <summary>How text becomes tokens.</summary>
    [Flags]
    public enum TextMode : uint
    {
        /// <summary>As the call has it.</summary>
        Default = 0,

        /// <summary>"[MASK]" and its like inside the text are plain text: for text that others wrote.</summary>
        Plain = Raw.CLOZE_TEXT_PLAIN,

        /// <summary>Cut what is too long: the default of embeddings and classes.</summary>
        Truncate = Raw.CLOZE_TEXT_TRUNCATE,

        /// <summary>What is too long is <see cref="Status.InvalidInput"/>: the default of all others.</summary>
        Refuse = Raw.CLOZE_TEXT_REFUSE,
    }

    /// <summary>What offsets count.</summary>
    public enum Offsets : uint
    {
        /// <summary>Bytes of UTF-8.</summary>
        Bytes = Raw.CLOZE_OFFSETS_BYTES,

        /// <summary>Unicode code points.</summary>
        CodePoints = Raw.CLOZE_OFFSETS_CODE_POINTS,

        /// <summary>UTF-16 units: those of a string, and the default.</summary>
        Utf16 = Raw.CLOZE_OFFSETS_UTF16,
    }

    /// <summary>Options of the calls that need no others.</summary>
    public sealed class CallOptions
    {
        /// <summary>How text becomes tokens.</summary>
        public TextMode Text { get; set; }

        /// <summary>Longest text in tokens; 0: what the model allows.</summary>
        public int MaxTokens { get; set; }

        /// <summary>Told how much is done.</summary>
        public IProgress<CallProgress> Progress { get; set; }
    }

    internal sealed unsafe partial class Call
    {
        internal Raw.cloze_call_options Options(CallOptions options)
        {
            CallOptions own = options ?? new CallOptions();
            return new Raw.cloze_call_options
            {
                size = (uint)sizeof(Raw.cloze_call_options),
                text = (uint)own.Text,
                max_tokens = Native.U32(own.MaxTokens, nameof(own.MaxTokens)),
                cancel = Flag(),
                progress = Progress(own.Progress),
                user = User(),
            };
        }
    }
}
