// Options of vectors.json, which have the names and constants of cloze.h, as those of C++.
#pragma once

#include "check.hpp"
#include "json.hpp"

/// Takes fields of C out of an object; a field that nothing took is a mistake of the test.
class Fields {
public:
    Fields(const Json &constants, const Json &object) : constants_(constants), object_(object) {}
    Fields(const Fields &) = delete;
    Fields &operator=(const Fields &) = delete;
    ~Fields() noexcept(false) {
        if (object_.is_object() && taken_ != object_.fields().size() && std::uncaught_exceptions() == 0)
            throw std::runtime_error("options that C++ does not have: " + object_.dump());
    }

    /// A number, the name of a constant, or a list of names that are joined as bits.
    static double number(const Json &constants, const Json &value) {
        if (value.is_text()) return constants[value.text()].number();
        if (!value.is_list()) return value.as<double>();
        std::uint32_t bits = 0;
        for (const Json &name : value.list()) bits |= static_cast<std::uint32_t>(number(constants, name));
        return bits;
    }

    template <class T> void take(const char *name, T &field) {
        if (const Json *value = find(name))
            field = static_cast<T>(static_cast<std::uint64_t>(number(constants_, *value)));
    }
    void take(const char *name, float &field) {
        if (const Json *value = find(name)) field = static_cast<float>(number(constants_, *value));
    }
    void take(const char *name, double &field) {
        if (const Json *value = find(name)) field = number(constants_, *value);
    }
    void take(const char *name, bool &field) {
        if (const Json *value = find(name)) field = value->as<bool>();
    }
    void take(const char *name, std::string &field) {
        if (const Json *value = find(name)) field = value->text();
    }
    void take(const char *name, std::optional<std::string> &field) {
        if (const Json *value = find(name)) field = value->text();
    }
    template <class T> void take(const char *name, std::vector<T> &field) {
        if (const Json *value = find(name))
            for (const Json &element : value->list()) {
                if constexpr (std::is_same_v<T, std::string>) field.push_back(element.text());
                else field.push_back(element.as<T>());
            }
    }
    template <class T> void take(const char *name, std::optional<std::vector<T>> &field) {
        if (object_.has(name)) take(name, field.emplace());
    }
    /// The bits of the field "text".
    template <class Options> void take_text(Options &options) {
        std::uint32_t bits = 0;
        take("text", bits);
        options.plain = (bits & CLOZE_TEXT_PLAIN) != 0;
        options.too_long = static_cast<cloze::TooLong>(bits & ~CLOZE_TEXT_PLAIN);
    }

private:
    const Json *find(const char *name) {
        if (!object_.has(name)) return nullptr;
        taken_++;
        return &object_[name];
    }

    const Json &constants_, &object_;
    std::size_t taken_ = 0;
};

inline cloze::TrainOptions train_options(const Json &constants, const Json &object) {
    cloze::TrainOptions o;
    Fields fields(constants, object);
    std::uint32_t switches = 0;
    fields.take("switches", switches);
    const std::pair<std::uint32_t, bool *> bits[] = {
        {CLOZE_TRAIN_FRESH_HEAD, &o.fresh_head},           {CLOZE_TRAIN_KEEP_LAST, &o.keep_last},
        {CLOZE_TRAIN_FROZEN_DROPOUT, &o.frozen_dropout},   {CLOZE_TRAIN_RANK_STABILIZED, &o.rank_stabilized},
        {CLOZE_TRAIN_NO_SCRATCH_FILE, &o.no_scratch_file}, {CLOZE_TRAIN_WHOLE_WORDS, &o.whole_words},
        {CLOZE_TRAIN_SAME_MASKS, &o.same_masks},           {CLOZE_TRAIN_UNIGRAM_BIAS, &o.unigram_bias},
    };
    for (const auto &[bit, field] : bits) *field = (switches & bit) != 0;
#define TAKE(field) fields.take(#field, o.field)
    TAKE(objective), TAKE(trainable), TAKE(layers), TAKE(max_tokens), TAKE(epochs), TAKE(order), TAKE(batch_size);
    TAKE(batch_tokens), TAKE(accumulation), TAKE(schedule), TAKE(schedule_cycles), TAKE(schedule_power), TAKE(patience);
    TAKE(keep_checkpoints), TAKE(lora_rank), TAKE(lora_alpha), TAKE(lora_dropout), TAKE(learning_rate);
    TAKE(layer_decay), TAKE(weight_decay), TAKE(beta1), TAKE(beta2), TAKE(epsilon), TAKE(max_gradient_norm);
    TAKE(dropout), TAKE(label_smoothing), TAKE(schedule_end), TAKE(warmup), TAKE(threshold), TAKE(max_steps);
    TAKE(seed), TAKE(evaluate_every), TAKE(checkpoint_every), TAKE(memory), TAKE(cache_memory), TAKE(cache_file);
    TAKE(head), TAKE(metric), TAKE(checkpoints), TAKE(labels), TAKE(class_weights), TAKE(lora_targets), TAKE(masked);
    TAKE(short_examples), TAKE(random_next), TAKE(dev_examples);
#undef TAKE
    return o;
}
