/* Errors, views, inputs, cancelling: what the rest of cloze.hpp stands on. */
#ifndef CLOZE_CORE_HPP
#define CLOZE_CORE_HPP

#include <cloze.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cloze {

/// Why a call failed.
enum class Status : cloze_status {
    ok = CLOZE_OK,
    invalid_argument = CLOZE_INVALID_ARGUMENT, ///< breaks the contract of the call
    buffer_too_small = CLOZE_BUFFER_TOO_SMALL, ///< never thrown by this header
    invalid_input = CLOZE_INVALID_INPUT,       ///< text or token ids that cannot be used
    io = CLOZE_IO,                             ///< the system refused to open, read, map or write a file
    invalid_file = CLOZE_INVALID_FILE,         ///< a file is not what its format demands
    unsupported = CLOZE_UNSUPPORTED,           ///< a file asks for what cloze does not compute
    missing = CLOZE_MISSING,                   ///< the model lacks what was asked of it
    out_of_memory = CLOZE_OUT_OF_MEMORY,
    cancelled = CLOZE_CANCELLED,
    busy = CLOZE_BUSY, ///< the trainer or dataset is in use by another call
    no_device = CLOZE_NO_DEVICE,
    not_finite = CLOZE_NOT_FINITE, ///< weights or results are not finite numbers
    internal = CLOZE_INTERNAL,     ///< a defect of cloze: please report the message
};

/// Name of a status as in C: "CLOZE_IO".
inline const char *name(Status status) noexcept { return cloze_status_name(static_cast<cloze_status>(status)); }

/// A call that failed. what() names the thing.
class Error : public std::runtime_error {
public:
    Error(Status status, const std::string &message) : std::runtime_error(message), status_(status) {}
    /// Why.
    Status status() const noexcept { return status_; }

private:
    Status status_;
};

/// A call that a Cancel or a callback stopped.
class Cancelled : public Error {
public:
    explicit Cancelled(const std::string &message) : Error(Status::cancelled, message) {}
};

/// Version of the loaded library: "0.3.0".
inline const char *version() noexcept { return cloze_version(); }

/// Number of the loaded library's binary interface. What opens a model checks that it is CLOZE_ABI.
inline std::uint32_t abi() noexcept { return cloze_abi(); }

/// A view of elements that lie one after another somewhere else; std::span, which C++17 has not.
template <class T> class Span {
public:
    constexpr Span() noexcept = default;
    constexpr Span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    /// Of a std::vector, std::array, std::span.
    template <class C, class = std::enable_if_t<!std::is_same_v<std::decay_t<C>, Span> &&
                                                std::is_convertible_v<decltype(std::declval<C &>().data()), T *>>>
    constexpr Span(C &&container) noexcept : data_(container.data()), size_(container.size()) {}
    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    constexpr T &operator[](std::size_t index) const noexcept { return data_[index]; }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

/// Rows of numbers of one width.
class Matrix {
public:
    Matrix() = default;
    Matrix(std::vector<float> values, std::size_t width) : values_(std::move(values)), width_(width) {}

    /// Number of rows.
    std::size_t size() const noexcept { return width_ == 0 ? 0 : values_.size() / width_; }
    /// Numbers in a row.
    std::size_t width() const noexcept { return width_; }
    /// A view of a row, for as long as the matrix is there and unchanged.
    Span<const float> operator[](std::size_t row) const &noexcept { return {values_.data() + row * width_, width_}; }
    /// A row of a matrix that ends with the expression: a copy.
    std::vector<float> operator[](std::size_t row) const && {
        const Span<const float> values = (*this)[row];
        return {values.begin(), values.end()};
    }
    /// All rows, one after another.
    const std::vector<float> &values() const &noexcept { return values_; }
    /// All rows, moved out.
    std::vector<float> values() &&noexcept { return std::move(values_); }

private:
    std::vector<float> values_;
    std::size_t width_ = 0;
};

/// Told how much of a call is done; false stops it.
using Progress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

/// One token as the model sees it.
using Token = cloze_token;
/// A word for a mask.
using Candidate = cloze_candidate;
/// How likely a text is.
using TextScore = cloze_text_score;
/// How likely a token is.
using TokenScore = cloze_token_score;
/// A stretch of text with a label.
using Entity = cloze_entity;
/// A token that was generated.
using NewToken = cloze_new_token;
/// A name and its value.
using Metric = cloze_metric;
/// The shape of a model.
using Info = cloze_info;

/// Machinery: nothing below this name is part of the interface.
namespace detail {

[[noreturn]] inline void raise(cloze_status status, const cloze_error &error) {
    if (status == CLOZE_CANCELLED) throw Cancelled(error.message);
    throw Error(static_cast<Status>(status), error.message);
}

inline void check_abi() {
    if (cloze_abi() == CLOZE_ABI) return;
    throw Error(Status::unsupported, "the loaded library of cloze has ABI " + std::to_string(cloze_abi()) +
                                         ", this program was built for " + std::to_string(CLOZE_ABI));
}

/// One call of C: takes its error, carries exceptions of callbacks across it, throws when it failed.
class Call {
public:
    Call() = default;
    explicit Call(const Progress &progress) : progress_(progress ? &progress : nullptr) {}
    Call(const Call &) = delete;
    Call &operator=(const Call &) = delete;

    operator cloze_error *() noexcept { return &error_; }

    /// Throws unless `status` is CLOZE_OK.
    void operator()(cloze_status status) const {
        if (status == CLOZE_OK) return;
        if (thrown_) std::rethrow_exception(thrown_);
        raise(status, error_);
    }

    /// Runs a callback; what it throws waits for the end of the call. The result is C's: 0 to go on.
    template <class F> int run(F &&callback) noexcept {
        try {
            return callback() ? 0 : 1;
        } catch (...) {
            thrown_ = std::current_exception();
            return 1;
        }
    }

    /// Fills in the three fields that the options of most calls have in common.
    template <class Options, class Cancel> void watch(Options &c, const Cancel *cancel) noexcept {
        c.cancel = cancel ? cancel->get() : nullptr;
        c.progress = progress_ ? &Call::progress : nullptr;
        c.user = this;
    }

private:
    static int progress(void *user, std::uint64_t done, std::uint64_t total) noexcept {
        Call &call = *static_cast<Call *>(user);
        return call.run([&] { return (*call.progress_)(done, total); });
    }

    cloze_error error_{};
    std::exception_ptr thrown_;
    const Progress *progress_ = nullptr;
};

template <class T, void (*end)(T *)> struct End {
    void operator()(T *handle) const noexcept { end(handle); }
};
template <class T, void (*end)(T *)> using Handle = std::unique_ptr<T, End<T, end>>;

/// A handle that open(T **, cloze_error *) makes.
template <class H, class Open> H make(Call &call, Open &&open) {
    typename H::pointer handle = nullptr;
    call(open(&handle, static_cast<cloze_error *>(call)));
    return H(handle);
}
template <class H, class Open> H make(Open &&open) {
    Call call;
    return make<H>(call, open);
}

/// As many values as there are: fetch(T *, capacity, count *, cloze_error *) is asked again where `guess` was too
/// small.
template <class T, class Fetch> std::vector<T> collect(Call &call, std::size_t guess, Fetch &&fetch) {
    std::vector<T> values(guess);
    std::size_t count = 0;
    cloze_error *error = call;
    cloze_status status = fetch(values.data(), values.size(), &count, error);
    if (status == CLOZE_BUFFER_TOO_SMALL) {
        values.resize(count);
        status = fetch(values.data(), values.size(), &count, error);
    }
    call(status);
    values.resize(count);
    return values;
}

/// A string from fetch(char *, capacity, size *, cloze_error *), whose size does not count the NUL.
template <class Fetch> std::string text(Fetch &&fetch) {
    Call call;
    cloze_error *error = call;
    std::string text(63, '\0');
    std::size_t size = 0;
    cloze_status status = fetch(text.data(), text.size() + 1, &size, error);
    if (status == CLOZE_BUFFER_TOO_SMALL) {
        text.resize(size);
        status = fetch(text.data(), text.size() + 1, &size, error);
    }
    call(status);
    text.resize(size);
    return text;
}

/// The names that fetch(index, char *, capacity, size *, cloze_error *) gives until it says CLOZE_MISSING.
template <class Fetch> std::vector<std::string> texts(Fetch &&fetch) {
    std::vector<std::string> texts;
    try {
        for (std::uint32_t i = 0;; i++) texts.push_back(text([&](auto... out) { return fetch(i, out...); }));
    } catch (const Error &error) {
        if (error.status() != Status::missing) throw;
    }
    return texts;
}

inline const char *or_null(const std::string &text) noexcept { return text.empty() ? nullptr : text.c_str(); }

inline std::vector<const char *> pointers(const std::vector<std::string> &texts) {
    std::vector<const char *> pointers;
    pointers.reserve(texts.size());
    for (const std::string &text : texts) pointers.push_back(text.c_str());
    return pointers;
}

inline cloze_input input(std::string_view text) noexcept {
    cloze_input c = cloze_text(text.empty() ? "" : text.data());
    c.text_size = text.size();
    return c;
}

} // namespace detail

/// A flag that stops the calls it was given to, from any thread. It may end before they do.
class Cancel {
public:
    Cancel() : handle_(detail::make<Handle>(cloze_cancel_new)) {}
    /// Stops the calls that watch it, within about 50 ms; they throw Cancelled.
    void set() noexcept { cloze_cancel_set(handle_.get()); }
    /// Clears it for the next call.
    void reset() noexcept { cloze_cancel_reset(handle_.get()); }
    /// For calls of C.
    cloze_cancel *get() const noexcept { return handle_.get(); }

private:
    using Handle = detail::Handle<cloze_cancel, cloze_cancel_free>;
    Handle handle_;
};

/// A text, a pair of texts or token ids, of which it keeps copies.
class Input {
public:
    Input(std::string text) : text_(std::move(text)) {}
    Input(std::string_view text) : text_(text) {}
    Input(const char *text) : text_(text) {}
    /// Two texts.
    Input(std::string text, std::string pair) : text_(std::move(text)), pair_(std::move(pair)), kind_(Kind::pair) {}
    /// A sequence as the model sees it, special tokens included. Without types, segments are all 0; else there are as
    /// many as ids, which the call checks.
    static Input ids(std::vector<std::int32_t> ids, std::vector<std::int32_t> types = {}) {
        Input input{std::string()};
        input.kind_ = Kind::ids;
        input.ids_ = std::move(ids);
        input.types_ = std::move(types);
        if (!input.types_.empty() && input.types_.size() != input.ids_.size())
            throw Error(Status::invalid_argument, std::to_string(input.types_.size()) + " types for " +
                                                      std::to_string(input.ids_.size()) + " token ids");
        return input;
    }

    /// For calls of C: lives as long as this and is unchanged.
    cloze_input raw() const noexcept {
        if (kind_ == Kind::ids) {
            static constexpr std::int32_t none = 0; // ids are given, though there are none
            return cloze_ids(ids_.empty() ? &none : ids_.data(), types_.empty() ? nullptr : types_.data(), ids_.size());
        }
        cloze_input c = detail::input(text_);
        if (kind_ == Kind::pair) {
            c.pair = pair_.c_str();
            c.pair_size = pair_.size();
        }
        return c;
    }

private:
    enum class Kind { text, pair, ids };
    std::string text_, pair_;
    std::vector<std::int32_t> ids_, types_;
    Kind kind_ = Kind::text;
};

/// What a call reads: one text or input, a list in braces, or a container of texts or inputs. A parameter only: it
/// views what it was made from.
class Inputs {
public:
    Inputs(const char *text) : inputs_{detail::input(text)} {}
    Inputs(std::string_view text) : inputs_{detail::input(text)} {}
    Inputs(const std::string &text) : inputs_{detail::input(text)} {}
    Inputs(const Input &input) : inputs_{input.raw()} {}
    Inputs(std::initializer_list<Input> inputs) { add(inputs); }
    /// Of a container that holds its elements: one that makes strings as it is walked would leave none to read.
    template <class Range, class Reference = decltype(*std::begin(std::declval<const Range &>())),
              class Element = std::decay_t<Reference>,
              class = std::enable_if_t<
                  !std::is_convertible_v<const Range &, std::string_view> &&
                  (std::is_same_v<Element, Input> || std::is_convertible_v<const Element &, std::string_view>)&&(
                      std::is_reference_v<Reference> || std::is_same_v<Element, std::string_view> ||
                      std::is_pointer_v<Element>)>>
    Inputs(const Range &texts) {
        add(texts);
    }

    const cloze_input *data() const noexcept { return inputs_.data(); }
    std::size_t size() const noexcept { return inputs_.size(); }
    /// Bytes of all texts, and token ids.
    std::size_t length() const noexcept {
        std::size_t length = 0;
        for (const cloze_input &input : inputs_) length += input.text_size + input.pair_size + input.id_count;
        return length;
    }

private:
    template <class Range> void add(const Range &range) {
        inputs_.reserve(static_cast<std::size_t>(std::distance(std::begin(range), std::end(range))));
        for (const auto &element : range) {
            if constexpr (std::is_same_v<std::decay_t<decltype(element)>, Input>) inputs_.push_back(element.raw());
            else inputs_.push_back(detail::input(element));
        }
    }

    std::vector<cloze_input> inputs_;
};

} // namespace cloze

#endif /* CLOZE_CORE_HPP */
