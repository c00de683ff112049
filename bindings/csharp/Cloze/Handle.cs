using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Threading;

namespace Cloze
{
    internal enum Kind
    {
        Model,
        Trainer,
        Dataset,
        Corpus,
    }

    /// <summary>A handle of the library: given back after it was disposed of, or found by the garbage collector, and
    /// after the last call that uses it.</summary>
    internal sealed class Handle : SafeHandle
    {
        private readonly Kind kind;

        /// <summary>Memory that the handle reads; null where there is none.</summary>
        internal Pinned Memory { get; }

        internal Handle(Kind kind, IntPtr value, Pinned memory)
            : base(IntPtr.Zero, true)
        {
            this.kind = kind;
            Memory = memory;
            memory?.Acquire();
            SetHandle(value);
        }

        public override bool IsInvalid => handle == IntPtr.Zero;

        /// <summary>The value, to be used between Acquire and DangerousRelease.</summary>
        internal IntPtr Value => handle;

        /// <summary>Keeps the handle until DangerousRelease.</summary>
        internal void Acquire()
        {
            bool acquired = false;
            try
            {
                DangerousAddRef(ref acquired);
            }
            catch (ObjectDisposedException)
            {
                throw new ObjectDisposedException(kind.ToString());
            }
        }

        protected override bool ReleaseHandle()
        {
            switch (kind)
            {
                case Kind.Model:
                    Raw.cloze_model_close(handle);
                    break;
                case Kind.Trainer:
                    Raw.cloze_trainer_free(handle);
                    break;
                case Kind.Dataset:
                    Raw.cloze_dataset_free(handle);
                    break;
                case Kind.Corpus:
                    Raw.cloze_corpus_free(handle);
                    break;
            }
            Memory?.Release();
            return true;
        }
    }

    /// <summary>Arrays that stay where they are until the last use of them is released. It has no finalizer: handles
    /// that are finalized release it.</summary>
    internal sealed class Pinned
    {
        private readonly List<GCHandle> arrays = new List<GCHandle>();
        private int uses = 1;

        internal IntPtr Add(byte[] data)
        {
            GCHandle array = GCHandle.Alloc(data, GCHandleType.Pinned);
            arrays.Add(array);
            return array.AddrOfPinnedObject();
        }

        internal void Acquire()
        {
            Interlocked.Increment(ref uses);
        }

        internal void Release()
        {
            if (Interlocked.Decrement(ref uses) == 0)
            {
                foreach (GCHandle array in arrays)
                {
                    array.Free();
                }
            }
        }
    }
}
