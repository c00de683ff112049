using System;
using System.Collections.Generic;

namespace Cloze
{
    /// <summary>What is learned, and from which targets.</summary>
    public enum Objective : uint
    {
        /// <summary>One label an input: cross-entropy.</summary>
        Classify = Raw.CLOZE_OBJECTIVE_CLASSIFY,

        /// <summary>Any number of labels: binary cross-entropy.</summary>
        MultiLabel = Raw.CLOZE_OBJECTIVE_MULTI_LABEL,

        /// <summary>Numbers: squared error.</summary>
        Regress = Raw.CLOZE_OBJECTIVE_REGRESS,

        /// <summary>A label for each word or token.</summary>
        Tag = Raw.CLOZE_OBJECTIVE_TAG,

        /// <summary>Where the answer stands.</summary>
        Answer = Raw.CLOZE_OBJECTIVE_ANSWER,

        /// <summary>Words for masks: token labels, or a corpus.</summary>
        MaskedLM = Raw.CLOZE_OBJECTIVE_MASKED_LM,

        /// <summary>Whether the second text follows: label "0" where it does, else "1".</summary>
        NextSentence = Raw.CLOZE_OBJECTIVE_NEXT_SENTENCE,

        /// <summary>Masked words and next sentences together, from a corpus.</summary>
        Pretraining = Raw.CLOZE_OBJECTIVE_PRETRAINING,

        /// <summary>The next word at each place, of causal models.</summary>
        CausalLM = Raw.CLOZE_OBJECTIVE_CAUSAL_LM,
    }

    /// <summary>What trains. The head always does, and except with low-rank pairs the pooler that it stands
    /// on.</summary>
    public enum Trainable : uint
    {
        /// <summary>Everything.</summary>
        All = Raw.CLOZE_TRAINABLE_ALL,

        /// <summary>All layers, not the embeddings.</summary>
        Layers = Raw.CLOZE_TRAINABLE_LAYERS,

        /// <summary>As many of the last layers as <see cref="TrainOptions.Layers"/> says.</summary>
        Top = Raw.CLOZE_TRAINABLE_TOP,

        /// <summary>No layer.</summary>
        Head = Raw.CLOZE_TRAINABLE_HEAD,

        /// <summary>Low-rank pairs beside the layers' weights.</summary>
        Lora = Raw.CLOZE_TRAINABLE_LORA,
    }

    /// <summary>Order of the examples in each epoch.</summary>
    public enum Order : uint
    {
        /// <summary>Shuffled.</summary>
        Shuffled = Raw.CLOZE_ORDER_SHUFFLED,

        /// <summary>As they were added.</summary>
        Given = Raw.CLOZE_ORDER_GIVEN,

        /// <summary>Shuffled, examples of like length in one batch.</summary>
        ByLength = Raw.CLOZE_ORDER_BY_LENGTH,
    }

    /// <summary>How the learning rate changes. All but <see cref="Schedule.Constant"/> rise from 0 over the warm-up
    /// first.</summary>
    public enum Schedule : uint
    {
        /// <summary>Falls to 0 on a line.</summary>
        Linear = Raw.CLOZE_SCHEDULE_LINEAR,

        /// <summary>Falls to 0 on half a wave.</summary>
        Cosine = Raw.CLOZE_SCHEDULE_COSINE,

        /// <summary>That, <see cref="TrainOptions.ScheduleCycles"/> times.</summary>
        CosineWithRestarts = Raw.CLOZE_SCHEDULE_COSINE_WITH_RESTARTS,

        /// <summary>Falls to <see cref="TrainOptions.ScheduleEnd"/> along (the part that remains) to the power of
        /// <see cref="TrainOptions.SchedulePower"/>.</summary>
        Polynomial = Raw.CLOZE_SCHEDULE_POLYNOMIAL,

        /// <summary>Does not change.</summary>
        Constant = Raw.CLOZE_SCHEDULE_CONSTANT,

        /// <summary>Does not change after the warm-up.</summary>
        ConstantWithWarmup = Raw.CLOZE_SCHEDULE_CONSTANT_WITH_WARMUP,

        /// <summary>The square root of warm-up by step.</summary>
        InverseSqrt = Raw.CLOZE_SCHEDULE_INVERSE_SQRT,
    }

    /// <summary>Switches of a training.</summary>
    [Flags]
    public enum Switches : uint
    {
        /// <summary>None.</summary>
        None = 0,

        /// <summary>A new head, also where the model has one that fits.</summary>
        FreshHead = Raw.CLOZE_TRAIN_FRESH_HEAD,

        /// <summary>End a fit with the last parameters, not with the best evaluated.</summary>
        KeepLast = Raw.CLOZE_TRAIN_KEEP_LAST,

        /// <summary>Dropout in frozen layers too; they then run in every epoch.</summary>
        FrozenDropout = Raw.CLOZE_TRAIN_FROZEN_DROPOUT,

        /// <summary>The scale of low-rank pairs is alpha by the square root of the rank, not alpha by the
        /// rank.</summary>
        RankStabilized = Raw.CLOZE_TRAIN_RANK_STABILIZED,

        /// <summary>What frozen layers give is kept in memory alone.</summary>
        NoScratchFile = Raw.CLOZE_TRAIN_NO_SCRATCH_FILE,

        /// <summary>A corpus: mask whole words, not single tokens of them.</summary>
        WholeWords = Raw.CLOZE_TRAIN_WHOLE_WORDS,

        /// <summary>A corpus: the same pairs and masks in every epoch.</summary>
        SameMasks = Raw.CLOZE_TRAIN_SAME_MASKS,

        /// <summary>A corpus: the frequencies of its tokens are the words' first bias.</summary>
        UnigramBias = Raw.CLOZE_TRAIN_UNIGRAM_BIAS,
    }

    /// <summary>What is learned and how. Defaults are HuggingFace's TrainingArguments. Where a property is nullable,
    /// null is the default and 0 means none; of others whose default is not told, 0 is the default.</summary>
    public sealed class TrainOptions
    {
        /// <summary>What is learned.</summary>
        public Objective Objective { get; set; } = Objective.Classify;

        /// <summary>What trains.</summary>
        public Trainable Trainable { get; set; }

        /// <summary>With <see cref="Trainable.Top"/>: how many.</summary>
        public int Layers { get; set; }

        /// <summary>Switches.</summary>
        public Switches Switches { get; set; }

        /// <summary>Longer examples are cut; 0: what the model allows.</summary>
        public int MaxTokens { get; set; }

        /// <summary>Passes over the examples.</summary>
        public int Epochs { get; set; } = 3;

        /// <summary>Order of the examples in each epoch.</summary>
        public Order Order { get; set; }

        /// <summary>Examples in a batch; 0: 8, or any number where <see cref="BatchTokens"/> is given.</summary>
        public int BatchSize { get; set; }

        /// <summary>Most tokens in a batch; 0: no limit.</summary>
        public int BatchTokens { get; set; }

        /// <summary>Batches in a step.</summary>
        public int Accumulation { get; set; } = 1;

        /// <summary>How the learning rate changes.</summary>
        public Schedule Schedule { get; set; }

        /// <summary>Of <see cref="Schedule.CosineWithRestarts"/>.</summary>
        public int ScheduleCycles { get; set; } = 1;

        /// <summary>Of <see cref="Schedule.Polynomial"/>.</summary>
        public float SchedulePower { get; set; } = 1;

        /// <summary>A learning rate, of <see cref="Schedule.Polynomial"/>.</summary>
        public double ScheduleEnd { get; set; } = 1e-7;

        /// <summary>Below 1 a part of all steps, else a number of steps.</summary>
        public double Warmup { get; set; }

        /// <summary>Evaluations without a better result after which training stops; 0: it does not.</summary>
        public int Patience { get; set; }

        /// <summary>What a better result is better by, at least, for <see cref="Patience"/>.</summary>
        public double Threshold { get; set; }

        /// <summary>The last of them and the best stay; 0: all.</summary>
        public int KeepCheckpoints { get; set; }

        /// <summary>Rank of the low-rank pairs.</summary>
        public int LoraRank { get; set; } = 8;

        /// <summary>Scale of the low-rank pairs.</summary>
        public float LoraAlpha { get; set; } = 8;

        /// <summary>Dropout before the low-rank pairs.</summary>
        public float LoraDropout { get; set; }

        /// <summary>Names of modules with low-rank pairs: "query"; "all-linear"; null: "query", "value".</summary>
        public IReadOnlyList<string> LoraTargets { get; set; }

        /// <summary>The largest learning rate.</summary>
        public float LearningRate { get; set; } = 5e-5f;

        /// <summary>Factor of the learning rate from each layer to the one below.</summary>
        public float LayerDecay { get; set; } = 1;

        /// <summary>Of all but biases and layer norms.</summary>
        public float WeightDecay { get; set; }

        /// <summary>Of AdamW; null: 0.9.</summary>
        public float? Beta1 { get; set; }

        /// <summary>Of AdamW; null: 0.999.</summary>
        public float? Beta2 { get; set; }

        /// <summary>Of AdamW.</summary>
        public float Epsilon { get; set; } = 1e-8f;

        /// <summary>Larger gradients are scaled down to it; null: 1; 0: never.</summary>
        public float? MaxGradientNorm { get; set; }

        /// <summary>Probability everywhere; null: as the model says.</summary>
        public float? Dropout { get; set; }

        /// <summary>Share of the target that is spread over all labels.</summary>
        public float LabelSmoothing { get; set; }

        /// <summary>Most steps; 0: as many as the epochs have.</summary>
        public long MaxSteps { get; set; }

        /// <summary>Of new parameters, order and dropout; 0 is 42.</summary>
        public ulong Seed { get; set; } = 42;

        /// <summary>Steps between evaluations on the dev set; 0: after each epoch.</summary>
        public long EvaluateEvery { get; set; }

        /// <summary>Steps between checkpoints; 0: after each epoch.</summary>
        public long CheckpointEvery { get; set; }

        /// <summary>Most bytes beside the weights and the cache; 0: no limit, of a GPU all that is free.</summary>
        public long Memory { get; set; }

        /// <summary>Most bytes of memory for what frozen layers gave; 0: 256 MiB.</summary>
        public long CacheMemory { get; set; }

        /// <summary>Most bytes of a scratch file for the rest of it; 0: 8 GiB.</summary>
        public long CacheFile { get; set; }

        /// <summary>Name of the head; null: the folder's own.</summary>
        public string Head { get; set; }

        /// <summary>The metric that decides what is best; null: the objective's own.</summary>
        public string Metric { get; set; }

        /// <summary>Folder for checkpoints; null: none are written.</summary>
        public string Checkpoints { get; set; }

        /// <summary>Names of the labels, in order; null: those that the examples have.</summary>
        public IReadOnlyList<string> Labels { get; set; }

        /// <summary>One a label; null: all 1.</summary>
        public float[] ClassWeights { get; set; }

        /// <summary>A corpus: share of the tokens that are masked.</summary>
        public double Masked { get; set; } = 0.15;

        /// <summary>A corpus: share of the examples that are shorter; null: 0.1.</summary>
        public double? ShortExamples { get; set; }

        /// <summary>A corpus: share of the pairs that do not follow; null: 0.5.</summary>
        public double? RandomNext { get; set; }

        /// <summary>Most examples of a dev corpus; 0: all.</summary>
        public long DevExamples { get; set; }
    }

    internal sealed unsafe partial class Call
    {
        internal Raw.cloze_train_options Options(TrainOptions options)
        {
            TrainOptions own = options ?? new TrainOptions();
            return new Raw.cloze_train_options
            {
                size = (uint)sizeof(Raw.cloze_train_options),
                objective = (uint)own.Objective,
                trainable = (uint)own.Trainable,
                layers = Native.U32(own.Layers, nameof(own.Layers)),
                switches = (uint)own.Switches,
                max_tokens = Native.U32(own.MaxTokens, nameof(own.MaxTokens)),
                epochs = Native.U32(own.Epochs, nameof(own.Epochs)),
                order = (uint)own.Order,
                batch_size = Native.U32(own.BatchSize, nameof(own.BatchSize)),
                batch_tokens = Native.U32(own.BatchTokens, nameof(own.BatchTokens)),
                accumulation = Native.U32(own.Accumulation, nameof(own.Accumulation)),
                schedule = (uint)own.Schedule,
                schedule_cycles = Native.U32(own.ScheduleCycles, nameof(own.ScheduleCycles)),
                schedule_power = own.SchedulePower,
                patience = Native.U32(own.Patience, nameof(own.Patience)),
                keep_checkpoints = Native.U32(own.KeepCheckpoints, nameof(own.KeepCheckpoints)),
                lora_rank = Native.U32(own.LoraRank, nameof(own.LoraRank)),
                lora_alpha = own.LoraAlpha,
                lora_dropout = own.LoraDropout,
                learning_rate = own.LearningRate,
                layer_decay = own.LayerDecay,
                weight_decay = own.WeightDecay,
                beta1 = (float)Native.OrDefault(own.Beta1),
                beta2 = (float)Native.OrDefault(own.Beta2),
                epsilon = own.Epsilon,
                max_gradient_norm = (float)Native.OrDefault(own.MaxGradientNorm),
                dropout = (float)Native.OrDefault(own.Dropout),
                label_smoothing = own.LabelSmoothing,
                schedule_end = own.ScheduleEnd,
                warmup = own.Warmup,
                threshold = own.Threshold,
                max_steps = Native.U64(own.MaxSteps, nameof(own.MaxSteps)),
                seed = own.Seed,
                evaluate_every = Native.U64(own.EvaluateEvery, nameof(own.EvaluateEvery)),
                checkpoint_every = Native.U64(own.CheckpointEvery, nameof(own.CheckpointEvery)),
                memory = Native.U64(own.Memory, nameof(own.Memory)),
                cache_memory = Native.U64(own.CacheMemory, nameof(own.CacheMemory)),
                cache_file = Native.U64(own.CacheFile, nameof(own.CacheFile)),
                head = String(own.Head, nameof(own.Head)),
                metric = String(own.Metric, nameof(own.Metric)),
                checkpoints = String(own.Checkpoints, nameof(own.Checkpoints)),
                labels = Strings(own.Labels, nameof(own.Labels)),
                label_count = Native.Size(own.Labels?.Count ?? 0),
                class_weights = Copy(own.ClassWeights),
                class_weight_count = Native.Size(own.ClassWeights?.Length ?? 0),
                lora_targets = Strings(own.LoraTargets, nameof(own.LoraTargets)),
                lora_target_count = Native.Size(own.LoraTargets?.Count ?? 0),
                masked = own.Masked,
                short_examples = Native.OrDefault(own.ShortExamples),
                random_next = Native.OrDefault(own.RandomNext),
                dev_examples = Native.U64(own.DevExamples, nameof(own.DevExamples)),
            };
        }
    }
}
