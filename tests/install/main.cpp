// Prints the likeliest word for the blank.  main FOLDER SENTENCE
#include <cloze.hpp>
#include <iostream>

int main(int argc, char **argv) try {
    const cloze::Model model(argv[1]);
    std::cout << model.token_text(model.fill(argv[argc - 1]).at(0).id) << '\n';
} catch (const cloze::Error &error) {
    std::cout << error.what() << '\n';
    return 1;
}
