// JSON for the tests: as much as bindings/vectors.json needs. Bad text throws.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

/// A value. Numbers remember whether they were written with a point or exponent.
class Json {
public:
    using List = std::vector<Json>;
    using Fields = std::vector<std::pair<std::string, Json>>;

    Json() = default;
    Json(bool value) : value_(value) {}
    Json(const char *text) : value_(std::string(text)) {}
    Json(std::string text) : value_(std::move(text)) {}
    Json(List list) : value_(std::move(list)) {}
    Json(Fields fields) : value_(std::move(fields)) {}
    /// NaN is null.
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T> && !std::is_same_v<T, bool>>> Json(T number) {
        if constexpr (std::is_floating_point_v<T>) {
            if (!std::isnan(number)) value_ = static_cast<double>(number);
        } else {
            value_ = static_cast<std::int64_t>(number);
        }
    }
    template <class T> static Json list(const T &values) {
        List list;
        for (const auto &value : values) list.emplace_back(value);
        return list;
    }
    static Json parse(const std::string &text) {
        const char *at = text.c_str();
        Json value = read(at);
        skip(at);
        if (at != text.c_str() + text.size()) fail("more than one value", at);
        return value;
    }

    bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
    bool is_text() const { return std::holds_alternative<std::string>(value_); }
    bool is_list() const { return std::holds_alternative<List>(value_); }
    bool is_object() const { return std::holds_alternative<Fields>(value_); }
    bool is_number() const { return is_integer() || std::holds_alternative<double>(value_); }
    bool is_integer() const { return std::holds_alternative<std::int64_t>(value_); }

    const std::string &text() const { return std::get<std::string>(value_); }
    const List &list() const { return std::get<List>(value_); }
    const Fields &fields() const { return std::get<Fields>(value_); }
    double number() const {
        return is_integer() ? static_cast<double>(std::get<std::int64_t>(value_)) : std::get<double>(value_);
    }
    /// An integer, or whether it is true.
    template <class T> T as() const {
        if (const bool *truth = std::get_if<bool>(&value_)) return static_cast<T>(*truth);
        return static_cast<T>(number());
    }
    /// A field; null where there is none.
    const Json &operator[](const std::string &name) const {
        static const Json none;
        if (const Fields *fields = std::get_if<Fields>(&value_))
            for (const auto &[key, value] : *fields)
                if (key == name) return value;
        return none;
    }
    bool has(const std::string &name) const { return !(*this)[name].is_null(); }
    void set(std::string name, Json value) { std::get<Fields>(value_).emplace_back(std::move(name), std::move(value)); }
    bool operator==(const Json &other) const { return value_ == other.value_; }

    /// As one line, for messages and for config.json.
    std::string dump() const {
        if (is_null()) return "null";
        if (const bool *truth = std::get_if<bool>(&value_)) return *truth ? "true" : "false";
        if (is_integer()) return std::to_string(std::get<std::int64_t>(value_));
        if (is_number()) return std::to_string(number());
        if (is_text()) return '"' + text() + '"';
        std::string joined;
        if (is_list())
            for (const Json &value : list()) joined += (joined.empty() ? "" : ",") + value.dump();
        else
            for (const auto &[key, value] : fields())
                joined += (joined.empty() ? "\"" : ",\"") + key + "\":" + value.dump();
        return is_list() ? '[' + joined + ']' : '{' + joined + '}';
    }

private:
    [[noreturn]] static void fail(const std::string &what, const char *at) {
        throw std::runtime_error("JSON: " + what + " at \"" + std::string(at).substr(0, 40) + '"');
    }
    static void skip(const char *&at) {
        while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t') at++;
    }
    static bool eat(const char *&at, const std::string &word) {
        skip(at);
        if (std::strncmp(at, word.c_str(), word.size()) != 0) return false;
        at += word.size();
        return true;
    }
    static Json read(const char *&at) {
        skip(at);
        if (*at == '"') return read_text(at);
        if (eat(at, "[")) {
            List list;
            if (eat(at, "]")) return list;
            do list.push_back(read(at));
            while (eat(at, ","));
            if (!eat(at, "]")) fail("no ]", at);
            return list;
        }
        if (eat(at, "{")) {
            Fields fields;
            if (eat(at, "}")) return fields;
            do {
                skip(at);
                std::string key = read_text(at);
                if (!eat(at, ":")) fail("no :", at);
                fields.emplace_back(std::move(key), read(at));
            } while (eat(at, ","));
            if (!eat(at, "}")) fail("no }", at);
            return fields;
        }
        if (eat(at, "null")) return {};
        if (eat(at, "true")) return true;
        if (eat(at, "false")) return false;
        char *end = nullptr;
        const double number = std::strtod(at, &end);
        if (end == at) fail("no value", at);
        const std::string written(at, static_cast<const char *>(end));
        at = end;
        if (written.find_first_of(".eE") == std::string::npos) return static_cast<std::int64_t>(number);
        return number;
    }
    static unsigned hexadecimal(const char *&at) {
        unsigned code = 0;
        for (int i = 0; i < 4; i++, at++) {
            const std::string digits = "0123456789abcdef";
            const auto digit = digits.find(static_cast<char>(*at | 32));
            if (digit == std::string::npos) fail("no hexadecimal digit", at);
            code = code * 16 + static_cast<unsigned>(digit);
        }
        return code;
    }
    static std::string read_text(const char *&at) {
        if (*at != '"') fail("no string", at);
        std::string text;
        for (at++; *at != '"'; at++) {
            if (*at == '\0') fail("a string without end", at);
            if (*at != '\\') {
                text += *at;
                continue;
            }
            at++;
            const std::string escapes = "nrtbf", values = "\n\r\t\b\f";
            if (*at != 'u') {
                const auto place = escapes.find(*at);
                text += place == std::string::npos ? *at : values[place];
                continue;
            }
            at++;
            unsigned code = hexadecimal(at);
            if (code >= 0xD800 && code < 0xDC00 && at[0] == '\\' && at[1] == 'u') {
                at += 2;
                code = 0x10000 + ((code - 0xD800) << 10) + (hexadecimal(at) - 0xDC00);
            }
            at--;
            if (code < 0x80) text += static_cast<char>(code);
            else if (code < 0x800) text += {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
            else if (code < 0x10000)
                text += {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 63)),
                         static_cast<char>(0x80 | (code & 63))};
            else
                text += {static_cast<char>(0xF0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 63)),
                         static_cast<char>(0x80 | (code >> 6 & 63)), static_cast<char>(0x80 | (code & 63))};
        }
        at++;
        return text;
    }

    std::variant<std::monostate, bool, std::int64_t, double, std::string, List, Fields> value_;
};
