/* Sections 14 to 18 of cloze.h: models that learn. */
#ifndef CLOZE_TRAIN_HPP
#define CLOZE_TRAIN_HPP

#include "data.hpp"
#include "model.hpp"

namespace cloze {

/// What trains. The head always does.
enum class Trainable : std::uint32_t {
    all = CLOZE_TRAINABLE_ALL,
    layers = CLOZE_TRAINABLE_LAYERS, ///< not the embeddings
    top = CLOZE_TRAINABLE_TOP,       ///< TrainOptions::layers of the last layers
    head = CLOZE_TRAINABLE_HEAD,     ///< no layer
    lora = CLOZE_TRAINABLE_LORA,     ///< low-rank pairs beside the layers' weights
};

/// Order of the examples in each epoch.
enum class Order : std::uint32_t {
    shuffled = CLOZE_ORDER_SHUFFLED,
    given = CLOZE_ORDER_GIVEN,
    by_length = CLOZE_ORDER_BY_LENGTH, ///< shuffled, examples of like length in one batch
};

/// How the learning rate changes.
enum class Schedule : std::uint32_t {
    linear = CLOZE_SCHEDULE_LINEAR,
    cosine = CLOZE_SCHEDULE_COSINE,
    cosine_with_restarts = CLOZE_SCHEDULE_COSINE_WITH_RESTARTS,
    polynomial = CLOZE_SCHEDULE_POLYNOMIAL,
    constant = CLOZE_SCHEDULE_CONSTANT,
    constant_with_warmup = CLOZE_SCHEDULE_CONSTANT_WITH_WARMUP,
    inverse_sqrt = CLOZE_SCHEDULE_INVERSE_SQRT,
};

/// How a model learns: fields and defaults of cloze_train_options, where each is told.
struct TrainOptions {
    Objective objective = Objective::automatic;
    Trainable trainable = Trainable::all;
    std::uint32_t layers = 0;     ///< with Trainable::top: how many
    bool fresh_head = false;      ///< a new head, also where the model has one that fits
    bool keep_last = false;       ///< end a fit with the last parameters, not with the best evaluated
    bool frozen_dropout = false;  ///< dropout in frozen layers too
    bool rank_stabilized = false; ///< LoRA's scale is alpha / sqrt(rank), not alpha / rank
    bool no_scratch_file = false; ///< what frozen layers give is kept in memory alone
    bool whole_words = false;     ///< a corpus: mask whole words
    bool same_masks = false;      ///< a corpus: the same pairs and masks in every epoch
    bool unigram_bias = false;    ///< a corpus: words begin with a bias of their frequency
    std::uint32_t max_tokens = 0; ///< longer examples are cut
    std::uint32_t epochs = 0;     ///< 0: 3
    Order order = Order::shuffled;
    std::uint32_t batch_size = 0;   ///< 0: 8, or any number where batch_tokens is given
    std::uint32_t batch_tokens = 0; ///< most tokens in a batch
    std::uint32_t accumulation = 0; ///< batches in a step; 0: 1
    Schedule schedule = Schedule::linear;
    std::uint32_t schedule_cycles = 0;
    float schedule_power = 0;
    std::uint32_t patience = 0;         ///< evaluations without a better result after which training stops
    std::uint32_t keep_checkpoints = 0; ///< the last of them and the best stay; 0: all
    std::uint32_t lora_rank = 0;        ///< 0: 8
    float lora_alpha = 0;               ///< 0: 8
    float lora_dropout = 0;
    float learning_rate = 0; ///< the largest; 0: 5e-5
    float layer_decay = 0;   ///< 0: 1
    float weight_decay = 0;
    float beta1 = 0;             ///< 0: 0.9; below 0: 0
    float beta2 = 0;             ///< 0: 0.999; below 0: 0
    float epsilon = 0;           ///< 0: 1e-8
    float max_gradient_norm = 0; ///< 0: 1; below 0: never scaled down
    float dropout = 0;           ///< 0: as the model says; below 0: none
    float label_smoothing = 0;
    double schedule_end = 0;
    double warmup = 0;                          ///< below 1 a part of all steps, else a number of steps
    double threshold = 0;                       ///< what a better result is better by, for patience
    std::uint64_t max_steps = 0;                ///< 0: as many as the epochs have
    std::uint64_t seed = 0;                     ///< 0: 42
    std::uint64_t evaluate_every = 0;           ///< steps; 0: after each epoch
    std::uint64_t checkpoint_every = 0;         ///< steps; 0: after each epoch
    std::uint64_t memory = 0;                   ///< most bytes beside the mapped weights and the cache; 0: no limit
    std::uint64_t cache_memory = 0;             ///< 0: 256 MiB
    std::uint64_t cache_file = 0;               ///< 0: 8 GiB
    std::string head = {};                      ///< name of the head; empty: the folder's own
    std::string metric = {};                    ///< the one that decides what is best; empty: the objective's own
    std::string checkpoints = {};               ///< folder for them; empty: none are written
    std::vector<std::string> labels = {};       ///< in order; empty: those that the examples have
    std::vector<float> class_weights = {};      ///< one a label; empty: all 1
    std::vector<std::string> lora_targets = {}; ///< names of modules; empty: "query", "value"
    double masked = 0;                          ///< a corpus: share of the tokens that are masked; 0: 0.15
    double short_examples = 0;                  ///< a corpus: share of shorter examples; 0: 0.1; below 0: 0
    double random_next = 0;                     ///< a corpus: share of pairs that do not follow; 0: 0.5; below 0: 0
    std::uint64_t dev_examples = 0;             ///< most examples of a dev corpus; 0: all
};

/// What a trainer is and where it stands.
using TrainerState = cloze_trainer_state;
/// What a fit came to.
using FitResult = cloze_fit_result;

/// What has just happened in a fit. What it views lives until the observer returns.
using TrainEvent = cloze_train_event;
/// TrainEvent::kind.
enum class EventKind : std::uint32_t {
    step = CLOZE_EVENT_STEP,
    evaluation = CLOZE_EVENT_EVALUATION,
    checkpoint = CLOZE_EVENT_CHECKPOINT,
};
/// What kind of event it is.
inline EventKind kind(const TrainEvent &event) noexcept { return static_cast<EventKind>(event.kind); }
/// Metrics of an evaluation.
inline Metrics metrics(const TrainEvent &event) { return detail::metrics({event.metrics, event.metric_count}); }

/// Told as a fit goes on; false stops it.
using Observer = std::function<bool(const TrainEvent &)>;

/// How a fit is watched.
struct FitOptions {
    const Cancel *cancel = nullptr;
    Observer observe = nullptr;
};

/// How a head is found in closed form.
enum class Solving : std::uint32_t { ridge = CLOZE_SOLVE_RIDGE, discriminant = CLOZE_SOLVE_DISCRIMINANT };

/// Options of Trainer::solve.
struct SolveOptions {
    Solving method = Solving::ridge;
    double strength = 0; ///< 0: chosen from the examples
    const Cancel *cancel = nullptr;
    Progress progress = nullptr;
};

namespace detail {

/// TrainOptions as C takes them: views what it was made from.
class RawTrainOptions {
public:
    explicit RawTrainOptions(const TrainOptions &o)
        : labels_(pointers(o.labels)), lora_targets_(pointers(o.lora_targets)) {
        c.objective = static_cast<std::uint32_t>(o.objective);
        c.trainable = static_cast<std::uint32_t>(o.trainable);
        c.layers = o.layers;
        c.switches = (o.fresh_head ? CLOZE_TRAIN_FRESH_HEAD : 0u) | (o.keep_last ? CLOZE_TRAIN_KEEP_LAST : 0u) |
                     (o.frozen_dropout ? CLOZE_TRAIN_FROZEN_DROPOUT : 0u) |
                     (o.rank_stabilized ? CLOZE_TRAIN_RANK_STABILIZED : 0u) |
                     (o.no_scratch_file ? CLOZE_TRAIN_NO_SCRATCH_FILE : 0u) |
                     (o.whole_words ? CLOZE_TRAIN_WHOLE_WORDS : 0u) | (o.same_masks ? CLOZE_TRAIN_SAME_MASKS : 0u) |
                     (o.unigram_bias ? CLOZE_TRAIN_UNIGRAM_BIAS : 0u);
        c.max_tokens = o.max_tokens;
        c.epochs = o.epochs;
        c.order = static_cast<std::uint32_t>(o.order);
        c.batch_size = o.batch_size;
        c.batch_tokens = o.batch_tokens;
        c.accumulation = o.accumulation;
        c.schedule = static_cast<std::uint32_t>(o.schedule);
        c.schedule_cycles = o.schedule_cycles;
        c.schedule_power = o.schedule_power;
        c.patience = o.patience;
        c.keep_checkpoints = o.keep_checkpoints;
        c.lora_rank = o.lora_rank;
        c.lora_alpha = o.lora_alpha;
        c.lora_dropout = o.lora_dropout;
        c.learning_rate = o.learning_rate;
        c.layer_decay = o.layer_decay;
        c.weight_decay = o.weight_decay;
        c.beta1 = o.beta1;
        c.beta2 = o.beta2;
        c.epsilon = o.epsilon;
        c.max_gradient_norm = o.max_gradient_norm;
        c.dropout = o.dropout;
        c.label_smoothing = o.label_smoothing;
        c.schedule_end = o.schedule_end;
        c.warmup = o.warmup;
        c.threshold = o.threshold;
        c.max_steps = o.max_steps;
        c.seed = o.seed;
        c.evaluate_every = o.evaluate_every;
        c.checkpoint_every = o.checkpoint_every;
        c.memory = o.memory;
        c.cache_memory = o.cache_memory;
        c.cache_file = o.cache_file;
        c.head = or_null(o.head);
        c.metric = or_null(o.metric);
        c.checkpoints = or_null(o.checkpoints);
        c.labels = labels_.empty() ? nullptr : labels_.data();
        c.label_count = labels_.size();
        c.class_weights = o.class_weights.empty() ? nullptr : o.class_weights.data();
        c.class_weight_count = o.class_weights.size();
        c.lora_targets = lora_targets_.empty() ? nullptr : lora_targets_.data();
        c.lora_target_count = lora_targets_.size();
        c.masked = o.masked;
        c.short_examples = o.short_examples;
        c.random_next = o.random_next;
        c.dev_examples = o.dev_examples;
    }
    const cloze_train_options *get() const noexcept { return &c; }

private:
    std::vector<const char *> labels_, lora_targets_;
    cloze_train_options c = CLOZE_TRAIN_OPTIONS_INIT;
};

/// The metrics that fetch(cloze_metric *, capacity, count *, cloze_error *) gives.
template <class Fetch> Metrics evaluation(Call &call, Fetch &&fetch) {
    return metrics(collect<cloze_metric>(call, CLOZE_MAX_METRICS, fetch));
}

} // namespace detail

/// A model that learns. It works for one call at a time: another throws Status::busy.
class Trainer {
public:
    /// A trainer of `model`, with the labels of the options or else of its head.
    explicit Trainer(const Model &model, const TrainOptions &options = {}) : Trainer(model, options, nullptr) {}
    /// The same, whose labels may also be those of examples.
    Trainer(const Model &model, const TrainOptions &options, const Dataset &labels_from)
        : Trainer(model, options, labels_from.get()) {}

    Trainer(Trainer &&) noexcept = default;
    Trainer &operator=(Trainer &&other) noexcept {
        handle_ = std::move(other.handle_); // before the files that it may read
        keep_ = std::move(other.keep_);
        return *this;
    }

    /// What it is and where it stands.
    TrainerState info() const {
        TrainerState state = CLOZE_TRAINER_STATE_INIT;
        detail::Call call;
        call(cloze_trainer_info(get(), &state, call));
        return state;
    }
    /// One line of JSON: labels, tensors that train, history.
    std::string report() const {
        return detail::text([&](auto... out) { return cloze_trainer_report(get(), out...); });
    }
    /// Names of its labels, in order.
    std::vector<std::string> labels() const {
        std::vector<std::string> names;
        for (std::uint32_t i = 0, count = info().labels; i < count; i++)
            names.push_back(detail::text([&](auto... out) { return cloze_trainer_label(get(), i, out...); }));
        return names;
    }

    /// Trains to the end of the options' epochs or steps, from where the trainer stands.
    FitResult fit(const Dataset &train, const FitOptions &options = {}) {
        return run(&cloze_trainer_fit, train.get(), static_cast<const cloze_dataset *>(nullptr), options);
    }
    /// The same, evaluated on `dev`.
    FitResult fit(const Dataset &train, const Dataset &dev, const FitOptions &options = {}) {
        return run(&cloze_trainer_fit, train.get(), dev.get(), options);
    }
    /// The same with examples made of text.
    FitResult pretrain(const Corpus &train, const FitOptions &options = {}) {
        return run(&cloze_trainer_pretrain, train.get(), static_cast<const cloze_corpus *>(nullptr), options);
    }
    /// The same, evaluated on `dev`.
    FitResult pretrain(const Corpus &train, const Corpus &dev, const FitOptions &options = {}) {
        return run(&cloze_trainer_pretrain, train.get(), dev.get(), options);
    }
    /// Writes a checkpoint of this moment as `folder`, in one step: not between accumulate and apply.
    void checkpoint(const std::string &folder) {
        detail::Call call;
        call(cloze_trainer_checkpoint(get(), folder.c_str(), call));
    }
    /// Takes over a checkpoint, or the newest of a folder of them.
    void resume(const std::string &folder) {
        detail::Call call;
        call(cloze_trainer_resume(get(), folder.c_str(), call));
    }
    /// Metrics of the parameters as they are. Of the options, plain, too_long and max_tokens stay as they are.
    Metrics evaluate(const Dataset &data, const CallOptions &options = {}) const {
        detail::Call call(options.progress);
        const cloze_call_options c = detail::raw(options, call);
        return detail::evaluation(call,
                                  [&](auto... out) { return cloze_trainer_evaluate(get(), data.get(), &c, out...); });
    }
    /// Gives the head the weights that are best for the examples in closed form, and tells the strength used.
    double solve(const Dataset &data, const SolveOptions &options = {}) {
        detail::Call call(options.progress);
        cloze_solve_options c = CLOZE_SOLVE_OPTIONS_INIT;
        c.method = static_cast<std::uint32_t>(options.method);
        c.strength = options.strength;
        call.watch(c, options.cancel);
        double strength = 0;
        call(cloze_trainer_solve(get(), data.get(), &c, &strength, call));
        return strength;
    }

    /// One batch forward and back: adds its gradients and tells its mean loss.
    double accumulate(const Dataset &batch, const Cancel *cancel = nullptr) {
        double loss = 0;
        detail::Call call;
        call(cloze_trainer_accumulate(get(), batch.get(), cancel ? cancel->get() : nullptr, &loss, call));
        return loss;
    }
    /// An optimizer step with the mean of the accumulated batches; tells the norm of the gradients. A learning rate
    /// below 0 is that of the options.
    double apply(float learning_rate = -1) {
        double norm = 0;
        detail::Call call;
        call(cloze_trainer_apply(get(), learning_rate, &norm, call));
        return norm;
    }
    /// Copies of the parameters that train, in the order of the report's tensors.
    std::vector<float> parameters() const { return numbers(&cloze_trainer_parameters); }
    void set_parameters(Span<const float> parameters) {
        detail::Call call;
        call(cloze_trainer_set_parameters(get(), parameters.data(), parameters.size(), call));
    }
    /// Copies of what was accumulated since the last step: gradients of the sum of the losses.
    std::vector<float> gradients() const { return numbers(&cloze_trainer_gradients); }
    /// The gradients where they lie, in the memory of the model's device, a buffer a tensor: to be averaged over
    /// machines in place. Valid until the next call on the trainer.
    std::vector<cloze_buffer> gradient_buffers() {
        detail::Call call;
        return detail::collect<cloze_buffer>(
            call, 0, [&](auto... out) { return cloze_trainer_gradient_buffers(get(), out...); });
    }
    /// What the next apply takes instead, as the gradients of one batch.
    void set_gradients(Span<const float> gradients) {
        detail::Call call;
        call(cloze_trainer_set_gradients(get(), gradients.data(), gradients.size(), call));
    }

    /// The parameters as they are, as a model of its own.
    Model snapshot() const {
        return Model(keep_, [&](auto... out) { return cloze_trainer_snapshot(get(), out...); });
    }
    /// Writes a HuggingFace folder.
    void save(const std::string &folder) const {
        detail::Call call;
        call(cloze_trainer_save(get(), folder.c_str(), call));
    }
    /// Writes a PEFT folder: the low-rank pairs and the head.
    void save_adapter(const std::string &folder) const {
        detail::Call call;
        call(cloze_trainer_save_adapter(get(), folder.c_str(), call));
    }

    /// For calls of C.
    cloze_trainer *get() const noexcept { return handle_.get(); }

private:
    using Handle = detail::Handle<cloze_trainer, cloze_trainer_free>;

    Trainer(const Model &model, const TrainOptions &options, const cloze_dataset *labels_from)
        : keep_(model.keep_), handle_(detail::make<Handle>([&](auto... out) {
              return cloze_trainer_new(model.get(), detail::RawTrainOptions(options).get(), labels_from, out...);
          })) {}

    template <class Function, class Data>
    FitResult run(Function function, const Data *train, const Data *dev, const FitOptions &options) {
        struct Fit : detail::Call {
            explicit Fit(const Observer &o) : observe(o) {}
            static int told(void *user, const cloze_train_event *event) noexcept {
                auto &fit = *static_cast<Fit *>(user);
                return fit.run([&] { return fit.observe(*event); });
            }
            const Observer &observe;
        };
        Fit fit(options.observe);
        cloze_fit_options c = CLOZE_FIT_OPTIONS_INIT;
        c.cancel = options.cancel ? options.cancel->get() : nullptr;
        c.observe = options.observe ? &Fit::told : nullptr;
        c.user = &fit;
        FitResult result = CLOZE_FIT_RESULT_INIT;
        fit(function(get(), train, dev, &c, &result, fit));
        return result;
    }

    template <class Function> std::vector<float> numbers(Function function) const {
        detail::Call call;
        const auto count = static_cast<std::size_t>(info().parameters);
        return detail::collect<float>(call, count, [&](auto... out) { return function(get(), out...); });
    }

    detail::Keep keep_;
    Handle handle_;
};

inline Metrics Model::evaluate(const Dataset &data, Objective objective, const CallOptions &options) const {
    detail::Call call(options.progress);
    const cloze_call_options c = detail::raw(options, call);
    return detail::evaluation(call, [&](auto... out) {
        return cloze_model_evaluate(get(), static_cast<std::uint32_t>(objective), data.get(), &c, out...);
    });
}

inline Metrics Model::evaluate(const Corpus &corpus, const TrainOptions &recipe, const CallOptions &options) const {
    detail::Call call(options.progress);
    const cloze_call_options c = detail::raw(options, call);
    const detail::RawTrainOptions raw_recipe(recipe);
    return detail::evaluation(
        call, [&](auto... out) { return cloze_evaluate_corpus(get(), corpus.get(), raw_recipe.get(), &c, out...); });
}

} // namespace cloze

#endif /* CLOZE_TRAIN_HPP */
