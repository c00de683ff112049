// Sorts notes into folders and learns from every correction while it runs.  notes MODEL FILE
//
// Type a note and it says where it would put it. Enter agrees; a name, of a folder that is there or of a new one, puts
// the note there instead. Each answer is a few steps of training, of the head alone: the encoder stays as it is. FILE
// keeps the notes, "note TAB folder" a line, and the next start learns from them. An empty note ends.
//
//     c++ -std=c++17 notes.cpp `pkg-config --cflags --libs cloze` -o notes
#include <cloze.hpp>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <optional>
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

    /// Where a note belongs; nothing before there are two folders to choose from.
    std::optional<Guess> guess(const std::string &note) const {
        if (!model_) return std::nullopt;
        const std::vector<float> probabilities = model_->classify(note)[0];
        const auto best = std::max_element(probabilities.begin(), probabilities.end());
        return Guess{folders_[static_cast<std::size_t>(best - probabilities.begin())], *best};
    }

    /// Takes a note and learns from it. A window would call this on a thread of its own, and answer from the model of
    /// before until it is done.
    void file(const std::string &note, const std::string &folder) {
        notes_.push_back({note, folder});
        const bool known = std::find(folders_.begin(), folders_.end(), folder) != folders_.end();
        if (!known) folders_.push_back(folder);
        if (folders_.size() < 2) return;
        if (!known) start();
        for (int step = known ? 4 : 16; step > 0; step--) learn();
        model_ = trainer_->snapshot();
    }

private:
    struct Note {
        std::string text, folder;
    };

    /// A new head, with a label for every folder.
    void start() {
        cloze::TrainOptions options;
        options.trainable = cloze::Trainable::head;
        options.labels = folders_;
        options.dropout = -1;
        trainer_.emplace(encoder_, options);
    }

    /// A step on the newest note and on others in turn, so that what was learned before stays.
    void learn() {
        cloze::Dataset batch;
        batch.add(notes_.back().text, cloze::Target::label(notes_.back().folder));
        for (std::size_t i = std::min<std::size_t>(notes_.size(), 16); i > 1; i--) {
            const Note &note = notes_[next_++ % notes_.size()];
            batch.add(note.text, cloze::Target::label(note.folder));
        }
        trainer_->accumulate(batch);
        trainer_->apply(1e-3f);
    }

    const cloze::Model &encoder_;
    std::vector<Note> notes_;
    std::vector<std::string> folders_;
    std::size_t next_ = 0;
    std::optional<cloze::Trainer> trainer_;
    std::optional<cloze::Model> model_;
};

int main(int argc, char **argv) try {
    if (argc != 3) {
        std::cerr << "usage: notes MODEL FILE\n";
        return 2;
    }
    const cloze::Model encoder(argv[1]);
    Sorter sorter(encoder);
    std::string note, folder;
    for (std::ifstream kept(argv[2]); std::getline(std::getline(kept, note, '\t'), folder);) sorter.file(note, folder);

    std::ofstream file(argv[2], std::ios::app);
    while (std::cout << "note: " << std::flush, std::getline(std::cin, note) && !note.empty()) {
        const auto guess = sorter.guess(note);
        if (guess) std::printf("  %s (%.0f %%)? ", guess->folder.c_str(), 100 * guess->probability);
        else std::printf("  which folder? ");
        std::fflush(stdout);
        if (!std::getline(std::cin, folder)) break;
        if (folder.empty() && guess) folder = guess->folder;
        if (folder.empty()) continue;
        sorter.file(note, folder);
        file << note << '\t' << folder << std::endl;
    }
    std::cout << '\n';
} catch (const cloze::Error &error) {
    std::cerr << "notes: " << error.what() << '\n';
    return 1;
}
