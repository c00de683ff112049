// bindings/vectors.json through the C++ interface: calls and what they have to answer. bindings/README.md tells its
// form.
#include "reading.hpp"

#include <map>

using cloze::Model;
using cloze::Trainer;

namespace {

struct Vectors {
    explicit Vectors(Json json) : file(std::move(json)) {
        for (const auto &[name, folder] : file["models"].fields())
            models.emplace(name, Model((root() / folder.text()).string(), open_options()));
    }
    cloze::OpenOptions open_options() const { return {file["threads"].as<std::uint32_t>()}; }
    const Json &constants() const { return file["constants"]; }
    const Json::List &examples(const Json &given) const {
        return (given.is_text() ? file["datasets"][given.text()] : given).list();
    }

    Json file;
    std::map<std::string, Model> models;
};

/// Options of a call with the case's flag and callback in them.
template <class Options> struct Watched : Options {
    explicit Watched(const Json &given) {
        this->cancel = &flag;
        const std::string how = given.has("cancel") ? given["cancel"].text() : "";
        if (how == "before") flag.set();
        if (how == "progress") this->progress = [](std::uint64_t, std::uint64_t) { return false; };
    }
    cloze::Cancel flag;
};

Json ask(const Vectors &vectors, const Model &model, const Json &given);

Json open_memory(const Vectors &vectors, const Json &given) {
    std::vector<cloze::File> files;
    for (const std::string &name : list_of<std::string>(given["files"]))
        files.push_back(cloze::File::owned(name, content(root() / given["folder"].text() / name)));
    const Model model(std::move(files));
    return given.has("then") ? ask(vectors, model, given["then"]) : Json();
}

Json tokenize(const Vectors &vectors, const Model &model, const Json &given) {
    cloze::TokenizeOptions options;
    Fields fields(vectors.constants(), given["options"]);
    fields.take_text(options);
    fields.take("max_tokens", options.max_tokens);
    fields.take("offsets", options.offsets);
    return JSON_OF(model.tokenize(inputs_of(given), options), FIELD(input), FIELD(id), FIELD(type), FIELD(word),
                   FIELD(text), FIELD(position), FIELD(start), FIELD(end));
}

Json fill(const Vectors &vectors, const Model &model, const Json &given) {
    Watched<cloze::FillOptions> options(given);
    Fields fields(vectors.constants(), given["options"]);
    fields.take_text(options);
    fields.take("max_tokens", options.max_tokens);
    fields.take("top_k", options.top_k);
    fields.take("targets", options.targets);
    return JSON_OF(model.fill(inputs_of(given), options), FIELD(input), FIELD(position), FIELD(id), FIELD(probability));
}

Json score(const Vectors &vectors, const Model &model, const Json &given) {
    Watched<cloze::ScoreOptions> options(given);
    Fields fields(vectors.constants(), given["options"]);
    fields.take_text(options);
    fields.take("max_tokens", options.max_tokens);
    fields.take("method", options.method);
    const auto scores = model.score(inputs_of(given), options);
    return Json::Fields{{"scores", JSON_OF(scores, FIELD(log_likelihood), FIELD(tokens))},
                        {"tokens", JSON_OF(model.score_tokens(inputs_of(given), options), FIELD(input), FIELD(position),
                                           FIELD(id), FIELD(log_probability))},
                        {"perplexity", cloze::perplexity(scores)}};
}

Json embed(const Vectors &vectors, const Model &model, const Json &given) {
    Watched<cloze::EmbedOptions> options(given);
    Fields fields(vectors.constants(), given["options"]);
    fields.take_text(options);
    fields.take("max_tokens", options.max_tokens);
    fields.take("pooling", options.pooling);
    fields.take("normalize", options.normalize);
    fields.take("prompt", options.prompt);
    return Json::Fields{{"embeddings", json_of(model.embed(inputs_of(given), options))}};
}

Json tag(const Vectors &vectors, const Model &model, const Json &given) {
    Watched<cloze::TagOptions> options(given);
    Fields fields(vectors.constants(), given["options"]);
    fields.take_text(options);
    fields.take("max_tokens", options.max_tokens);
    fields.take("aggregation", options.aggregation);
    fields.take("offsets", options.offsets);
    fields.take("keep_outside", options.keep_outside);
    return JSON_OF(model.tag(inputs_of(given), options), FIELD(input), FIELD(label), FIELD(start), FIELD(end),
                   FIELD(probability));
}

Json generate(const Vectors &vectors, const Model &model, const Json &given) {
    Watched<cloze::GenerateOptions> options(given);
    Fields fields(vectors.constants(), given["options"]);
    fields.take_text(options);
    fields.take("prompt_tokens", options.prompt_tokens);
    fields.take("max_tokens", options.max_tokens);
    fields.take("count", options.count);
    fields.take("temperature", options.temperature);
    fields.take("top_k", options.top_k);
    fields.take("top_p", options.top_p);
    fields.take("seed", options.seed);
    // Token by token is what the call returns, but for the order of the continuations.
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<std::int32_t>> told, returned;
    options.token = [&](const cloze::NewToken &token) {
        told[{token.input, token.continuation}].push_back(token.id);
        return true;
    };
    const auto tokens = model.generate(inputs_of(given), options);
    for (const cloze::NewToken &token : tokens) returned[{token.input, token.continuation}].push_back(token.id);
    CHECK(told == returned);
    return JSON_OF(tokens, FIELD(input), FIELD(continuation), FIELD(id), FIELD(log_probability));
}

Json dataset_read(const Vectors &vectors, const Json &given) {
    const TemporaryFolder folder;
    const std::string file = folder / given["file"].text();
    if (given.has("content")) std::ofstream(file, std::ios::binary) << given["content"].text();
    cloze::ReadOptions options;
    Fields fields(vectors.constants(), given["options"]);
    fields.take("format", options.format);
    fields.take("header", options.header);
    fields.take("text", options.text);
    fields.take("pair", options.pair);
    fields.take("target", options.target);
    const auto kind = static_cast<cloze::TargetKind>(vectors.constants()[given["kind"].text()].as<std::uint32_t>());
    return Json::Fields{{"count", cloze::Dataset::read(file, kind, options).size()}};
}

Json json_of_corpus(const cloze::Corpus &corpus) {
    const cloze::CorpusState value = corpus.info();
    CHECK_EQUAL(corpus.notices().size(), value.notices);
    return Json::Fields{FIELD(notices), FIELD(documents), FIELD(sentences), FIELD(tokens)};
}

Json corpus(const Model &model, const Json &given) {
    const TemporaryFolder folder;
    if (given.has("content")) std::ofstream(folder / "text.txt", std::ios::binary) << given["content"].text();
    return json_of_corpus(cloze::Corpus(model, folder / "text.txt"));
}

/// Calls of one model.
Json ask(const Vectors &vectors, const Model &model, const Json &given) {
    const std::string &call = given["call"].text();
    const auto path = [&](const char *field) { return (root() / given[field].text()).string(); };
    const auto number = [&](const char *field) {
        return static_cast<std::uint32_t>(Fields::number(vectors.constants(), given[field]));
    };
    const auto call_options = [&](cloze::CallOptions &options) {
        Fields fields(vectors.constants(), given["options"]);
        fields.take_text(options);
        fields.take("max_tokens", options.max_tokens);
    };
    if (call == "info") {
        const cloze::Info &value = model.info();
        return Json::Fields{FIELD(layers),        FIELD(hidden),        FIELD(heads),       FIELD(intermediate),
                            FIELD(vocabulary),    FIELD(words),         FIELD(token_types), FIELD(max_tokens),
                            FIELD(max_positions), FIELD(embedding),     FIELD(labels),      FIELD(problem),
                            FIELD(tasks),         FIELD(has_tokenizer), FIELD(threads),     FIELD(parameters)};
    }
    if (call == "open") return Model(path("folder")).report();
    if (call == "open_memory") return open_memory(vectors, given);
    if (call == "label") return model.label(number("label"));
    if (call == "head") { // C++ has the list
        const std::vector<std::string> heads = model.heads();
        if (number("head") >= heads.size()) throw cloze::Error(cloze::Status::missing, "no such head");
        return heads[number("head")];
    }
    if (call == "tokenize") return tokenize(vectors, model, given);
    if (call == "token_text") return model.token_text(given["id"].as<std::int32_t>());
    if (call == "token_id") return model.token_id(given["token"].text());
    if (call == "decode") return model.decode(list_of<std::int32_t>(given["ids"]));
    if (call == "fill") return fill(vectors, model, given);
    if (call == "score") return score(vectors, model, given);
    if (call == "embed") return embed(vectors, model, given);
    if (call == "tag") return tag(vectors, model, given);
    if (call == "generate") return generate(vectors, model, given);
    if (call == "use_head") return model.use_head(given["head"].text()).report();
    if (call == "adapt") return model.adapt(path("folder")).report();
    if (call == "save") {
        model.save(path("folder"), static_cast<cloze::Dtype>(number("dtype")));
        return {};
    }
    if (call == "evaluate") {
        const auto objective = static_cast<cloze::Objective>(number("objective"));
        return json_of(model.evaluate(dataset_of(vectors.examples(given["examples"])), objective));
    }
    if (call == "whiten") return ask(vectors, model.whiten(inputs_of(given), number("width")), given["then"]);
    if (call == "dataset") return dataset_of(vectors.examples(given["examples"])).size();
    if (call == "dataset_read") return dataset_read(vectors, given);
    if (call == "create") return Model::create(given["config"].dump(), path("tokenizer")).report();
    if (call == "vocabulary") {
        const TemporaryFolder folder;
        cloze::learn_vocabulary(path("path"), folder / "vocabulary");
        return {};
    }
    if (call == "corpus") return corpus(model, given);

    Watched<cloze::CallOptions> options(given);
    call_options(options);
    if (call == "next_sentence")
        return Json::Fields{{"is_next", Json::list(model.next_sentence(inputs_of(given), options))}};
    if (call == "classify") return Json::Fields{{"values", json_of(model.classify(inputs_of(given), options))}};
    if (call == "tag_tokens")
        return Json::Fields{{"probabilities", json_of(model.tag_tokens(inputs_of(given), options))}};
    if (call == "hidden_states") {
        const auto states = model.hidden_states(inputs_of(given), list_of<std::uint32_t>(given["layers"]), options);
        return Json::Fields{{"count", states.values().size()}, {"states", json_of(states, 8)}};
    }
    throw std::runtime_error(call + ": no call");
}

/// Each model's answers to the questions of the case, which have to be alike.
Json then(const Vectors &vectors, const Json &given, const std::vector<Model> &models) {
    Json::List answers;
    const Json close(Json::Fields{{"default", 1e-6}});
    for (std::size_t i = 0; i < models.size(); i++) {
        Json::List own;
        if (given.has("then"))
            for (const Json &question : given["then"].list()) own.push_back(ask(vectors, models[i], question));
        if (i == 0) answers = own;
        CHECK_EQUAL(difference(Tolerances(close, close), "", own, answers), "");
    }
    return answers;
}

/// Runs a fit and tells of its steps, its evaluations and what it came to.
template <class Fit> Json watched_fit(const Json &given, Fit fit) {
    Json::List steps, evaluations;
    cloze::FitOptions options;
    options.observe = [&](const cloze::TrainEvent &value) {
        if (cloze::kind(value) == cloze::EventKind::step) {
            Json row(Json::Fields{FIELD(step), FIELD(total), FIELD(epoch), FIELD(loss), FIELD(learning_rate),
                                  FIELD(gradient_norm), FIELD(examples), FIELD(tokens)});
            if (value.mlm_loss > 0 || value.nsp_loss > 0) {
                row.set("mlm_loss", value.mlm_loss);
                row.set("nsp_loss", value.nsp_loss);
            }
            steps.push_back(std::move(row));
        } else if (cloze::kind(value) == cloze::EventKind::evaluation) {
            evaluations.push_back(
                Json::Fields{FIELD(step), {"best", value.best == 1}, {"metrics", json_of(cloze::metrics(value))}});
        }
        return !(given.has("stop_at") && given["stop_at"].as<std::uint64_t>() == value.step);
    };
    const cloze::FitResult value = fit(options);
    return Json::Fields{{"steps", steps},
                        {"evaluations", evaluations},
                        {"result", Json::Fields{FIELD(stopped_early), FIELD(steps), FIELD(epochs), FIELD(best_step),
                                                FIELD(best_value)}}};
}

Json train(const Vectors &vectors, const Model &model, const Json &given) {
    const cloze::Dataset data = dataset_of(vectors.examples(given["examples"]));
    const cloze::TrainOptions options = train_options(vectors.constants(), given["options"]);
    Trainer trainer(model, options, data);
    Json answer = watched_fit(given, [&](const cloze::FitOptions &watch) {
        if (!given.has("dev")) return trainer.fit(data, watch);
        return trainer.fit(data, dataset_of(vectors.examples(given["dev"])), watch);
    });
    answer.set("labels", Json::list(trainer.labels()));
    answer.set("metrics", json_of(trainer.evaluate(data)));
    const TemporaryFolder folder;
    std::vector<Model> models;
    for (const std::string &way : list_of<std::string>(given["keep"])) {
        const std::string place = folder / way;
        if (way == "snapshot") {
            models.push_back(trainer.snapshot());
        } else if (way == "adapter") {
            trainer.save_adapter(place);
            models.push_back(model.adapt(place));
        } else {
            trainer.save(place);
            Model saved(place, vectors.open_options());
            models.push_back(way == "head" ? saved.use_head(options.head) : std::move(saved));
        }
    }
    answer.set("then", then(vectors, given, models));
    return answer;
}

Json steps(const Vectors &vectors, const Model &model, const Json &given) {
    const Json::List &examples = vectors.examples(given["examples"]);
    const cloze::Dataset data = dataset_of(examples);
    Trainer trainer(model, train_options(vectors.constants(), given["options"]), data);
    const std::vector<float> start = trainer.parameters();
    Json::List answers;
    for (const Json &step : given["do"].list()) {
        const auto &[name, argument] = step.fields().front();
        if (name == "accumulate") {
            const auto numbers = list_of<std::size_t>(argument);
            answers.push_back(Json::Fields{{"loss", trainer.accumulate(data.select(numbers))}});
        } else if (name == "apply") {
            answers.push_back(Json::Fields{{"gradient_norm", trainer.apply(argument.as<float>())}});
        } else if (name == "exchange_gradients") {
            const std::vector<float> gradients = trainer.gradients();
            trainer.set_gradients(gradients);
            answers.push_back(summary(gradients));
        } else if (name == "read_buffers") {
            std::vector<float> gradients;
            for (const cloze_buffer &buffer : trainer.gradient_buffers())
                gradients.insert(gradients.end(), buffer.data, buffer.data + buffer.count);
            answers.push_back(summary(gradients));
        } else if (name == "checkpoint_and_resume") {
            const TemporaryFolder folder;
            trainer.checkpoint(folder / "checkpoint");
            trainer.resume(folder / "checkpoint");
            answers.push_back(summary(trainer.parameters()));
        } else if (name == "average_with_start") {
            std::vector<float> mean = trainer.parameters();
            for (std::size_t i = 0; i < mean.size(); i++) mean[i] = (mean[i] + start[i]) / 2;
            trainer.set_parameters(mean);
            answers.push_back(summary(mean));
        } else if (name == "set_parameters") {
            trainer.set_parameters(std::vector<float>(argument.as<std::size_t>()));
            answers.emplace_back();
        } else if (name == "save_adapter") {
            const TemporaryFolder folder;
            trainer.save_adapter(folder / "adapter");
            answers.emplace_back();
        } else {
            throw std::runtime_error(name + ": no step");
        }
    }
    std::vector<Model> models;
    models.push_back(trainer.snapshot());
    return Json::Fields{
        {"labels", Json::list(trainer.labels())}, {"do", answers}, {"then", then(vectors, given, models)}};
}

Json solve(const Vectors &vectors, const Model &model, const Json &given) {
    const cloze::Dataset data = dataset_of(vectors.examples(given["examples"]));
    Trainer trainer(model, train_options(vectors.constants(), given["options"]), data);
    cloze::SolveOptions options;
    Fields fields(vectors.constants(), given["solve"]);
    fields.take("method", options.method);
    fields.take("strength", options.strength);
    const double strength = trainer.solve(data, options);
    std::vector<Model> models;
    models.push_back(trainer.snapshot());
    return Json::Fields{
        {"strength", strength}, {"metrics", json_of(trainer.evaluate(data))}, {"then", then(vectors, given, models)}};
}

Json pretrain(const Vectors &vectors, const Json &given) {
    const TemporaryFolder folder;
    const std::string text = folder / "text.txt", vocabulary = folder / "vocabulary";
    std::string documents;
    for (const Json &document : given["text"].list()) documents += (documents.empty() ? "" : "\n\n") + document.text();
    std::ofstream(text, std::ios::binary) << documents;

    cloze::VocabularyOptions learn;
    Fields of_vocabulary(vectors.constants(), given["vocabulary"]);
    of_vocabulary.take("tokens", learn.tokens);
    of_vocabulary.take("casing", learn.casing);
    of_vocabulary.take("lines", learn.lines);
    of_vocabulary.take("min_frequency", learn.min_frequency);
    of_vocabulary.take("max_tokens", learn.max_tokens);
    cloze::learn_vocabulary(text, vocabulary, learn);

    cloze::CreateOptions create;
    Fields of_create(vectors.constants(), given["create"]);
    of_create.take("threads", create.threads);
    of_create.take("objective", create.objective);
    of_create.take("seed", create.seed);
    const Model model = Model::create(given["config"].dump(), vocabulary, create);

    cloze::CorpusOptions read;
    Fields of_corpus(vectors.constants(), given["corpus"]);
    of_corpus.take("lines", read.lines);
    of_corpus.take("max_tokens", read.max_tokens);
    const cloze::Corpus corpus(model, text, read);

    const cloze::TrainOptions options = train_options(vectors.constants(), given["options"]);
    Trainer trainer(model, options);
    Json answer = watched_fit(given, [&](const cloze::FitOptions &watch) { return trainer.pretrain(corpus, watch); });
    Json::List words;
    std::ifstream lines(vocabulary + "/vocab.txt");
    for (std::string line; std::getline(lines, line);) words.emplace_back(line);
    answer.set("vocabulary", words);
    answer.set("corpus", json_of_corpus(corpus));
    std::vector<Model> models;
    models.push_back(trainer.snapshot());
    answer.set("metrics", json_of(models.front().evaluate(corpus, options)));
    answer.set("then", then(vectors, given, models));
    return answer;
}

Json answer(const Vectors &vectors, const Json &given) {
    const Model &model = vectors.models.at(given.has("model") ? given["model"].text() : "base");
    const std::string &call = given["call"].text();
    if (call == "train") return train(vectors, model, given);
    if (call == "steps") return steps(vectors, model, given);
    if (call == "solve") return solve(vectors, model, given);
    if (call == "pretrain") return pretrain(vectors, given);
    return ask(vectors, model, given);
}

/// What is wrong with the answer to a case, or nothing.
std::string judged(const Vectors &vectors, const Json &given) {
    const Json &expected = given["error"];
    try {
        const Json found = answer(vectors, given);
        if (!expected.is_null()) return "answers " + found.dump() + ", expected " + expected.dump();
        return difference(Tolerances(vectors.file["tolerance"], given["tolerance"]), "", found, given["expected"]);
    } catch (const cloze::Error &error) {
        const std::string message = error.what(), status = name(error.status());
        const bool built_without =
            error.status() == cloze::Status::unsupported && message.find("linalg") != std::string::npos;
        const std::string &call = given["call"].text();
        if (built_without && (call == "solve" || call == "whiten")) return "";
        if (expected.is_null()) return status + ": " + message;
        const bool same =
            status == expected["status"].text() && message.find(expected["message"].text()) != std::string::npos;
        return same ? "" : status + ": " + message + ", expected " + expected.dump();
    }
}

} // namespace

TEST(differences_are_found) {
    const Json file = Json::parse(R"({"default": 1e-3, "loss": 0.1})"), none;
    const auto differ = [&](const char *found, const char *expected) {
        return !difference(Tolerances(file, none), "", Json::parse(found), Json::parse(expected)).empty();
    };
    CHECK(!differ(R"([{"a": 1.0, "loss": 2.0}])", R"([{"loss": 2.19, "a": 1.0009}])"));
    for (const auto &[found, expected] :
         std::vector<std::pair<const char *, const char *>>{{R"({"a": 1.0})", R"({"a": 1.0011})"},
                                                            {R"({"loss": 2.0})", R"({"loss": 2.3})"},
                                                            {"[1, 2]", "[1, 2, 3]"},
                                                            {R"({"a": 1})", R"({"b": 1})"},
                                                            {"4", "5"},
                                                            {R"("\u00e9")", R"("e")"},
                                                            {"null", "0.0"}})
        CHECK(differ(found, expected));
}

TEST(every_case_answers_what_the_file_says) {
    const Vectors vectors(Json::parse(content(root() / "bindings/vectors.json")));
    CHECK_EQUAL(vectors.file["format"].as<int>(), 1);
    CHECK(vectors.file["cases"].list().size() > 90);
    for (const Json &given : vectors.file["cases"].list()) {
        const std::string wrong = judged(vectors, given);
        if (!wrong.empty()) fail(given["name"].text().c_str(), 0, wrong);
    }
}

/// all-MiniLM-L6-v2, where it lies beside the checkout, against sentence-transformers: tests/golden_models.
TEST(minilm_embeds_as_sentence_transformers) {
    const std::filesystem::path folder = root() / "../shared/models/minilm";
    const std::filesystem::path golden = root() / "tests/golden_models/minilm";
    if (!std::filesystem::exists(folder)) return absent("shared", folder.string() + " is not there");
    const std::vector<std::string> texts =
        list_of<std::string>(Json::parse(content(golden / "expected.json"))["texts"]);
    const std::vector<float> expected = floats(content(golden / "expected.safetensors"), "embeddings");
    const Model model(folder.string());
    const cloze::Matrix found = model.embed(texts);
    CHECK_EQUAL(found.width(), 384u);
    CHECK_EQUAL(found.values().size(), expected.size());
    for (std::size_t i = 0; i < texts.size(); i++) {
        bool close = true;
        for (std::size_t j = 0; j < found.width(); j++)
            close = close && std::abs(found[i][j] - expected[i * found.width() + j]) <= 1e-5f; // of order 0.05
        if (!close) fail(texts[i].c_str(), 0, "other numbers than sentence-transformers");
    }
    const cloze::Matrix two = model.embed({"Hello world", "How are you"});
    double cosine = 0; // of unit length
    for (std::size_t i = 0; i < two.width(); i++) cosine += two[0][i] * two[1][i];
    CHECK(std::abs(cosine - 0.3624) < 5e-5);
}

int main() { return run_tests(); }
