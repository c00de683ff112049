using System;

namespace Cloze
{
    /// <summary>How much of a call is done.</summary>
    public readonly struct CallProgress
    {
        /// <summary>Pieces of work that are done.</summary>
        public long Done { get; }

        /// <summary>Pieces of work that there are.</summary>
        public long Total { get; }

        internal CallProgress(long done, long total)
        {
            Done = done;
            Total = total;
        }
    }

    /// <summary>Calls a function at once, on the thread of the call that reports. What the function throws stops that
    /// call and comes out of it. <see cref="Progress{T}"/> posts instead: later, perhaps in another order, on another
    /// thread.</summary>
    public sealed class ImmediateProgress<T> : IProgress<T>
    {
        private readonly Action<T> report;

        /// <summary>Reports to a function.</summary>
        public ImmediateProgress(Action<T> report)
        {
            this.report = report ?? throw new ArgumentNullException(nameof(report));
        }

        /// <summary>Calls the function.</summary>
        public void Report(T value)
        {
            report(value);
        }
    }
}
