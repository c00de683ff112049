// What the C++ interface costs: embeds the same texts through C and through C++, turn by turn.  overhead MODEL [ROUNDS]
#include <cloze.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

/// A thousand short texts, each of its own.
static std::vector<std::string> texts() {
    const char *const who[] = {"the old man", "a child",    "my sister",  "the captain",
                               "nobody",      "a stranger", "the doctor", "she"};
    const char *const does[] = {"opened", "watched", "forgot", "carried", "found"};
    const char *const what[] = {"the door", "a letter", "the sea", "his hat", "some bread"};
    const char *const when[] = {"", " at night", " in the garden", " before dawn", " again"};
    std::vector<std::string> texts;
    for (const char *subject : who)
        for (const char *verb : does)
            for (const char *object : what)
                for (const char *time : when)
                    texts.push_back(std::string(subject) + ' ' + verb + ' ' + object + time + '.');
    return texts;
}

static std::vector<float> through_c(const cloze_model *model, const std::vector<std::string> &texts,
                                    std::size_t width) {
    std::vector<cloze_input> inputs;
    for (const std::string &text : texts) inputs.push_back(cloze_text(text.c_str()));
    std::vector<float> vectors(texts.size() * width);
    std::size_t count;
    cloze_error error;
    if (cloze_embed(model, inputs.data(), inputs.size(), nullptr, vectors.data(), vectors.size(), &count, &error) !=
        CLOZE_OK)
        throw std::runtime_error(error.message);
    return vectors;
}

template <class Run> static double seconds(Run run) {
    const auto start = std::chrono::steady_clock::now();
    run();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

static double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

int main(int argc, char **argv) try {
    if (argc < 2) {
        std::fprintf(stderr, "usage: overhead MODEL [ROUNDS]\n");
        return 2;
    }
    const int rounds = argc > 2 ? std::atoi(argv[2]) : 15;
    const cloze::Model model(argv[1]);
    const std::vector<std::string> given = texts();
    const std::size_t width = model.info().embedding;
    if (through_c(model.get(), given, width) != model.embed(given).values()) throw std::runtime_error("other vectors");
    std::vector<double> c, cpp, ratios;
    for (int i = 0; i < rounds; i++) {
        const auto one = [&] { c.push_back(seconds([&] { through_c(model.get(), given, width); })); };
        const auto other = [&] { cpp.push_back(seconds([&] { model.embed(given); })); };
        if (i % 2 == 0) one(), other(); // neither is always the first
        else other(), one();
        ratios.push_back(cpp.back() / c.back());
    }
    std::printf("embed of %zu texts: C %.1f ms, C++ %.1f ms, C++ / C %.4f (medians of %d)\n", given.size(),
                1e3 * median(c), 1e3 * median(cpp), median(ratios), rounds);
    // All that is not the library's: the inputs, the buffer, the options.
    const double own = seconds([&] {
        for (int i = 0; i < 1000; i++) {
            const cloze::Inputs inputs(given);
            const cloze::Matrix rows(std::vector<float>(inputs.size() * width), width);
            if (rows.size() != inputs.size()) std::abort();
        }
    });
    std::printf("the C++ side of a call, alone: %.1f us\n", 1e3 * own);
} catch (const std::exception &error) {
    std::fprintf(stderr, "overhead: %s\n", error.what());
    return 1;
}
