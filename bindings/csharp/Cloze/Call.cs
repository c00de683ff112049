using System;
using System.Collections.Generic;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using System.Threading;

namespace Cloze
{
    /// <summary>Writes results to memory that has room for so many, and tells their count, or the room that is
    /// needed.</summary>
    internal unsafe delegate int Write(IntPtr to, UIntPtr capacity, UIntPtr* count);

    /// <summary>One call of the library: the handles it uses, the memory that its parameters lie in, and what can stop
    /// it.</summary>
    internal sealed unsafe partial class Call : IDisposable
    {
        private const int BlockSize = 4096;

        private readonly CancellationToken token;
        private readonly Handle[] handles;
        private readonly int acquired;
        private readonly List<IntPtr> blocks = new List<IntPtr>();
        private byte* free;
        private long left;
        private IntPtr cancel;
        private CancellationTokenRegistration registration;

        /// <summary>Where the library writes its error.</summary>
        internal Raw.cloze_error* Error { get; }

        /// <summary>A call that uses handles, of which some may be null.</summary>
        internal Call(CancellationToken token, params Handle[] handles)
        {
            ClozeLibrary.Check();
            this.token = token;
            this.handles = handles;
            try
            {
                for (; acquired < handles.Length; acquired++)
                {
                    handles[acquired]?.Acquire();
                }
                if (token.IsCancellationRequested)
                {
                    throw new OperationCanceledException("cancelled before it began", token);
                }
                Error = (Raw.cloze_error*)Zeroed(sizeof(Raw.cloze_error));
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        public void Dispose()
        {
            // waits for a registered function that is running
            registration.Dispose();
            if (cancel != IntPtr.Zero)
            {
                Raw.cloze_cancel_free(cancel);
                cancel = IntPtr.Zero;
            }
            if (self.IsAllocated)
            {
                self.Free();
            }
            foreach (IntPtr block in blocks)
            {
                Marshal.FreeHGlobal(block);
            }
            blocks.Clear();
            for (int i = 0; i < acquired; i++)
            {
                handles[i]?.DangerousRelease();
            }
        }

        /// <summary>Turns what the library has returned into an exception. That of a callback goes first.</summary>
        internal void Check(int status)
        {
            thrown?.Throw();
            if (status == Raw.CLOZE_OK)
            {
                return;
            }
            string message = Native.Text(Error->message);
            if (status == Raw.CLOZE_CANCELLED)
            {
                throw new OperationCanceledException(message, token);
            }
            throw new ClozeException((Status)status, message);
        }

        /// <summary>The flag that the token sets; NULL for a token that is never cancelled.</summary>
        internal IntPtr Flag()
        {
            return token.CanBeCanceled ? NewFlag() : cancel;
        }

        private IntPtr NewFlag()
        {
            if (cancel == IntPtr.Zero)
            {
                IntPtr flag;
                Check(Raw.cloze_cancel_new(&flag, Error));
                cancel = flag;
                registration = token.Register(value => Raw.cloze_cancel_set((IntPtr)value), flag);
            }
            return cancel;
        }

        /// <summary>Memory that lives until the end of the call.</summary>
        internal byte* Room(long size)
        {
            size = Math.Max((size + 15) & ~15L, 16);
            if (size > left)
            {
                long whole = Math.Max(size, BlockSize);
                IntPtr block = Marshal.AllocHGlobal((IntPtr)whole);
                blocks.Add(block);
                if (whole - size < left)
                {
                    return (byte*)block;
                }
                free = (byte*)block;
                left = whole;
            }
            byte* room = free;
            free += size;
            left -= size;
            return room;
        }

        internal byte* Zeroed(long size)
        {
            byte* room = Room(size);
            for (long i = 0; i < size; i++)
            {
                room[i] = 0;
            }
            return room;
        }

        /// <summary>A copy of a string with a NUL after it; NULL for null. One with a NUL inside cannot be handed
        /// over.</summary>
        internal byte* String(string text, string name)
        {
            if (text == null)
            {
                return null;
            }
            int nul = text.IndexOf('\0');
            if (nul >= 0)
            {
                throw new ArgumentException($"{name}: NUL at index {nul}", name);
            }
            byte* room = Room(3L * text.Length + 1);
            room[Encode(text, room, name)] = 0;
            return room;
        }

        internal byte* Required(string text, string name)
        {
            if (text == null)
            {
                throw new ArgumentNullException(name);
            }
            return String(text, name);
        }

        internal byte** Strings(IReadOnlyList<string> list, string name)
        {
            if (list == null)
            {
                return null;
            }
            byte** room = (byte**)Room((long)list.Count * sizeof(byte*));
            for (int i = 0; i < list.Count; i++)
            {
                room[i] = Required(list[i], name);
            }
            return room;
        }

        /// <summary>Writes UTF-8 to room for three bytes a UTF-16 unit, and tells how many bytes it has
        /// written.</summary>
        internal static int Encode(string text, byte* room, string name)
        {
            if (text.Length > int.MaxValue / 3)
            {
                throw new ArgumentException($"{name}: {text.Length} UTF-16 units", name);
            }
            fixed (char* from = text)
            {
                try
                {
                    return text.Length == 0 ? 0 : Native.Utf8.GetBytes(from, text.Length, room, 3 * text.Length);
                }
                catch (System.Text.EncoderFallbackException e)
                {
                    throw new ClozeException(Status.InvalidInput, $"{name}: lone surrogate at index {e.Index}");
                }
            }
        }

        /// <summary>A copy of an array; NULL for null.</summary>
        internal int* Copy(int[] numbers)
        {
            if (numbers == null)
            {
                return null;
            }
            int* room = (int*)Room((long)numbers.Length * sizeof(int));
            Marshal.Copy(numbers, 0, (IntPtr)room, numbers.Length);
            return room;
        }

        /// <summary>A copy of an array; NULL for null.</summary>
        internal float* Copy(float[] numbers)
        {
            if (numbers == null)
            {
                return null;
            }
            float* room = (float*)Room((long)numbers.Length * sizeof(float));
            Marshal.Copy(numbers, 0, (IntPtr)room, numbers.Length);
            return room;
        }

        /// <summary>A token id that may be left out.</summary>
        internal int* Id(int? id)
        {
            return id == null ? null : Copy(new[] { id.Value });
        }

        /// <summary>Has results of so many bytes each written, once again where there are more than the room was
        /// for.</summary>
        internal byte* Fetch(int size, int room, out int count, Write write)
        {
            UIntPtr found;
            byte* to = Room((long)size * room);
            int status = write((IntPtr)to, Native.Size(room), &found);
            if (status == Raw.CLOZE_BUFFER_TOO_SMALL)
            {
                room = Native.Length(found);
                to = Room((long)size * room);
                status = write((IntPtr)to, Native.Size(room), &found);
            }
            Check(status);
            count = Native.Length(found);
            return to;
        }

        /// <summary>Fetch of numbers, into an array.</summary>
        internal float[] Floats(int room, Write write)
        {
            UIntPtr found;
            float[] data = new float[room];
            int status = Into(data, write, &found);
            if (status == Raw.CLOZE_BUFFER_TOO_SMALL)
            {
                data = new float[Native.Length(found)];
                status = Into(data, write, &found);
            }
            Check(status);
            int count = Native.Length(found);
            if (count != data.Length)
            {
                Array.Resize(ref data, count);
            }
            return data;
        }

        private static int Into(float[] data, Write write, UIntPtr* found)
        {
            fixed (float* to = data)
            {
                return write((IntPtr)to, Native.Size(data.Length), found);
            }
        }

        /// <summary>Has numbers written into an array that was given.</summary>
        /// <returns>How many.</returns>
        internal int Floats(float[] destination, Write write)
        {
            if (destination == null)
            {
                throw new ArgumentNullException(nameof(destination));
            }
            UIntPtr found;
            Check(Into(destination, write, &found));
            return Native.Length(found);
        }

        /// <summary>Fetch of a text, whose capacity has to have room for a NUL.</summary>
        internal string Text(Write write)
        {
            UIntPtr size;
            int room = 256;
            byte* to = Room(room);
            int status = write((IntPtr)to, Native.Size(room), &size);
            if (status == Raw.CLOZE_BUFFER_TOO_SMALL)
            {
                room = checked(Native.Length(size) + 1);
                to = Room(room);
                status = write((IntPtr)to, Native.Size(room), &size);
            }
            Check(status);
            return System.Text.Encoding.UTF8.GetString(to, Native.Length(size));
        }
    }
}
