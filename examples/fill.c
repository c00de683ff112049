/* Which words fit?  fill FOLDER "Paris is the [MASK] of France."
 *
 *     cc -std=c99 fill.c -lcloze -o fill
 */
#include <cloze.h>
#include <stdio.h>

int main(int argc, char **argv) {
    cloze_error error;
    cloze_model *model = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: fill FOLDER \"A sentence with a [MASK].\"\n");
        return 2;
    }
    if (cloze_model_open(argv[1], NULL, &model, &error)) {
        fprintf(stderr, "fill: %s\n", error.message);
        return 1;
    }

    cloze_input sentence = cloze_text(argv[2]);
    cloze_candidate words[64]; /* five for each mask */
    size_t count = 0;
    cloze_status status = cloze_fill(model, &sentence, 1, NULL, words, 64, &count, &error);
    for (size_t i = 0; status == CLOZE_OK && i < count; i++) {
        char word[64];
        size_t size;
        status = cloze_token_text(model, words[i].id, word, sizeof word, &size, &error);
        if (i > 0 && words[i].position != words[i - 1].position) printf("\n");
        if (status == CLOZE_OK) printf("%.3f %s\n", words[i].probability, word);
    }
    if (status) fprintf(stderr, "fill: %s\n", error.message);

    cloze_model_close(model);
    return status != CLOZE_OK;
}
