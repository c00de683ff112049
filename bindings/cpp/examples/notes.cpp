// Sorts notes into folders and learns from every answer while it runs.  notes MODEL FILE
//
// Type a note and it says where it would put it. Enter takes the first folder, a number another one, a name any folder,
// one that is there or a new one. An empty note ends. Learning goes on beside the typing: the top layer and the head,
// anew from all notes. FILE keeps them, "note TAB folder" a line, and the next start learns from them.
//
//     c++ -std=c++17 notes.cpp `pkg-config --cflags --libs cloze` -pthread -o notes
#include <cloze.hpp>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <future>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

struct Guess {
    std::string folder;
    float probability;
};

/// Notes with their folders, and a classifier that follows them.
class Sorter {
public:
    explicit Sorter(const cloze::Model &encoder) : encoder_(encoder) {}
    Sorter(const Sorter &) = delete;
    Sorter &operator=(const Sorter &) = delete;
    ~Sorter() { stop_.set(); } // what learns sees it within about 50 ms

    /// Where a note belongs, the likeliest folder first; nothing before there are two folders to choose from.
    std::vector<Guess> guess(const std::string &note) {
        if (learning_.valid()) model_ = learning_.get(); // waits, and throws what went wrong there
        std::vector<Guess> guesses;
        if (!model_) return guesses;
        const std::vector<float> probabilities = model_->classify(note)[0];
        for (std::size_t i = 0; i < probabilities.size(); i++) guesses.push_back({folders_[i], probabilities[i]});
        std::sort(guesses.begin(), guesses.end(), [](auto &a, auto &b) { return a.probability > b.probability; });
        return guesses;
    }

    /// Takes a note, to be learned.
    void add(const std::string &note, const std::string &folder) {
        if (learning_.valid()) model_ = learning_.get(); // the notes are its own until it is done
        notes_.add(note, cloze::Target::label(folder));
        if (std::find(folders_.begin(), folders_.end(), folder) == folders_.end()) folders_.push_back(folder);
    }

    /// Begins to learn all notes; the next guess is made of it.
    void learn() {
        if (folders_.size() < 2) return;
        learning_ = std::async(std::launch::async, [this] {
            cloze::TrainOptions options;
            options.trainable = cloze::Trainable::top;
            options.layers = 1;
            options.labels = folders_;
            options.learning_rate = 1e-3f;
            options.batch_size = 4;
            options.epochs = 6;
            options.schedule = cloze::Schedule::constant;
            options.dropout = -1;
            cloze::Trainer trainer(encoder_, options);
            cloze::FitOptions fit;
            fit.cancel = &stop_;
            trainer.fit(notes_, fit);
            return trainer.snapshot();
        });
    }

private:
    const cloze::Model &encoder_;
    cloze::Dataset notes_;
    std::vector<std::string> folders_;
    std::optional<cloze::Model> model_;
    cloze::Cancel stop_;
    std::future<cloze::Model> learning_; // the last member: it ends before what it uses
};

/// Gives the notes of a file to the sorter.
static void read(const std::string &file, Sorter &sorter) {
    std::ifstream kept(file);
    std::string line;
    for (int number = 1; std::getline(kept, line); number++) {
        const std::size_t tab = line.rfind('\t');
        if (tab == std::string::npos || tab == 0 || tab + 1 == line.size())
            throw std::runtime_error(file + ':' + std::to_string(number) + ": expected a note, a tab, a folder");
        sorter.add(line.substr(0, tab), line.substr(tab + 1));
    }
    sorter.learn();
}

/// The folder that an answer to guesses means: what is typed, the guess of that number, for nothing the first.
static std::string meant(const std::string &answer, const std::vector<Guess> &guesses) {
    for (std::size_t i = 0; i < guesses.size(); i++)
        if (answer == std::to_string(i + 1) || (i == 0 && answer.empty())) return guesses[i].folder;
    return answer;
}

/// Asks for one note and its folder; false at the end.
static bool ask(Sorter &sorter, std::ofstream &file) {
    std::string note, answer;
    std::cout << "\nnote: " << std::flush;
    if (!std::getline(std::cin, note) || note.empty()) return false;
    std::replace(note.begin(), note.end(), '\t', ' ');
    std::vector<Guess> guesses = sorter.guess(note);
    if (guesses.size() > 3) guesses.resize(3);
    for (std::size_t i = 0; i < guesses.size(); i++)
        std::printf("  %zu %s %.0f %%", i + 1, guesses[i].folder.c_str(), 100 * guesses[i].probability);
    std::printf("%s", guesses.empty() ? "  folder: " : "\n  folder: ");
    std::fflush(stdout);
    if (!std::getline(std::cin, answer)) return false;
    std::replace(answer.begin(), answer.end(), '\t', ' ');
    const std::string folder = meant(answer, guesses);
    if (folder.empty()) return true;
    sorter.add(note, folder);
    sorter.learn();
    file << note << '\t' << folder << '\n' << std::flush;
    if (!file) throw std::runtime_error("the note cannot be written");
    return true;
}

int main(int argc, char **argv) try {
    if (argc != 3) {
        std::cerr << "usage: notes MODEL FILE\n";
        return 2;
    }
    const cloze::Model encoder(argv[1]);
    Sorter sorter(encoder);
    read(argv[2], sorter);
    std::ofstream file(argv[2], std::ios::app);
    if (!file) throw std::runtime_error(argv[2] + std::string(" cannot be written"));
    for (bool more = true; more;) {
        try {
            more = ask(sorter, file);
        } catch (const cloze::Error &error) {
            if (error.status() != cloze::Status::invalid_input) throw; // a text that is none: the next may be one
            std::cerr << "\n  " << error.what() << '\n';
        }
    }
    std::cout << '\n';
} catch (const std::exception &error) {
    std::cerr << "notes: " << error.what() << '\n';
    return 1;
}
