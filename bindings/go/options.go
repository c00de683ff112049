package cloze

/*
#include <cloze.h>
*/
import "C"

import "unsafe"

// Objective is what is learned, and from which targets.
type Objective uint32

// The objectives.
const (
	ObjectiveClassify     Objective = C.CLOZE_OBJECTIVE_CLASSIFY      // one label an input: cross-entropy
	ObjectiveMultiLabel   Objective = C.CLOZE_OBJECTIVE_MULTI_LABEL   // any number of labels: binary cross-entropy
	ObjectiveRegress      Objective = C.CLOZE_OBJECTIVE_REGRESS       // numbers: squared error
	ObjectiveTag          Objective = C.CLOZE_OBJECTIVE_TAG           // a label for each word or token
	ObjectiveAnswer       Objective = C.CLOZE_OBJECTIVE_ANSWER        // where the answer stands
	ObjectiveMaskedLM     Objective = C.CLOZE_OBJECTIVE_MASKED_LM     // words for masks: token labels, or a corpus
	ObjectiveNextSentence Objective = C.CLOZE_OBJECTIVE_NEXT_SENTENCE // whether the second text follows, label "0" where it does, else "1"
	ObjectivePretraining  Objective = C.CLOZE_OBJECTIVE_PRETRAINING   // masked words and next sentences together, from a corpus
	ObjectiveCausalLM     Objective = C.CLOZE_OBJECTIVE_CAUSAL_LM     // the next word at each place, of causal models
)

// Trainable is what trains. The head always does, and except with low-rank pairs the pooler that it stands on.
type Trainable uint32

// What can train.
const (
	TrainableAll    Trainable = C.CLOZE_TRAINABLE_ALL
	TrainableLayers Trainable = C.CLOZE_TRAINABLE_LAYERS // all layers, not the embeddings
	TrainableTop    Trainable = C.CLOZE_TRAINABLE_TOP    // as many of the last layers as TrainOptions.Layers says
	TrainableHead   Trainable = C.CLOZE_TRAINABLE_HEAD   // no layer
	TrainableLoRA   Trainable = C.CLOZE_TRAINABLE_LORA   // low-rank pairs beside the layers' weights
)

// Order is the order of the examples in each epoch.
type Order uint32

// The orders.
const (
	OrderShuffled Order = C.CLOZE_ORDER_SHUFFLED
	OrderGiven    Order = C.CLOZE_ORDER_GIVEN
	OrderByLength Order = C.CLOZE_ORDER_BY_LENGTH // shuffled, examples of like length in one batch
)

// Schedule is how the learning rate changes. All but ScheduleConstant rise from 0 over the warm-up first.
type Schedule uint32

// The schedules.
const (
	ScheduleLinear             Schedule = C.CLOZE_SCHEDULE_LINEAR               // falls to 0 on a line
	ScheduleCosine             Schedule = C.CLOZE_SCHEDULE_COSINE               // falls to 0 on half a wave
	ScheduleCosineWithRestarts Schedule = C.CLOZE_SCHEDULE_COSINE_WITH_RESTARTS // that, ScheduleCycles times
	SchedulePolynomial         Schedule = C.CLOZE_SCHEDULE_POLYNOMIAL           // falls to ScheduleEnd along (the part that remains)^SchedulePower
	ScheduleConstant           Schedule = C.CLOZE_SCHEDULE_CONSTANT
	ScheduleConstantWithWarmup Schedule = C.CLOZE_SCHEDULE_CONSTANT_WITH_WARMUP
	ScheduleInverseSqrt        Schedule = C.CLOZE_SCHEDULE_INVERSE_SQRT // sqrt(warm-up / step)
)

// Switches are switches of a training, as bits.
type Switches uint32

// The switches.
const (
	TrainFreshHead      Switches = C.CLOZE_TRAIN_FRESH_HEAD      // a new head, also where the model has one that fits
	TrainKeepLast       Switches = C.CLOZE_TRAIN_KEEP_LAST       // end a fit with the last parameters, not with the best evaluated
	TrainFrozenDropout  Switches = C.CLOZE_TRAIN_FROZEN_DROPOUT  // dropout in frozen layers too; they then run in every epoch
	TrainRankStabilized Switches = C.CLOZE_TRAIN_RANK_STABILIZED // LoRA's scale is alpha / sqrt(rank), not alpha / rank
	TrainNoScratchFile  Switches = C.CLOZE_TRAIN_NO_SCRATCH_FILE // what frozen layers give is kept in memory alone
	TrainWholeWords     Switches = C.CLOZE_TRAIN_WHOLE_WORDS     // a corpus: mask whole words, not single tokens of them
	TrainSameMasks      Switches = C.CLOZE_TRAIN_SAME_MASKS      // a corpus: the same pairs and masks in every epoch
	TrainUnigramBias    Switches = C.CLOZE_TRAIN_UNIGRAM_BIAS    // a corpus: frequencies of its tokens are the words' first bias
)

// TrainOptions are the options of [NewTrainer]. Defaults are HuggingFace's TrainingArguments.
type TrainOptions struct {
	Objective       Objective // 0: ObjectiveClassify
	Trainable       Trainable
	Layers          int // with TrainableTop: how many
	Switches        Switches
	MaxTokens       int // longer examples are cut; 0: what the model allows
	Epochs          int // 0: 3
	Order           Order
	BatchSize       int // examples in a batch; 0: 8, or any number where BatchTokens is given
	BatchTokens     int // most tokens in a batch; 0: no limit
	Accumulation    int // batches in a step; 0: 1
	Schedule        Schedule
	ScheduleCycles  int     // 0: 1
	SchedulePower   float32 // 0: 1
	Patience        int     // evaluations without a better result after which training stops; 0: it does not
	KeepCheckpoints int     // the last of them and the best stay; 0: all
	LoRARank        int     // 0: 8
	LoRAAlpha       float32 // 0: 8
	LoRADropout     float32
	LearningRate    float32 // the largest; 0: 5e-5
	LayerDecay      float32 // factor of the learning rate from each layer to the one below; 0: 1
	WeightDecay     float32 // of all but biases and layer norms
	Beta1           float32 // of AdamW; 0: 0.9; below 0: 0
	Beta2           float32 // 0: 0.999; below 0: 0
	Epsilon         float32 // 0: 1e-8
	MaxGradientNorm float32 // larger gradients are scaled down to it; 0: 1; below 0: never
	Dropout         float32 // probability everywhere; 0: as the model says; below 0: none
	LabelSmoothing  float32
	ScheduleEnd     float64   // a learning rate; 0: 1e-7
	Warmup          float64   // below 1 a part of all steps, else a number of steps
	Threshold       float64   // what a better result is better by, at least, for Patience
	MaxSteps        uint64    // 0: as many as the epochs have
	Seed            uint64    // of new parameters, order and dropout; 0: 42
	EvaluateEvery   uint64    // steps between evaluations on the dev set; 0: after each epoch
	CheckpointEvery uint64    // steps between checkpoints; 0: after each epoch
	Memory          uint64    // most bytes of memory beside the mapped weights and the cache; 0: no limit
	CacheMemory     uint64    // most bytes of memory for what frozen layers gave; 0: 256 MiB
	CacheFile       uint64    // most bytes of a scratch file for the rest of it; 0: 8 GiB
	Head            string    // name of the head; "": the folder's own
	Metric          string    // the one that decides what is best; "": the objective's own
	Checkpoints     string    // folder for them; "": none are written
	Labels          []string  // their names, in order; nil: those that the examples have
	ClassWeights    []float32 // one a label; nil: all 1
	LoRATargets     []string  // names of modules: "query"; "all-linear"; nil: "query", "value"
	Masked          float64   // a corpus: share of the tokens that are masked; 0: 0.15
	ShortExamples   float64   // a corpus: share of the examples that are shorter; 0: 0.1; below 0: 0
	RandomNext      float64   // a corpus: share of the pairs that do not follow; 0: 0.5; below 0: 0
	DevExamples     uint64    // most examples of a dev corpus; 0: all
}

func (c *call) trainOptions(options *TrainOptions) *C.cloze_train_options {
	own := defaults(options)
	o := one[C.cloze_train_options](c)
	o.size = C.uint32_t(unsafe.Sizeof(*o))
	o.objective = C.uint32_t(own.Objective)
	o.trainable = C.uint32_t(own.Trainable)
	o.layers = c.u32("Layers", own.Layers)
	o.switches = C.uint32_t(own.Switches)
	o.max_tokens = c.u32("MaxTokens", own.MaxTokens)
	o.epochs = c.u32("Epochs", own.Epochs)
	o.order = C.uint32_t(own.Order)
	o.batch_size = c.u32("BatchSize", own.BatchSize)
	o.batch_tokens = c.u32("BatchTokens", own.BatchTokens)
	o.accumulation = c.u32("Accumulation", own.Accumulation)
	o.schedule = C.uint32_t(own.Schedule)
	o.schedule_cycles = c.u32("ScheduleCycles", own.ScheduleCycles)
	o.schedule_power = C.float(own.SchedulePower)
	o.patience = c.u32("Patience", own.Patience)
	o.keep_checkpoints = c.u32("KeepCheckpoints", own.KeepCheckpoints)
	o.lora_rank = c.u32("LoRARank", own.LoRARank)
	o.lora_alpha = C.float(own.LoRAAlpha)
	o.lora_dropout = C.float(own.LoRADropout)
	o.learning_rate = C.float(own.LearningRate)
	o.layer_decay = C.float(own.LayerDecay)
	o.weight_decay = C.float(own.WeightDecay)
	o.beta1 = C.float(own.Beta1)
	o.beta2 = C.float(own.Beta2)
	o.epsilon = C.float(own.Epsilon)
	o.max_gradient_norm = C.float(own.MaxGradientNorm)
	o.dropout = C.float(own.Dropout)
	o.label_smoothing = C.float(own.LabelSmoothing)
	o.schedule_end = C.double(own.ScheduleEnd)
	o.warmup = C.double(own.Warmup)
	o.threshold = C.double(own.Threshold)
	o.max_steps = C.uint64_t(own.MaxSteps)
	o.seed = C.uint64_t(own.Seed)
	o.evaluate_every = C.uint64_t(own.EvaluateEvery)
	o.checkpoint_every = C.uint64_t(own.CheckpointEvery)
	o.memory = C.uint64_t(own.Memory)
	o.cache_memory = C.uint64_t(own.CacheMemory)
	o.cache_file = C.uint64_t(own.CacheFile)
	o.head = c.optional("Head", own.Head)
	o.metric = c.optional("Metric", own.Metric)
	o.checkpoints = c.optional("Checkpoints", own.Checkpoints)
	o.labels = c.strs("Labels", own.Labels)
	o.label_count = C.size_t(len(own.Labels))
	o.class_weights = copied[float32, C.float](c, own.ClassWeights)
	o.class_weight_count = C.size_t(len(own.ClassWeights))
	o.lora_targets = c.strs("LoRATargets", own.LoRATargets)
	o.lora_target_count = C.size_t(len(own.LoRATargets))
	o.masked = C.double(own.Masked)
	o.short_examples = C.double(own.ShortExamples)
	o.random_next = C.double(own.RandomNext)
	o.dev_examples = C.uint64_t(own.DevExamples)
	return o
}
