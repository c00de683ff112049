using System;
using System.Collections.Generic;
using System.Collections.ObjectModel;

namespace Cloze
{
    /// <summary>What has happened in a fit.</summary>
    public enum EventKind : uint
    {
        /// <summary>An optimizer step.</summary>
        Step = Raw.CLOZE_EVENT_STEP,

        /// <summary>An evaluation on the dev set: Took, Metrics, IsBest.</summary>
        Evaluation = Raw.CLOZE_EVENT_EVALUATION,

        /// <summary>A checkpoint is complete: Folder.</summary>
        Checkpoint = Raw.CLOZE_EVENT_CHECKPOINT,
    }

    /// <summary>News of a fit. What is not of its kind is 0 or empty.</summary>
    public sealed unsafe class TrainEvent
    {
        internal TrainEvent(Raw.cloze_train_event* news)
        {
            Kind = (EventKind)news->kind;
            Step = (long)news->step;
            Total = (long)news->total;
            Epoch = news->epoch;
            Took = TimeSpan.FromTicks((long)(news->seconds * TimeSpan.TicksPerSecond));
            Loss = news->loss;
            LearningRate = news->learning_rate;
            GradientNorm = news->gradient_norm;
            Examples = (long)news->examples;
            Tokens = (long)news->tokens;
            Metrics = Call.MetricsOf(news->metrics, Native.Length(news->metric_count));
            IsBest = news->best != 0;
            Folder = news->folder == null ? "" : Native.Text(news->folder);
            MlmLoss = news->mlm_loss;
            MlmAccuracy = news->mlm_accuracy;
            NspLoss = news->nsp_loss;
            NspAccuracy = news->nsp_accuracy;
        }

        /// <summary>What has happened.</summary>
        public EventKind Kind { get; }

        /// <summary>Optimizer steps done.</summary>
        public long Step { get; }

        /// <summary>Steps there will be, unless patience ends.</summary>
        public long Total { get; }

        /// <summary>Passes over the examples done, in part.</summary>
        public double Epoch { get; }

        /// <summary>How long it took.</summary>
        public TimeSpan Took { get; }

        /// <summary>Mean of the step's batches.</summary>
        public double Loss { get; }

        /// <summary>Learning rate of the step.</summary>
        public double LearningRate { get; }

        /// <summary>Norm of the gradients before they are scaled down.</summary>
        public double GradientNorm { get; }

        /// <summary>Examples of the step.</summary>
        public long Examples { get; }

        /// <summary>Tokens of the step.</summary>
        public long Tokens { get; }

        /// <summary>"loss", and fractions of 1: "accuracy", "macro_f1" ...; NaN where one is not defined.</summary>
        public IReadOnlyDictionary<string, double> Metrics { get; }

        /// <summary>The best evaluation so far.</summary>
        public bool IsBest { get; }

        /// <summary>Of the checkpoint.</summary>
        public string Folder { get; }

        /// <summary>Of masked words, where they are learned.</summary>
        public double MlmLoss { get; }

        /// <summary>Of masked words, where they are learned.</summary>
        public double MlmAccuracy { get; }

        /// <summary>Of next sentences, where they are learned.</summary>
        public double NspLoss { get; }

        /// <summary>Of next sentences, where they are learned.</summary>
        public double NspAccuracy { get; }
    }

    internal sealed unsafe partial class Call
    {
        internal static IReadOnlyDictionary<string, double> MetricsOf(Raw.cloze_metric* list, int count)
        {
            var metrics = new Dictionary<string, double>();
            for (int i = 0; i < count; i++)
            {
                metrics[Native.Text(list[i].name)] = list[i].value;
            }
            return new ReadOnlyDictionary<string, double>(metrics);
        }

        internal IReadOnlyDictionary<string, double> Metrics(Write write)
        {
            int count;
            byte* list = Fetch(sizeof(Raw.cloze_metric), Raw.CLOZE_MAX_METRICS, out count, write);
            return MetricsOf((Raw.cloze_metric*)list, count);
        }
    }
}
