using System;

namespace Cloze
{
    /// <summary>Why a call failed.</summary>
    public enum Status
    {
        /// <summary>It breaks the contract of the call: an unknown option, sizes that disagree.</summary>
        InvalidArgument = Raw.CLOZE_INVALID_ARGUMENT,

        /// <summary>An array that was given has too little room.</summary>
        BufferTooSmall = Raw.CLOZE_BUFFER_TOO_SMALL,

        /// <summary>Text or token ids that cannot be used: too long, no mask, an unknown id.</summary>
        InvalidInput = Raw.CLOZE_INVALID_INPUT,

        /// <summary>The system refused to open, read, map or write a file.</summary>
        Io = Raw.CLOZE_IO,

        /// <summary>A file is not what its format demands.</summary>
        InvalidFile = Raw.CLOZE_INVALID_FILE,

        /// <summary>Something that is not computed was asked for; the message names it.</summary>
        Unsupported = Raw.CLOZE_UNSUPPORTED,

        /// <summary>The model lacks what was asked of it: a tensor, a head, a tokenizer.</summary>
        Missing = Raw.CLOZE_MISSING,

        /// <summary>The message names the bytes that were needed.</summary>
        OutOfMemory = Raw.CLOZE_OUT_OF_MEMORY,

        /// <summary>A call was cancelled. It is told by <see cref="OperationCanceledException"/>.</summary>
        Cancelled = Raw.CLOZE_CANCELLED,

        /// <summary>Another call uses the trainer, or reads the dataset that would change.</summary>
        Busy = Raw.CLOZE_BUSY,

        /// <summary>The device cannot be used; the message tells why.</summary>
        NoDevice = Raw.CLOZE_NO_DEVICE,

        /// <summary>Weights or results are not finite numbers; the message names the tensor.</summary>
        NotFinite = Raw.CLOZE_NOT_FINITE,

        /// <summary>A defect of cloze: please report the message.</summary>
        Internal = Raw.CLOZE_INTERNAL,
    }

    /// <summary>What the library answered instead of a result. The message names the thing.</summary>
    public sealed class ClozeException : Exception
    {
        /// <summary>Why the call failed.</summary>
        public Status Status { get; }

        /// <summary>An exception of a status.</summary>
        public ClozeException(Status status, string message)
            : base(message)
        {
            Status = status;
        }
    }
}
