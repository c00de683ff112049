/* Which sentence is likelier?  score FOLDER "He has a dog." "He have a dog."
 *
 *     cc -std=c99 score.c -lcloze -lm -o score
 */
#include <cloze.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The logarithm of the probability of every token, and their mean. */
static double print_score(const cloze_model *model, const char *sentence, cloze_error *error) {
    cloze_input input = cloze_text(sentence);
    size_t count = 0;
    cloze_score_tokens(model, &input, 1, NULL, NULL, 0, &count, error); /* asks how many; scores nothing */
    cloze_token_score *tokens = malloc((count + 1) * sizeof *tokens);
    double sum = NAN;
    if (tokens && !cloze_score_tokens(model, &input, 1, NULL, tokens, count, &count, error)) {
        sum = 0;
        for (size_t i = 0; i < count; i++) {
            char text[64] = "";
            size_t size;
            cloze_token_text(model, tokens[i].id, text, sizeof text, &size, error);
            printf("%8.3f %s\n", tokens[i].log_probability, text);
            sum += tokens[i].log_probability;
        }
        printf("%8.3f a token: %s\n\n", sum / (double)count, sentence);
    }
    free(tokens);
    return sum / (double)count;
}

int main(int argc, char **argv) {
    cloze_error error;
    cloze_model *model = NULL;
    if (argc != 4) {
        fprintf(stderr, "usage: score FOLDER SENTENCE SENTENCE\n");
        return 2;
    }
    if (cloze_model_open(argv[1], NULL, &model, &error)) {
        fprintf(stderr, "score: %s\n", error.message);
        return 1;
    }
    double first = print_score(model, argv[2], &error);
    double second = isnan(first) ? NAN : print_score(model, argv[3], &error);
    cloze_model_close(model);
    if (isnan(first) || isnan(second)) {
        fprintf(stderr, "score: %s\n", error.message);
        return 1;
    }
    printf("likelier: %s\n", first >= second ? argv[2] : argv[3]);
    return 0;
}
