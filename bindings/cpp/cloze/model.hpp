/* Sections 5 to 12, 16, 17 and 19 of cloze.h: models, what they answer, and how they are kept. */
#ifndef CLOZE_MODEL_HPP
#define CLOZE_MODEL_HPP

#include "device.hpp"

#include <map>
#include <optional>

namespace cloze {

class Dataset;
class Corpus;
struct TrainOptions;

/// Name and value of what an evaluation gives: metrics.at("accuracy").
using Metrics = std::map<std::string, double>;

/// What a model can do: bits of Info::tasks.
enum class Task : std::uint32_t {
    fill = CLOZE_TASK_FILL,
    score = CLOZE_TASK_SCORE,
    next_sentence = CLOZE_TASK_NEXT_SENTENCE,
    embed = CLOZE_TASK_EMBED,
    hidden_states = CLOZE_TASK_HIDDEN_STATES,
    classify = CLOZE_TASK_CLASSIFY,
    tag = CLOZE_TASK_TAG,
    generate = CLOZE_TASK_GENERATE,
};

/// What a classifier was trained for: Info::problem.
enum class Problem : std::uint32_t {
    unknown = CLOZE_PROBLEM_UNKNOWN,
    regression = CLOZE_PROBLEM_REGRESSION,
    single_label = CLOZE_PROBLEM_SINGLE_LABEL,
    multi_label = CLOZE_PROBLEM_MULTI_LABEL,
};

/// What happens to text that is too long.
enum class TooLong : std::uint32_t {
    automatic = 0, ///< cut by embed and classify, an error elsewhere
    truncate = CLOZE_TEXT_TRUNCATE,
    refuse = CLOZE_TEXT_REFUSE,
};

/// What offsets count.
enum class Offsets : std::uint32_t {
    bytes = CLOZE_OFFSETS_BYTES,
    code_points = CLOZE_OFFSETS_CODE_POINTS,
    utf16 = CLOZE_OFFSETS_UTF16,
};

/// How a text is scored.
enum class Scoring : std::uint32_t {
    pll = CLOZE_SCORE_PLL,                   ///< each token is masked in turn
    pll_word_l2r = CLOZE_SCORE_PLL_WORD_L2R, ///< with it, the later pieces of its word
    causal = CLOZE_SCORE_CAUSAL,             ///< the chain rule, of causal models
};

/// How the tokens' vectors become one.
enum class Pooling : std::uint32_t {
    automatic = CLOZE_POOLING_AUTO, ///< as the folder says, else the mean
    cls = CLOZE_POOLING_CLS,
    mean = CLOZE_POOLING_MEAN,
    max = CLOZE_POOLING_MAX,
};

/// How tokens become entities.
enum class Aggregation : std::uint32_t {
    simple = CLOZE_AGGREGATION_SIMPLE,   ///< neighbouring tokens of one tag
    none = CLOZE_AGGREGATION_NONE,       ///< every token is an entity
    first = CLOZE_AGGREGATION_FIRST,     ///< words take the label of their first token
    average = CLOZE_AGGREGATION_AVERAGE, ///< words take the label of the highest mean probability
    max = CLOZE_AGGREGATION_MAX,         ///< words take the label of their surest token
};

/// What weights are stored in.
enum class Dtype : std::uint32_t {
    f32 = CLOZE_DTYPE_F32,
    f16 = CLOZE_DTYPE_F16,
    bf16 = CLOZE_DTYPE_BF16,
    int8 = CLOZE_DTYPE_INT8, ///< the encoder's linear layers, with a scale for every output; all else as it is
};

/// What is learned, and from which targets.
enum class Objective : std::uint32_t {
    automatic = 0, ///< classify; of Model::evaluate, what the head was trained for
    classify = CLOZE_OBJECTIVE_CLASSIFY,
    multi_label = CLOZE_OBJECTIVE_MULTI_LABEL,
    regress = CLOZE_OBJECTIVE_REGRESS,
    tag = CLOZE_OBJECTIVE_TAG,
    answer = CLOZE_OBJECTIVE_ANSWER,
    masked_lm = CLOZE_OBJECTIVE_MASKED_LM,
    next_sentence = CLOZE_OBJECTIVE_NEXT_SENTENCE,
    pretraining = CLOZE_OBJECTIVE_PRETRAINING,
    causal_lm = CLOZE_OBJECTIVE_CAUSAL_LM,
};

/// How a model is opened.
struct OpenOptions {
    std::uint32_t threads = 0;                  ///< 0: one per processor
    std::string device = {};                    ///< "cpu", "cuda", "cuda:1" or "auto"; empty: "cpu"
    Precision precision = Precision::automatic;
    Memory memory = Memory::fast;
};

/// How a model of random weights is made.
struct CreateOptions {
    std::uint32_t threads = 0;                  ///< 0: one per processor
    Objective objective = Objective::automatic; ///< which heads: masked_lm or, automatic, pretraining
    std::uint64_t seed = 0;                     ///< 0: 42
    std::string device = {};                    ///< as of OpenOptions, as the rest
    Precision precision = Precision::automatic;
    Memory memory = Memory::fast;
};

/// Options of the calls that need no others.
struct CallOptions {
    bool plain = false; ///< "[MASK]" and its like are plain text: for text that others wrote
    TooLong too_long = TooLong::automatic;
    std::uint32_t max_tokens = 0; ///< longest text in tokens; 0: what the model allows
    const Cancel *cancel = nullptr;
    Progress progress = nullptr;
};

/// How text is split into tokens.
struct TokenizeOptions {
    bool plain = false; ///< "[MASK]" and its like are plain text
    TooLong too_long = TooLong::automatic;
    std::uint32_t max_tokens = 0; ///< 0: what the model allows
    Offsets offsets = Offsets::bytes;
};

/// How blanks are filled.
struct FillOptions {
    bool plain = false; ///< "[MASK]" and its like are plain text
    TooLong too_long = TooLong::automatic;
    std::uint32_t max_tokens = 0; ///< 0: what the model allows
    std::uint32_t top_k = 0;      ///< candidates for each mask; 0: 5
    const Cancel *cancel = nullptr;
    Progress progress = nullptr;
    std::optional<std::vector<std::int32_t>> targets = std::nullopt; ///< only these ids; none given: all words
    std::optional<std::int32_t> mask = std::nullopt; ///< id of the mask token; none given: the tokenizer's
};

/// How texts are scored.
struct ScoreOptions {
    bool plain = false; ///< "[MASK]" and its like are plain text
    TooLong too_long = TooLong::automatic;
    std::uint32_t max_tokens = 0; ///< 0: what the model allows
    Scoring method = Scoring::pll;
    const Cancel *cancel = nullptr;
    Progress progress = nullptr;
    std::optional<std::int32_t> mask = std::nullopt; ///< id of the mask token; none given: the tokenizer's
};

/// How texts are embedded.
struct EmbedOptions {
    bool plain = false; ///< "[MASK]" and its like are plain text
    TooLong too_long = TooLong::automatic;
    std::uint32_t max_tokens = 0; ///< 0: what the model allows
    Pooling pooling = Pooling::automatic;
    const Cancel *cancel = nullptr;
    Progress progress = nullptr;
    std::optional<std::string> prompt = std::nullopt; ///< name of a prompt of the folder; none given: its default
    bool normalize = false;                           ///< unit length, also where the folder does not ask for it
};

/// How entities are found.
struct TagOptions {
    bool plain = false; ///< "[MASK]" and its like are plain text
    TooLong too_long = TooLong::automatic;
    std::uint32_t max_tokens = 0; ///< 0: what the model allows
    Aggregation aggregation = Aggregation::simple;
    const Cancel *cancel = nullptr;
    Progress progress = nullptr;
    Offsets offsets = Offsets::bytes;
    bool keep_outside = false; ///< stretches labelled "O" are returned too
};

/// Told each token as soon as it is there; false makes it the last of its continuation.
using OnToken = std::function<bool(const NewToken &)>;

/// How texts are continued.
struct GenerateOptions {
    bool plain = false; ///< "[MASK]" and its like are plain text
    TooLong too_long = TooLong::automatic;
    std::uint32_t prompt_tokens = 0; ///< longest input in tokens; 0: what the model allows
    std::uint32_t max_tokens = 0;    ///< most new tokens of a continuation; 0: what the model has positions for
    std::uint32_t count = 0;         ///< continuations of every input; 0: 1
    float temperature = 0;           ///< 0: the likeliest token each time; else tokens are drawn
    std::uint32_t top_k = 0;         ///< of so many likeliest; 0: of all
    float top_p = 0;                 ///< of the likeliest whose probabilities sum to this; 0: of all
    std::uint64_t seed = 0;
    const Cancel *cancel = nullptr;
    Progress progress = nullptr;
    OnToken token = nullptr;
    std::optional<std::int32_t> end = std::nullopt; ///< id of the token that ends a text; none given: [SEP]
};

/// A file of a model folder that is in memory.
struct File {
    std::string name; ///< path within the folder: "config.json", "1_Pooling/config.json"
    const void *data;
    std::size_t size;
    std::shared_ptr<const void> owner; ///< keeps the data until the last model that reads it has ended

    /// Keeps a container of bytes: std::string, std::vector<std::uint8_t>.
    template <class Bytes> static File owned(std::string name, Bytes bytes) {
        static_assert(sizeof(*bytes.data()) == 1, "a file is bytes");
        auto owner = std::make_shared<const Bytes>(std::move(bytes));
        return {std::move(name), owner->data(), owner->size(), owner};
    }
    /// Of data that is there to the end of the program, as what is linked into it.
    static File permanent(std::string name, const void *data, std::size_t size) {
        return {std::move(name), data, size, nullptr};
    }
};

namespace detail {

using ModelHandle = Handle<cloze_model, cloze_model_close>;
/// Files in memory, for as long as models that read them.
using Keep = std::shared_ptr<const std::vector<File>>;

template <class Options> std::uint32_t text_bits(const Options &o) noexcept {
    return (o.plain ? CLOZE_TEXT_PLAIN : 0u) | static_cast<std::uint32_t>(o.too_long);
}

inline cloze_call_options raw(const CallOptions &o, Call &call) noexcept {
    cloze_call_options c = CLOZE_CALL_OPTIONS_INIT;
    c.text = text_bits(o);
    c.max_tokens = o.max_tokens;
    call.watch(c, o.cancel);
    return c;
}

inline Metrics metrics(Span<const Metric> metrics) {
    Metrics named;
    for (const Metric &metric : metrics) named.emplace(metric.name, metric.value);
    return named;
}

} // namespace detail

/// Pseudo-perplexity of a corpus from the scores of its texts.
inline double perplexity(Span<const TextScore> scores) noexcept {
    return cloze_perplexity(scores.data(), scores.size());
}

/// An open model. Immutable: any number of threads may use one.
class Model {
public:
    /// Opens a HuggingFace folder, whose path is UTF-8.
    explicit Model(const std::string &folder, const OpenOptions &options = {})
        : Model(nullptr, [&](auto... out) {
              const cloze_open_options c = raw(options);
              return cloze_model_open(folder.c_str(), &c, out...);
          }) {}

    /// Opens a model whose files are in memory.
    explicit Model(std::vector<File> files, const OpenOptions &options = {})
        : Model(std::make_shared<const std::vector<File>>(std::move(files)), options) {}

    /// A model of random weights: `config` is the text of a config.json, `tokenizer` a folder with a vocabulary.
    static Model create(std::string_view config, const std::string &tokenizer, const CreateOptions &options = {}) {
        cloze_create_options c = CLOZE_CREATE_OPTIONS_INIT;
        c.threads = options.threads;
        c.objective = static_cast<std::uint32_t>(options.objective);
        c.seed = options.seed;
        c.device = detail::or_null(options.device);
        c.precision = static_cast<std::uint32_t>(options.precision);
        c.memory = static_cast<std::uint32_t>(options.memory);
        return Model(nullptr, [&](auto... out) {
            return cloze_model_create(config.data(), config.size(), tokenizer.c_str(), &c, out...);
        });
    }

    Model(Model &&) noexcept = default;
    Model &operator=(Model &&other) noexcept {
        handle_ = std::move(other.handle_); // before the files that it may read
        keep_ = std::move(other.keep_);
        info_ = other.info_;
        return *this;
    }

    /// Its shape.
    const Info &info() const noexcept { return info_; }
    /// Whether the folder has what the task needs.
    bool can(Task task) const noexcept { return (info_.tasks & static_cast<std::uint32_t>(task)) != 0; }
    /// What its classifier was trained for.
    Problem problem() const noexcept { return static_cast<Problem>(info_.problem); }
    /// What it runs on, with the precision that it has there; what was made from it runs there too.
    Device device() const {
        return detail::device([&](auto... out) { return cloze_model_device(get(), out...); });
    }
    /// The load report as one line of JSON.
    std::string report() const {
        return detail::text([&](auto... out) { return cloze_model_report(get(), out...); });
    }
    /// Name of a label of the classifier.
    std::string label(std::uint32_t label) const {
        return detail::text([&](auto... out) { return cloze_model_label(get(), label, out...); });
    }
    /// Names of all labels of the classifier, in order.
    std::vector<std::string> labels() const {
        std::vector<std::string> names;
        for (std::uint32_t i = 0; i < info_.labels; i++) names.push_back(label(i));
        return names;
    }

    /// The tokens of all inputs, one after another.
    std::vector<Token> tokenize(const Inputs &inputs, const TokenizeOptions &options = {}) const {
        cloze_tokenize_options c = CLOZE_TOKENIZE_OPTIONS_INIT;
        c.text = detail::text_bits(options);
        c.max_tokens = options.max_tokens;
        c.offsets = static_cast<std::uint32_t>(options.offsets);
        detail::Call call;
        return ask<Token>(&cloze_tokenize, inputs, c, call, inputs.length() / 2 + 4 * inputs.size());
    }
    /// A token as the vocabulary spells it: "##ing".
    std::string token_text(std::int32_t id) const {
        return detail::text([&](auto... out) { return cloze_token_text(get(), id, out...); });
    }
    /// The number of a token, spelled as in the vocabulary.
    std::int32_t token_id(std::string_view token) const {
        std::int32_t id = 0;
        detail::Call call;
        call(cloze_token_id(get(), token.empty() ? "" : token.data(), token.size(), &id, call));
        return id;
    }
    /// The text of token ids, without special tokens.
    std::string decode(Span<const std::int32_t> ids) const {
        return detail::text([&](auto... out) { return cloze_decode(get(), ids.data(), ids.size(), out...); });
    }

    /// The best words for every "[MASK]": input by input, mask by mask, the likeliest first.
    std::vector<Candidate> fill(const Inputs &inputs, const FillOptions &options = {}) const {
        detail::Call call(options.progress);
        cloze_fill_options c = CLOZE_FILL_OPTIONS_INIT;
        c.text = detail::text_bits(options);
        c.max_tokens = options.max_tokens;
        c.top_k = options.top_k;
        call.watch(c, options.cancel);
        if (options.targets) {
            static constexpr std::int32_t none = 0; // an empty list, which the library refuses by name
            c.targets = options.targets->empty() ? &none : options.targets->data();
            c.target_count = options.targets->size();
        }
        c.mask = options.mask ? &*options.mask : nullptr;
        const std::size_t each = options.top_k != 0 ? options.top_k : 5;
        return ask<Candidate>(&cloze_fill, inputs, c, call, inputs.size() * each);
    }

    /// How likely each input is.
    std::vector<TextScore> score(const Inputs &inputs, const ScoreOptions &options = {}) const {
        detail::Call call(options.progress);
        const cloze_score_options c = raw(options, call);
        std::vector<TextScore> scores(inputs.size());
        call(cloze_score(get(), inputs.data(), inputs.size(), &c, scores.data(), scores.size(), call));
        return scores;
    }
    /// How likely each token of each input is.
    std::vector<TokenScore> score_tokens(const Inputs &inputs, const ScoreOptions &options = {}) const {
        detail::Call call(options.progress);
        const cloze_score_options c = raw(options, call);
        return ask<TokenScore>(&cloze_score_tokens, inputs, c, call, inputs.length() / 2 + 4 * inputs.size());
    }

    /// Probability that the second text of each pair follows its first.
    std::vector<float> next_sentence(const Inputs &inputs, const CallOptions &options = {}) const {
        detail::Call call(options.progress);
        const cloze_call_options c = detail::raw(options, call);
        std::vector<float> is_next(inputs.size());
        call(cloze_next_sentence(get(), inputs.data(), inputs.size(), &c, is_next.data(), is_next.size(), call));
        return is_next;
    }

    /// A vector an input.
    Matrix embed(const Inputs &inputs, const EmbedOptions &options = {}) const {
        detail::Call call(options.progress);
        cloze_embed_options c = CLOZE_EMBED_OPTIONS_INIT;
        c.text = detail::text_bits(options);
        c.max_tokens = options.max_tokens;
        c.pooling = static_cast<std::uint32_t>(options.pooling);
        call.watch(c, options.cancel);
        c.prompt = options.prompt ? options.prompt->c_str() : nullptr;
        c.normalize = options.normalize ? 1 : 0;
        const std::size_t width = options.pooling == Pooling::automatic ? info_.embedding : info_.hidden;
        return {ask<float>(&cloze_embed, inputs, c, call, inputs.size() * width), width};
    }
    /// Hidden states of layers, 0 being the embeddings: for each input, for each layer, a row a token.
    Matrix hidden_states(const Inputs &inputs, const std::vector<std::uint32_t> &layers,
                         const CallOptions &options = {}) const {
        detail::Call call(options.progress);
        const cloze_call_options c = detail::raw(options, call);
        auto states = detail::collect<float>(call, 0, [&](auto... out) {
            return cloze_hidden_states(get(), inputs.data(), inputs.size(), layers.data(), layers.size(), &c, out...);
        });
        return {std::move(states), info_.hidden};
    }

    /// A row an input, a number a label.
    Matrix classify(const Inputs &inputs, const CallOptions &options = {}) const {
        detail::Call call(options.progress);
        const cloze_call_options c = detail::raw(options, call);
        return {ask<float>(&cloze_classify, inputs, c, call, inputs.size() * info_.labels), info_.labels};
    }
    /// Entities of every input, in order.
    std::vector<Entity> tag(const Inputs &inputs, const TagOptions &options = {}) const {
        detail::Call call(options.progress);
        cloze_tag_options c = CLOZE_TAG_OPTIONS_INIT;
        c.text = detail::text_bits(options);
        c.max_tokens = options.max_tokens;
        c.aggregation = static_cast<std::uint32_t>(options.aggregation);
        call.watch(c, options.cancel);
        c.offsets = static_cast<std::uint32_t>(options.offsets);
        c.keep_outside = options.keep_outside ? 1 : 0;
        return ask<Entity>(&cloze_tag, inputs, c, call, inputs.length() / 2 + 4 * inputs.size());
    }
    /// Probabilities of all labels: a row a token, special ones included.
    Matrix tag_tokens(const Inputs &inputs, const CallOptions &options = {}) const {
        detail::Call call(options.progress);
        const cloze_call_options c = detail::raw(options, call);
        return {ask<float>(&cloze_tag_tokens, inputs, c, call, 0), info_.labels};
    }

    /// Continuations of every input: input by input, continuation by continuation, token by token.
    std::vector<NewToken> generate(const Inputs &inputs, const GenerateOptions &options = {}) const {
        struct Generation : detail::Call {
            explicit Generation(const GenerateOptions &o) : Call(o.progress), options(o) {}
            static int told(void *user, const cloze_new_token *token) noexcept {
                auto &call = *static_cast<Generation *>(static_cast<detail::Call *>(user));
                return call.run([&] { return call.options.token(*token); });
            }
            const GenerateOptions &options;
        };
        Generation call(options);
        cloze_generate_options c = CLOZE_GENERATE_OPTIONS_INIT;
        c.text = detail::text_bits(options);
        c.prompt_tokens = options.prompt_tokens;
        c.max_tokens = options.max_tokens;
        c.count = options.count;
        c.temperature = options.temperature;
        c.top_k = options.top_k;
        c.top_p = options.top_p;
        c.seed = options.seed;
        call.watch(c, options.cancel);
        c.token = options.token ? &Generation::told : nullptr;
        c.end = options.end ? &*options.end : nullptr;
        return ask<NewToken>(&cloze_generate, inputs, c, call, 0);
    }

    /// Writes a HuggingFace folder.
    void save(const std::string &folder) const {
        detail::Call call;
        call(cloze_model_save(get(), folder.c_str(), call));
    }
    /// Writes one with weights in `dtype`.
    void save(const std::string &folder, Dtype dtype) const {
        detail::Call call;
        call(cloze_model_save_as(get(), folder.c_str(), static_cast<std::uint32_t>(dtype), call));
    }
    /// A model with the LoRA adapter of a PEFT folder, and with the head in it.
    Model adapt(const std::string &folder) const {
        return Model(keep_, [&](auto... out) { return cloze_model_adapt(get(), folder.c_str(), out...); });
    }
    /// A model whose classifier is one of the named heads.
    Model use_head(const std::string &name) const {
        return Model(keep_, [&](auto... out) { return cloze_model_use_head(get(), name.c_str(), out...); });
    }
    /// Names of the named heads.
    std::vector<std::string> heads() const {
        return detail::texts([&](auto... out) { return cloze_model_head(get(), out...); });
    }
    /// A model whose embeddings have `width` numbers that vary alike and independently over the inputs.
    Model whiten(const Inputs &inputs, std::uint32_t width, const CallOptions &options = {}) const {
        detail::Call call(options.progress);
        const cloze_call_options c = detail::raw(options, call);
        return Model(keep_, detail::make<detail::ModelHandle>(call, [&](auto... out) {
                         return cloze_model_whiten(get(), inputs.data(), inputs.size(), width, &c, out...);
                     }));
    }
    /// Metrics on examples. Of the options, plain and too_long stay as they are.
    Metrics evaluate(const Dataset &data, Objective objective = Objective::automatic,
                     const CallOptions &options = {}) const;
    /// Metrics on text. Of `recipe` only what makes examples of it counts, and the objective.
    Metrics evaluate(const Corpus &corpus, const TrainOptions &recipe, const CallOptions &options = {}) const;

    /// For calls of C.
    const cloze_model *get() const noexcept { return handle_.get(); }

private:
    friend class Trainer;

    Model(detail::Keep keep, detail::ModelHandle handle) : keep_(std::move(keep)), handle_(std::move(handle)) {
        detail::Call call;
        call(cloze_model_info(get(), &info_, call));
    }
    template <class Open>
    Model(detail::Keep keep, Open &&open)
        : Model(std::move(keep), (detail::check_abi(), detail::make<detail::ModelHandle>(open))) {}
    Model(detail::Keep files, const OpenOptions &options)
        : Model(files, [&](auto... out) {
              std::vector<cloze_file> raw_files;
              for (const File &file : *files) raw_files.push_back({file.name.c_str(), file.data, file.size});
              const cloze_open_options c = raw(options);
              return cloze_model_open_memory(raw_files.data(), raw_files.size(), &c, out...);
          }) {}

    static cloze_open_options raw(const OpenOptions &options) noexcept {
        cloze_open_options c = CLOZE_OPEN_OPTIONS_INIT;
        c.threads = options.threads;
        c.device = detail::or_null(options.device);
        c.precision = static_cast<std::uint32_t>(options.precision);
        c.memory = static_cast<std::uint32_t>(options.memory);
        return c;
    }
    static cloze_score_options raw(const ScoreOptions &options, detail::Call &call) noexcept {
        cloze_score_options c = CLOZE_SCORE_OPTIONS_INIT;
        c.text = detail::text_bits(options);
        c.max_tokens = options.max_tokens;
        c.method = static_cast<std::uint32_t>(options.method);
        call.watch(c, options.cancel);
        c.mask = options.mask ? &*options.mask : nullptr;
        return c;
    }

    /// What a call gives for inputs.
    template <class T, class Function, class Options>
    std::vector<T> ask(Function function, const Inputs &inputs, const Options &c, detail::Call &call,
                       std::size_t guess) const {
        return detail::collect<T>(
            call, guess, [&](auto... out) { return function(get(), inputs.data(), inputs.size(), &c, out...); });
    }

    detail::Keep keep_;
    detail::ModelHandle handle_;
    Info info_ = CLOZE_INFO_INIT;
};

} // namespace cloze

#endif /* CLOZE_MODEL_HPP */
