using System;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace Cloze
{
    internal sealed unsafe partial class Call
    {
        // C holds their addresses: they live as long as the program.
        private static readonly Raw.cloze_progress ProgressFunction = OnProgress;
        private static readonly Raw.cloze_observe ObserveFunction = OnEvent;
        private static readonly Raw.cloze_token_callback TokenFunction = OnToken;
        private static readonly IntPtr ProgressAddress = Marshal.GetFunctionPointerForDelegate(ProgressFunction);
        private static readonly IntPtr ObserveAddress = Marshal.GetFunctionPointerForDelegate(ObserveFunction);
        private static readonly IntPtr TokenAddress = Marshal.GetFunctionPointerForDelegate(TokenFunction);

        private GCHandle self;
        private IProgress<CallProgress> progress;
        private IProgress<TrainEvent> observer;
        private Func<NewToken, bool> onToken;

        /// <summary>What a callback has thrown, kept until the library has returned: it must not cross C.</summary>
        private ExceptionDispatchInfo thrown;

        /// <summary>What C hands to the callbacks, which have been set before; NULL without any.</summary>
        internal IntPtr User()
        {
            if (progress == null && observer == null && onToken == null)
            {
                return IntPtr.Zero;
            }
            if (!self.IsAllocated)
            {
                self = GCHandle.Alloc(this);
            }
            return GCHandle.ToIntPtr(self);
        }

        internal IntPtr Progress(IProgress<CallProgress> reported)
        {
            progress = reported;
            return reported == null ? IntPtr.Zero : ProgressAddress;
        }

        internal IntPtr Observe(IProgress<TrainEvent> reported)
        {
            observer = reported;
            return reported == null ? IntPtr.Zero : ObserveAddress;
        }

        internal IntPtr OnEachToken(Func<NewToken, bool> function)
        {
            onToken = function;
            if (function == null)
            {
                return IntPtr.Zero;
            }
            NewFlag(); // its result ends one continuation: an exception has to end the call
            return TokenAddress;
        }

        private static int OnProgress(IntPtr user, ulong done, ulong total)
        {
            var call = (Call)GCHandle.FromIntPtr(user).Target;
            return call.Told(() =>
            {
                call.progress.Report(new CallProgress((long)done, (long)total));
                return true;
            });
        }

        private static int OnEvent(IntPtr user, Raw.cloze_train_event* news)
        {
            var call = (Call)GCHandle.FromIntPtr(user).Target;
            return call.Told(() =>
            {
                call.observer.Report(new TrainEvent(news));
                return true;
            });
        }

        private static int OnToken(IntPtr user, Raw.cloze_new_token* token)
        {
            var call = (Call)GCHandle.FromIntPtr(user).Target;
            return call.Told(() => call.onToken(new NewToken(token)));
        }

        /// <summary>What C is to be answered: 0 to go on.</summary>
        private int Told(Func<bool> function)
        {
            if (thrown != null)
            {
                return 1;
            }
            try
            {
                return function() && !token.IsCancellationRequested ? 0 : 1;
            }
            catch (Exception e)
            {
                thrown = ExceptionDispatchInfo.Capture(e);
                if (cancel != IntPtr.Zero)
                {
                    Raw.cloze_cancel_set(cancel);
                }
                return 1;
            }
        }
    }
}
