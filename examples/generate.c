/* How does a text go on?  generate FOLDER "Once upon a"
 *
 *     cc -std=c99 generate.c -lcloze -o generate
 */
#include <cloze.h>
#include <stdio.h>
#include <stdlib.h>

struct stream {
    const cloze_model *model;
    int first;
};

/* Prints a token as soon as it is there: as the vocabulary spells it, "##" and all. */
static int print_token(void *user, const cloze_new_token *token) {
    struct stream *stream = user;
    char text[64] = "";
    size_t size;
    cloze_token_text(stream->model, token->id, text, sizeof text, &size, NULL);
    printf("%s%s", stream->first ? "" : " ", text);
    fflush(stdout);
    stream->first = 0;
    return 0;
}

int main(int argc, char **argv) {
    cloze_error error;
    cloze_model *model = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: generate FOLDER TEXT\n");
        return 2;
    }
    if (cloze_model_open(argv[1], NULL, &model, &error)) {
        fprintf(stderr, "generate: %s\n", error.message);
        return 1;
    }
    struct stream stream = { model, 1 };
    cloze_generate_options options = CLOZE_GENERATE_OPTIONS_INIT;
    options.max_tokens = 20;
    options.token = print_token;
    options.user = &stream;
    cloze_input prompt = cloze_text(argv[2]);
    size_t count = 0;
    cloze_generate(model, &prompt, 1, &options, NULL, 0, &count, &error); /* asks how many at most; generates nothing */
    cloze_new_token *tokens = malloc((count + 1) * sizeof *tokens);
    int failed = !tokens || cloze_generate(model, &prompt, 1, &options, tokens, count, &count, &error);
    if (!failed) {
        double sum = 0;
        for (size_t i = 0; i < count; i++)
            sum += tokens[i].log_probability;
        printf("\n%zu tokens, log-probability %.3f\n", count, sum);
    } else {
        fprintf(stderr, "generate: %s\n", error.message);
    }
    free(tokens);
    cloze_model_close(model);
    return failed;
}
