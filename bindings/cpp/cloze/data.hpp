/* Sections 13 and 18 of cloze.h: examples and text, what models learn from. */
#ifndef CLOZE_DATA_HPP
#define CLOZE_DATA_HPP

#include "model.hpp"

namespace cloze {

/// What an example of a file is to be answered with.
enum class TargetKind : std::uint32_t {
    none = CLOZE_TARGET_NONE,
    label = CLOZE_TARGET_LABEL,
    labels = CLOZE_TARGET_LABELS,
    numbers = CLOZE_TARGET_NUMBERS,
    tags = CLOZE_TARGET_TAGS,
    answer = CLOZE_TARGET_ANSWER,
    tokens = CLOZE_TARGET_TOKENS, ///< of no file
};

/// Among the label ids of tokens: no label counts here.
inline constexpr std::int32_t ignored = CLOZE_IGNORED;

/// The answer to an input, of which it keeps copies.
class Target {
public:
    /// Nothing is known.
    Target() = default;
    /// One label.
    static Target label(std::string name) {
        Target target(TargetKind::label);
        target.name_ = std::move(name);
        return target;
    }
    /// Any number of labels, none among them.
    static Target labels(std::vector<std::string> names) {
        Target target(TargetKind::labels);
        target.names_ = std::move(names);
        return target;
    }
    /// One number.
    static Target number(float number) { return numbers({number}); }
    /// Several numbers.
    static Target numbers(std::vector<float> numbers) {
        Target target(TargetKind::numbers);
        target.numbers_ = std::move(numbers);
        return target;
    }
    /// The answer as it stands in the second text from byte `start` on; "" where the second text does not hold it.
    static Target answer(std::string answer, std::uint64_t start = 0) {
        Target target(TargetKind::answer);
        target.name_ = std::move(answer);
        target.start_ = start;
        return target;
    }
    /// A label id for each token id; `ignored` where none counts.
    static Target token_labels(std::vector<std::int32_t> ids) {
        Target target(TargetKind::tokens);
        target.ids_ = std::move(ids);
        return target;
    }

private:
    friend class Dataset;
    explicit Target(TargetKind kind) : kind_(kind) {}

    TargetKind kind_ = TargetKind::none;
    std::string name_;
    std::vector<std::string> names_;
    std::vector<float> numbers_;
    std::vector<std::int32_t> ids_;
    std::uint64_t start_ = 0;
};

/// How a file is laid out.
enum class Format : std::uint32_t {
    automatic = CLOZE_FORMAT_AUTO, ///< as the extension says
    tsv = CLOZE_FORMAT_TSV,
    csv = CLOZE_FORMAT_CSV,
    jsonl = CLOZE_FORMAT_JSONL,
    conll = CLOZE_FORMAT_CONLL,
    lines = CLOZE_FORMAT_LINES,
};

/// Whether the first row of a table names its columns.
enum class Header : std::uint32_t {
    detect = CLOZE_HEADER_DETECT,
    present = CLOZE_HEADER_PRESENT,
    absent = CLOZE_HEADER_ABSENT,
};

/// How a file of examples is read. Columns are names in the header or places counted from 1; empty: the usual names.
struct ReadOptions {
    Format format = Format::automatic;
    Header header = Header::detect;
    std::string text = {};   ///< column of the text
    std::string pair = {};   ///< column of the second text
    std::string target = {}; ///< column of the label or number
};

/// Examples: what a model reads, and what it is to answer.
class Dataset {
public:
    /// Without examples.
    Dataset() : handle_(detail::make<Handle>(cloze_dataset_new)) {}

    /// The examples of a UTF-8 file.
    static Dataset read(const std::string &path, TargetKind kind, const ReadOptions &options = {}) {
        cloze_read_options c = CLOZE_READ_OPTIONS_INIT;
        c.format = static_cast<std::uint32_t>(options.format);
        c.header = static_cast<std::uint32_t>(options.header);
        c.text = detail::or_null(options.text);
        c.pair = detail::or_null(options.pair);
        c.target = detail::or_null(options.target);
        return Dataset(detail::make<Handle>([&](auto... out) {
            return cloze_dataset_read(path.c_str(), static_cast<std::uint32_t>(kind), &c, out...);
        }));
    }

    /// Adds a copy of one example.
    void add(const Inputs &input, const Target &target = {}) { add_all(input, {&target, 1}); }
    /// Adds copies of examples, a target for each input: all, or none where one cannot be used.
    void add(const Inputs &inputs, const std::vector<Target> &targets) { add_all(inputs, targets); }
    /// Adds one text that is split into words, and the tag of each word.
    void add_words(const std::vector<std::string> &words, const std::vector<std::string> &tags) {
        if (words.size() != tags.size())
            throw Error(Status::invalid_argument,
                        std::to_string(tags.size()) + " tags for " + std::to_string(words.size()) + " words");
        detail::Call call;
        call(cloze_dataset_add_words(get(), detail::pointers(words).data(), detail::pointers(tags).data(), words.size(),
                                     call));
    }
    /// Adds one text that is split into words.
    void add_words(const std::vector<std::string> &words) {
        detail::Call call;
        call(cloze_dataset_add_words(get(), detail::pointers(words).data(), nullptr, words.size(), call));
    }

    /// Copies of the examples with these numbers, from 0, in this order.
    Dataset select(Span<const std::size_t> numbers) const {
        return Dataset(detail::make<Handle>(
            [&](auto... out) { return cloze_dataset_select(get(), numbers.data(), numbers.size(), out...); }));
    }

    /// Number of examples.
    std::size_t size() const noexcept { return cloze_dataset_count(get()); }

    /// For calls of C.
    cloze_dataset *get() const noexcept { return handle_.get(); }

private:
    using Handle = detail::Handle<cloze_dataset, cloze_dataset_free>;
    explicit Dataset(Handle handle) : handle_(std::move(handle)) {}

    void add_all(const Inputs &inputs, Span<const Target> targets) {
        if (inputs.size() != targets.size())
            throw Error(Status::invalid_argument,
                        std::to_string(targets.size()) + " targets for " + std::to_string(inputs.size()) + " inputs");
        std::vector<std::vector<const char *>> names;
        names.reserve(targets.size());
        std::vector<cloze_target> raw;
        for (const Target &target : targets) {
            names.push_back(detail::pointers(target.names_));
            cloze_target c{};
            c.kind = static_cast<std::uint32_t>(target.kind_);
            c.start = target.start_;
            c.name = target.name_.c_str();
            c.names = names.back().data();
            static constexpr float none = 0; // numbers are given, though there are none
            c.numbers = target.numbers_.empty() ? &none : target.numbers_.data();
            c.ids = target.ids_.data();
            c.count = target.names_.size() + target.numbers_.size() + target.ids_.size(); // all but one are empty
            raw.push_back(c);
        }
        detail::Call call;
        call(cloze_dataset_add(get(), inputs.data(), raw.data(), raw.size(), call));
    }

    Handle handle_;
};

/// Whether a vocabulary tells capital letters and accents apart.
enum class Casing : std::uint32_t { uncased = CLOZE_CASING_UNCASED, cased = CLOZE_CASING_CASED };

/// What a line of text is.
enum class Lines : std::uint32_t {
    paragraphs = CLOZE_CORPUS_PARAGRAPHS, ///< sentences, found by their punctuation
    sentences = CLOZE_CORPUS_SENTENCES,   ///< one sentence
};

/// How a vocabulary is learned.
struct VocabularyOptions {
    std::uint32_t tokens = 0; ///< most tokens; 0: 30522
    Casing casing = Casing::uncased;
    Lines lines = Lines::paragraphs;
    std::uint32_t min_frequency = 0; ///< what occurs less often is not joined to a token; 0: 2
    std::uint32_t max_tokens = 0;    ///< model_max_length of the tokenizer; 0: 512
};

/// Learns a WordPiece vocabulary from text and writes a tokenizer's files into a folder.
inline void learn_vocabulary(const std::string &path, const std::string &folder,
                             const VocabularyOptions &options = {}) {
    detail::check_abi();
    cloze_vocabulary_options c = CLOZE_VOCABULARY_OPTIONS_INIT;
    c.tokens = options.tokens;
    c.casing = static_cast<std::uint32_t>(options.casing);
    c.lines = static_cast<std::uint32_t>(options.lines);
    c.min_frequency = options.min_frequency;
    c.max_tokens = options.max_tokens;
    detail::Call call;
    call(cloze_vocabulary_learn(path.c_str(), &c, folder.c_str(), call));
}

/// How a text is read.
struct CorpusOptions {
    Lines lines = Lines::paragraphs;
    std::uint32_t max_tokens = 0; ///< of the examples to be made of it; 0: what the model allows
};

/// What a corpus holds.
using CorpusState = cloze_corpus_state;

/// Text as token ids of one vocabulary; it may be larger than memory. Immutable.
class Corpus {
public:
    /// Reads a folder of .txt files, or one file.
    Corpus(const Model &model, const std::string &path, const CorpusOptions &options = {})
        : handle_(detail::make<Handle>([&](auto... out) {
              cloze_corpus_options c = CLOZE_CORPUS_OPTIONS_INIT;
              c.lines = static_cast<std::uint32_t>(options.lines);
              c.max_tokens = options.max_tokens;
              return cloze_corpus_open(model.get(), path.c_str(), &c, out...);
          })) {}

    /// What it holds.
    CorpusState info() const {
        CorpusState state = CLOZE_CORPUS_STATE_INIT;
        detail::Call call;
        call(cloze_corpus_info(get(), &state, call));
        return state;
    }
    /// What was left out or cut, with its place.
    std::vector<std::string> notices() const {
        std::vector<std::string> notices;
        for (std::uint32_t i = 0, count = info().notices; i < count; i++)
            notices.push_back(detail::text([&](auto... out) { return cloze_corpus_notice(get(), i, out...); }));
        return notices;
    }

    /// For calls of C.
    const cloze_corpus *get() const noexcept { return handle_.get(); }

private:
    using Handle = detail::Handle<cloze_corpus, cloze_corpus_free>;
    Handle handle_;
};

} // namespace cloze

#endif /* CLOZE_DATA_HPP */
