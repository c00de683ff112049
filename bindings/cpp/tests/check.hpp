// The least that a test program needs: named tests, checks that tell both sides, an exit status.
#pragma once

#include <cloze.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

/// Tests of this program, in the order of their files.
inline std::vector<std::pair<std::string, std::function<void()>>> &tests() {
    static std::vector<std::pair<std::string, std::function<void()>>> all;
    return all;
}
inline int failures = 0;

#define TEST(name)                                                                                                     \
    static void name();                                                                                                \
    static const bool name##_added = (tests().emplace_back(#name, name), true);                                        \
    static void name()

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) fail(__FILE__, __LINE__, #condition);                                                        \
    } while (0)
#define CHECK_EQUAL(a, b) check_equal(__FILE__, __LINE__, (a), (b))
/// That an expression throws cloze::Error of a status with a message that has a text in it.
#define CHECK_ERROR(expression, status, text)                                                                          \
    check_error(                                                                                                       \
        __FILE__, __LINE__, [&] { (void)(expression); }, cloze::Status::status, text)

inline void fail(const char *file, int line, const std::string &what) {
    std::cerr << file << ':' << line << ": " << what << '\n';
    failures++;
}

template <class A, class B> void check_equal(const char *file, int line, const A &a, const B &b) {
    if (a == b) return;
    std::ostringstream both;
    both << a << ", expected " << b;
    fail(file, line, both.str());
}

inline void check_error(const char *file, int line, const std::function<void()> &call, cloze::Status status,
                        const std::string &text) {
    try {
        call();
        fail(file, line, std::string("no error, expected ") + name(status));
    } catch (const cloze::Error &error) {
        if (error.status() != status || std::string(error.what()).find(text) == std::string::npos)
            fail(file, line,
                 std::string(name(error.status())) + ": " + error.what() + ", expected " + name(status) + " with \"" +
                     text + '"');
    }
}

/// Root of the source tree: the environment variable CLOZE_ROOT.
inline std::filesystem::path root() {
    const char *root = std::getenv("CLOZE_ROOT");
    if (root == nullptr) throw std::runtime_error("CLOZE_ROOT is not set");
    return root;
}

/// Says that something is not here, and so not tested; throws where the list CLOZE_REQUIRE names it.
inline void absent(const std::string &what, const std::string &why) {
    const char *set = std::getenv("CLOZE_REQUIRE");
    const std::string required = set == nullptr ? "" : set;
    if (("," + required + ",").find("," + what + ",") != std::string::npos)
        throw std::runtime_error("CLOZE_REQUIRE=" + required + ": " + why);
    std::cerr << "SKIPPED (" << what << "): " << why << '\n';
}

inline std::string content(const std::filesystem::path &file) {
    std::ifstream in(file, std::ios::binary);
    if (!in) throw std::runtime_error(file.string() + " cannot be read");
    return {std::istreambuf_iterator<char>(in), {}};
}

/// A new folder that goes with the object.
class TemporaryFolder {
public:
    TemporaryFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "cloze-XXXXXX").string();
        if (mkdtemp(name.data()) == nullptr) throw std::runtime_error(name + " cannot be made");
        path_ = name;
    }
    TemporaryFolder(const TemporaryFolder &) = delete;
    TemporaryFolder &operator=(const TemporaryFolder &) = delete;
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    std::string operator/(const std::string &name) const { return (path_ / name).string(); }

private:
    std::filesystem::path path_;
};

inline int run_tests() {
    for (const auto &[name, test] : tests()) {
        const int before = failures;
        try {
            test();
        } catch (const std::exception &error) {
            fail(name.c_str(), 0, error.what());
        }
        std::cout << (failures == before ? "ok     " : "FAILED ") << name << '\n';
    }
    std::cout << tests().size() << " tests, " << failures << " failures\n";
    return failures == 0 ? 0 : 1;
}
