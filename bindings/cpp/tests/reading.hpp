// Inputs, examples and answers of vectors.json as values of C++, and how answers are compared.
#pragma once

#include "options.hpp"

#include <algorithm>
#include <cmath>

template <class T> std::vector<T> list_of(const Json &values) {
    std::vector<T> list;
    if (!values.is_list()) return list;
    for (const Json &value : values.list()) {
        if constexpr (std::is_same_v<T, std::string>) list.push_back(value.text());
        else list.push_back(value.as<T>());
    }
    return list;
}

inline std::string text_of(const Json &object) {
    std::string text;
    if (object.has("utf8")) {
        const std::string &digits = object["utf8"].text();
        for (std::size_t i = 0; i < digits.size(); i += 2)
            text += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
        return text;
    }
    for (int i = object.has("times") ? object["times"].as<int>() : 1; i > 0; i--) text += object["text"].text();
    return text;
}

inline cloze::Input input_of(const Json &object) {
    if (object.has("ids"))
        return cloze::Input::ids(list_of<std::int32_t>(object["ids"]), list_of<std::int32_t>(object["types"]));
    if (object.has("pair")) return {text_of(object), object["pair"].text()};
    return text_of(object);
}

inline std::vector<cloze::Input> inputs_of(const Json &given) {
    std::vector<cloze::Input> inputs;
    if (given["inputs"].is_list())
        for (const Json &input : given["inputs"].list()) inputs.push_back(input_of(input));
    return inputs;
}

inline cloze::Target target_of(const Json &example) {
    using cloze::Target;
    if (example.has("label")) return Target::label(example["label"].text());
    if (example.has("labels")) return Target::labels(list_of<std::string>(example["labels"]));
    if (example.has("number")) return Target::number(example["number"].as<float>());
    if (example.has("numbers")) return Target::numbers(list_of<float>(example["numbers"]));
    if (example.has("answer")) return Target::answer(example["answer"].text(), example["start"].as<std::uint64_t>());
    if (example.has("token_labels")) return Target::token_labels(list_of<std::int32_t>(example["token_labels"]));
    return {};
}

inline cloze::Dataset dataset_of(const Json::List &examples) {
    cloze::Dataset data;
    std::vector<cloze::Input> inputs;
    std::vector<cloze::Target> targets;
    for (const Json &example : examples) {
        if (example.has("words")) {
            data.add_words(list_of<std::string>(example["words"]), list_of<std::string>(example["tags"]));
            continue;
        }
        inputs.push_back(input_of(example));
        targets.push_back(target_of(example));
    }
    if (!inputs.empty()) data.add(inputs, targets);
    return data;
}

inline Json json_of(const cloze::Metrics &metrics) {
    Json::Fields fields;
    for (const auto &[name, value] : metrics) fields.emplace_back(name, value);
    return fields;
}

/// The first numbers of every row.
inline Json json_of(const cloze::Matrix &matrix, std::size_t width = static_cast<std::size_t>(-1)) {
    Json::List rows;
    for (std::size_t i = 0; i < matrix.size(); i++)
        rows.push_back(Json::list(cloze::Span<const float>(matrix[i].data(), std::min(width, matrix.width()))));
    return rows;
}

/// Objects with some fields of structs: JSON_OF(tokens, FIELD(input), FIELD(id)).
#define FIELD(name)                                                                                                    \
    { #name, value.name }
#define JSON_OF(values, ...)                                                                                           \
    [&] {                                                                                                              \
        Json::List list;                                                                                               \
        for (const auto &value : (values)) list.push_back(Json::Fields{__VA_ARGS__});                                  \
        return Json(list);                                                                                             \
    }()

/// Number, sum and length of a flat buffer.
inline Json summary(const std::vector<float> &values) {
    double sum = 0, squares = 0;
    for (const float value : values) {
        sum += value;
        squares += static_cast<double>(value) * value;
    }
    return Json::Fields{{"count", values.size()}, {"sum", sum}, {"norm", std::sqrt(squares)}};
}

/// A tensor of f32 in the bytes of a safetensors file.
inline std::vector<float> floats(const std::string &file, const std::string &name) {
    std::uint64_t size = 0;
    std::memcpy(&size, file.data(), sizeof size);
    const Json tensor = Json::parse(file.substr(sizeof size, size))[name];
    const auto offsets = list_of<std::size_t>(tensor["data_offsets"]);
    if (tensor["dtype"].text() != "F32" || sizeof size + size + offsets.at(1) > file.size())
        throw std::runtime_error(name + " is not f32 within its file");
    std::vector<float> values((offsets[1] - offsets[0]) / sizeof(float));
    std::memcpy(values.data(), file.data() + sizeof size + size + offsets[0], values.size() * sizeof(float));
    return values;
}

/// How far numbers with a point may differ, by the name of their field: those of the case before those of the file.
class Tolerances {
public:
    Tolerances(const Json &file, const Json &own) : file_(file), own_(own) {}
    double of(const std::string &field) const {
        for (const Json *value : {&own_[field], &own_["default"], &file_[field], &file_["default"]})
            if (!value->is_null()) return value->number();
        throw std::runtime_error("no tolerance for " + field);
    }

private:
    const Json &file_, &own_;
};

/// What differs, or nothing.
inline std::string difference(const Tolerances &tolerances, const std::string &field, const Json &found,
                              const Json &expected) {
    if (found.is_list() && expected.is_list() && found.list().size() == expected.list().size()) {
        for (std::size_t i = 0; i < found.list().size(); i++) {
            const std::string inside = difference(tolerances, field, found.list()[i], expected.list()[i]);
            if (!inside.empty()) return std::to_string(i) + ": " + inside;
        }
        return "";
    }
    if (found.is_object() && expected.is_object() && found.fields().size() == expected.fields().size()) {
        for (const auto &[name, value] : expected.fields()) {
            const std::string inside = difference(tolerances, name, found[name], value);
            if (!inside.empty()) return name + ": " + inside;
        }
        return "";
    }
    if (found.is_number() && expected.is_number() && !(found.is_integer() && expected.is_integer())) {
        const double allowed = tolerances.of(field) * std::max(1.0, std::abs(expected.number()));
        if (std::abs(found.number() - expected.number()) <= allowed) return "";
        std::ostringstream both;
        both.precision(9);
        both << found.number() << ", expected " << expected.number() << " within " << allowed;
        return both.str();
    }
    return found == expected ? "" : found.dump() + ", expected " + expected.dump();
}
