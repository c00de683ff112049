/* Prints the likeliest word for the blank.  main FOLDER SENTENCE */
#include <cloze.h>
#include <stdio.h>

int main(int argc, char **argv) {
    cloze_error error;
    cloze_model *model = NULL;
    cloze_input sentence = cloze_text(argv[argc - 1]);
    cloze_fill_options options = CLOZE_FILL_OPTIONS_INIT;
    cloze_candidate best;
    char word[64];
    size_t count, size;
    options.top_k = 1;
    cloze_status status = cloze_model_open(argv[1], NULL, &model, &error);
    if (!status) status = cloze_fill(model, &sentence, 1, &options, &best, 1, &count, &error);
    if (!status) status = cloze_token_text(model, best.id, word, sizeof word, &size, &error);
    puts(status ? error.message : word);
    cloze_model_close(model);
    return status;
}
