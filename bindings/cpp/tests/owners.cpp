// What only C++ can do wrong: owners that move, lifetimes, exceptions across C, views, threads.
#include "check.hpp"

#include <array>
#include <atomic>
#include <thread>

using cloze::Dataset;
using cloze::File;
using cloze::Input;
using cloze::Model;
using cloze::Target;
using cloze::Trainer;

static const char *const config =
    R"({"model_type": "bert", "architectures": ["BertForPreTraining"], "vocab_size": 8192, "hidden_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 128})";

/// Folder of a model of random weights with the tokenizer of the shipped one, small enough for valgrind.
static const std::string &small() {
    static const TemporaryFolder folder;
    static const std::string saved = [] {
        Model::create(config, (root() / "model").string()).save(folder / "model");
        return folder / "model";
    }();
    return saved;
}
static const char *const blank = "She opened the [MASK] and looked out.";

static_assert(!std::is_copy_constructible_v<Model> && std::is_nothrow_move_constructible_v<Model>);
static_assert(!std::is_copy_constructible_v<Trainer> && std::is_nothrow_move_constructible_v<Trainer>);
static_assert(!std::is_copy_constructible_v<Dataset> && std::is_nothrow_move_constructible_v<Dataset>);
static_assert(!std::is_copy_constructible_v<cloze::Corpus> && std::is_nothrow_move_constructible_v<cloze::Corpus>);
static_assert(!std::is_copy_constructible_v<cloze::Cancel> && std::is_nothrow_move_assignable_v<cloze::Cancel>);

/// The files of that model, as a program would have them in memory.
static std::vector<File> files() {
    std::vector<File> files;
    for (const char *name : {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"})
        files.push_back(File::owned(name, content(std::filesystem::path(small()) / name)));
    return files;
}

static Dataset moods() {
    Dataset data;
    data.add({"She laughed and danced with joy.", "He wept over the grave."},
             {Target::label("glad"), Target::label("sad")});
    data.add("It was the happiest morning of her life.", Target::label("glad"));
    data.add("The poor child cried all night.", Target::label("sad"));
    return data;
}

static cloze::TrainOptions head_only() {
    cloze::TrainOptions options;
    options.trainable = cloze::Trainable::head;
    options.epochs = 2;
    options.learning_rate = 1e-3f;
    return options;
}

TEST(versions_are_those_of_the_header) {
    CHECK_EQUAL(cloze::abi(), static_cast<std::uint32_t>(CLOZE_ABI));
    CHECK(std::string(cloze::version()).find('.') != std::string::npos);
}

TEST(a_moved_model_answers_and_the_empty_one_throws) {
    Model first(small());
    const cloze::Candidate expected = first.fill(blank).at(0);
    const auto same = [&](const cloze::Candidate &word) {
        return word.id == expected.id && word.probability == expected.probability;
    };
    Model second(std::move(first));
    CHECK(same(second.fill(blank).at(0)));
    CHECK_ERROR(first.fill(blank), invalid_argument, "model");
    first = std::move(second);
    CHECK(same(first.fill(blank).at(0)));
}

TEST(files_in_memory_live_as_long_as_what_reads_them) {
    std::vector<float> expected = Model(small()).embed(blank)[0];
    auto trainer = [&] {
        auto model = std::make_unique<Model>(files());
        CHECK(model->embed(blank)[0] == expected);
        *model = Model(files()); // the first model's files go while the second answers
        CHECK(model->embed(blank)[0] == expected);
        return Trainer(*model, head_only(), moods());
    }();
    trainer.fit(moods());
    Model taught = trainer.snapshot();
    trainer = Trainer(taught, head_only());
    CHECK(taught.embed(blank)[0] == expected);
    CHECK_EQUAL(trainer.labels().size(), 2u);
}

TEST(a_file_in_memory_keeps_its_owner) {
    auto data = std::make_shared<const std::string>(content(small() + "/config.json"));
    std::weak_ptr<const std::string> watched = data;
    {
        std::vector<File> all = files();
        all[0] = {"config.json", data->data(), data->size(), data};
        Model model(std::move(all));
        data.reset();
        CHECK(!watched.expired());
        Model other = std::move(model);
        CHECK_EQUAL(other.info().layers, 2u);
    }
    CHECK(watched.expired());
}

TEST(what_a_callback_throws_comes_out_of_the_call) {
    struct Own {};
    Model model(small());
    cloze::FillOptions options;
    options.progress = [](std::uint64_t, std::uint64_t) -> bool { throw Own(); };
    try {
        model.fill(blank, options);
        CHECK(!"an exception");
    } catch (const Own &) {
    }
    Trainer trainer(model, head_only(), moods());
    cloze::FitOptions fit;
    fit.observe = [](const cloze::TrainEvent &event) -> bool { throw event.step; };
    try {
        trainer.fit(moods(), fit);
        CHECK(!"an exception");
    } catch (std::uint64_t step) {
        CHECK_EQUAL(step, 1u);
    }
    CHECK_EQUAL(trainer.info().steps, 1u);
    CHECK_EQUAL(trainer.fit(moods()).steps, 2u); // it goes on
}

TEST(a_call_stops_by_flag_and_by_callback) {
    Model model(small());
    cloze::Cancel cancel;
    cloze::ScoreOptions options;
    options.cancel = &cancel;
    cancel.set();
    CHECK_ERROR(model.score(blank, options), cancelled, "cancel");
    cancel.reset();
    CHECK_EQUAL(model.score(blank, options).size(), 1u);
    options.progress = [&](std::uint64_t, std::uint64_t) { return false; };
    bool stopped = false;
    try {
        model.score(blank, options);
    } catch (const cloze::Cancelled &) {
        stopped = true;
    }
    CHECK(stopped);
}

TEST(a_flag_set_by_another_thread_stops_a_training) {
    Model model(small());
    cloze::TrainOptions options = head_only();
    options.epochs = 100000;
    Trainer trainer(model, options, moods());
    cloze::Cancel cancel;
    std::atomic<bool> running{false};
    std::thread other([&] {
        while (!running) std::this_thread::yield();
        cancel.set();
    });
    cloze::FitOptions fit;
    fit.cancel = &cancel;
    fit.observe = [&](const cloze::TrainEvent &) { return running = true; };
    CHECK_ERROR(trainer.fit(moods(), fit), cancelled, "");
    other.join();
    CHECK(trainer.info().steps >= 1);
}

TEST(one_call_at_a_time_on_a_trainer) {
    Model model(small());
    Dataset data = moods();
    Trainer trainer(model, head_only(), data);
    cloze::FitOptions fit;
    int busy = 0;
    fit.observe = [&](const cloze::TrainEvent &) {
        try {
            trainer.apply();
        } catch (const cloze::Error &error) {
            busy += error.status() == cloze::Status::busy;
        }
        return true;
    };
    trainer.fit(data, fit);
    CHECK_EQUAL(busy, 2);
}

TEST(every_way_to_give_texts) {
    Model model(small());
    const std::string text = "The sea was calm.";
    const std::vector<float> expected = model.embed("The sea was calm.")[0];
    const std::vector<std::string> strings{text, "no"};
    const std::array<std::string_view, 2> views{text, "no"};
    const char *const pointers[] = {"The sea was calm.", "no"};
    const std::vector<Input> inputs{text, Input::ids({2, 3})};
    CHECK(model.embed(text)[0] == expected);
    CHECK(model.embed(std::string_view(text))[0] == expected);
    CHECK(model.embed({text, "no"})[0] == expected);
    CHECK(model.embed(strings)[0] == expected);
    CHECK(model.embed(views)[0] == expected);
    CHECK(model.embed(pointers)[0] == expected);
    CHECK(model.embed(inputs)[0] == expected);
    CHECK_EQUAL(model.embed(std::vector<std::string>()).size(), 0u);
    const std::string_view part(text.data(), 7); // no NUL at its end
    CHECK(model.embed(part)[0] == model.embed("The sea")[0]);
    CHECK(model.next_sentence(Input("It rains.", "Take an umbrella.")) ==
          model.next_sentence({{"It rains.", "Take an umbrella."}}));
    CHECK_ERROR(Input::ids({2, 3}, {0}), invalid_argument, "1 types for 2 token ids");
    CHECK_ERROR(model.embed(Input::ids({})), invalid_input, "");
    CHECK_EQUAL(model.tokenize(std::string("a\0b", 3)).size(), model.tokenize("ab").size());
}

/// More results than the first guess has room for.
TEST(results_of_any_number) {
    Model model(small());
    std::string long_text;
    for (int i = 0; i < 60; i++) long_text += "!?";
    CHECK_EQUAL(model.tokenize(long_text).size(), 122u);
    std::string masks;
    for (int i = 0; i < 9; i++) masks += "[MASK] ";
    CHECK_EQUAL(model.fill(masks).size(), 45u);
    CHECK(model.report().size() > 1000);
    std::string seven;
    for (int i = 0; i < 70; i++) seven += "seven ";
    CHECK_EQUAL(model.decode(std::vector<std::int32_t>(70, model.token_id("seven"))),
                seven.substr(0, seven.size() - 1));
}

TEST(rows_are_views_of_a_matrix_and_copies_of_one_that_ends) {
    cloze::Matrix matrix({1, 2, 3, 4, 5, 6}, 3);
    CHECK_EQUAL(matrix.size(), 2u);
    CHECK_EQUAL(matrix[1].data(), matrix.values().data() + 3);
    CHECK((cloze::Matrix({1, 2, 3, 4}, 2)[1] == std::vector<float>{3, 4}));
    CHECK_EQUAL(cloze::Matrix().size(), 0u);
    CHECK_EQUAL(std::move(matrix).values().size(), 6u);
}

TEST(targets_and_inputs_have_to_be_as_many) {
    Dataset data;
    CHECK_ERROR(data.add({"a", "b"}, Target::label("x")), invalid_argument, "1 targets for 2 inputs");
    CHECK_ERROR(data.add_words({"a"}, {"X", "Y"}), invalid_argument, "2 tags for 1 words");
    CHECK_ERROR(data.add({"a", ""}, {Target::label("x"), Target::label("y")}), invalid_input, "example 1");
    CHECK_EQUAL(data.size(), 0u);
    data.add("a", Target::numbers({1, 2}));
    data.add("a", Target::labels({}));
    data.add_words({"a", "b"}, {"X", "Y"});
    data.add_words({"a", "b"});
    data.add("a");
    CHECK_EQUAL(data.size(), 5u);
}

TEST(options_reach_the_library) {
    Model model(small(), cloze::OpenOptions{1});
    CHECK_EQUAL(model.info().threads, 1u);
    CHECK(model.can(cloze::Task::fill) && !model.can(cloze::Task::generate));
    cloze::FillOptions fill;
    fill.targets = std::vector<std::int32_t>{};
    CHECK_ERROR(model.fill(blank, fill), invalid_argument, "target");
    fill.targets = {model.token_id("window")};
    CHECK_EQUAL(model.fill(blank, fill).size(), 1u);
    cloze::FillOptions own_mask;
    own_mask.mask = model.token_id("opened");
    CHECK_EQUAL(model.fill("She opened it.", own_mask).at(0).position, 2u);
    cloze::EmbedOptions unit;
    unit.normalize = true;
    double squares = 0;
    for (float value : model.embed(blank, unit)[0]) squares += value * value;
    CHECK(std::abs(squares - 1) < 1e-5);
    cloze::TokenizeOptions plain;
    plain.plain = true;
    CHECK(model.tokenize("[MASK]", plain).size() > 3);
    CHECK_EQUAL(model.heads().size(), 0u);
}

TEST(what_was_learned_is_kept) {
    TemporaryFolder folder;
    Model model(small());
    Dataset data = moods();
    cloze::TrainOptions options = head_only();
    options.head = "mood";
    options.checkpoints = folder / "checkpoints";
    options.keep_last = true; // what the newest checkpoint has
    Trainer trainer(model, options, data);
    trainer.fit(data, data);
    trainer.save(folder / "saved");
    Model saved(folder / "saved");
    CHECK((saved.heads() == std::vector<std::string>{"mood"}));
    Model with_head = saved.use_head("mood");
    CHECK((with_head.labels() == std::vector<std::string>{"glad", "sad"}));
    CHECK(with_head.classify(blank).values() == trainer.snapshot().use_head("mood").classify(blank).values());
    CHECK_EQUAL(with_head.evaluate(data).at("accuracy"), trainer.evaluate(data).at("accuracy"));
    Trainer again(model, options, data);
    again.resume(folder / "checkpoints");
    CHECK(again.parameters() == trainer.parameters());
    CHECK_ERROR(trainer.save_adapter(folder / "adapter"), invalid_argument, "low-rank");
    with_head.save(folder / "half", cloze::Dtype::f16);
    CHECK(std::filesystem::exists(folder / "half/model.safetensors"));
}

TEST(one_model_serves_many_threads) {
    const Model model(small());
    const std::vector<float> expected = model.embed(blank)[0];
    std::atomic<int> right{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; i++)
        threads.emplace_back([&] {
            for (int j = 0; j < 4; j++) right += model.embed(blank)[0] == expected;
        });
    for (std::thread &thread : threads) thread.join();
    CHECK_EQUAL(right, 32);
}

TEST(devices_are_listed_and_chosen) {
    // A driver that is not there: the same outcome on every machine.
    setenv("CLOZE_CUDA_LIBRARY", "/nowhere/libcuda.so.1", 1);
    const std::vector<cloze::Device> devices = cloze::devices();
    CHECK_EQUAL(devices.size(), 2u);
    const cloze::Device &cpu = devices.at(0), &cuda = devices.at(1);
    CHECK_EQUAL(cpu.id, "cpu");
    CHECK(cpu.usable && cpu.note.empty() && !cpu.name.empty() && cpu.capability == 0);
    CHECK(cpu.precision == cloze::Precision::f32);
    CHECK(cpu.free_memory <= cpu.memory);
    CHECK_EQUAL(cuda.id, "cuda");
    CHECK(!cuda.usable && cuda.memory == 0 && cuda.free_memory == 0);
    const std::string reason = cuda.note.substr(0, cuda.note.find(':')); // no driver, or built without CUDA
    CHECK(reason.find("CUDA") != std::string::npos);

    cloze::OpenOptions options;
    for (const char *device : {"cuda", "cuda:1"}) {
        options.device = device;
        CHECK_ERROR(Model(small(), options), no_device, reason);
        CHECK_ERROR(Model(files(), options), no_device, reason);
    }
    options.device = "abacus";
    CHECK_ERROR(Model(small(), options), invalid_argument, "\"abacus\"");
    options.device = "cpu";
    options.precision = cloze::Precision::f16;
    CHECK_ERROR(Model(small(), options), unsupported, "f16 on the CPU");
    for (const cloze::Precision precision : {cloze::Precision::bf16, cloze::Precision::int8}) {
        options.precision = precision;
        CHECK(Model(small(), options).device().precision == precision);
    }
    options.precision = cloze::Precision::automatic;
    CHECK(Model(small(), options).device().note.empty());
    options.memory = static_cast<cloze::Memory>(7);
    CHECK_ERROR(Model(small(), options), invalid_argument, "memory");
    options.memory = cloze::Memory::least;
    CHECK(Model(small(), options).embed(blank)[0] == Model(small()).embed(blank)[0]);
    options.device = "auto";
    Model model(small(), options);
    CHECK_EQUAL(model.device().id, "cpu");
    CHECK_EQUAL(model.device().name, cpu.name);
    CHECK(model.device().precision == cloze::Precision::f32);
    CHECK(model.device().note.find(reason) != std::string::npos);

    cloze::CreateOptions create;
    create.device = "cuda";
    CHECK_ERROR(Model::create(config, small(), create), no_device, reason);
    create.device = "";
    create.memory = static_cast<cloze::Memory>(7);
    CHECK_ERROR(Model::create(config, small(), create), invalid_argument, "memory");
    create.memory = cloze::Memory::fast;
    create.precision = cloze::Precision::f16;
    CHECK_ERROR(Model::create(config, small(), create), unsupported, "f16 on the CPU");
}

int main() { return run_tests(); }
