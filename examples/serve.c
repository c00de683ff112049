/* Answers line by line: what kind of text it is, and the names in it.  serve CLASSIFIER TAGGER < texts
 *
 * Two folders, two open models, one program that stays: what stands behind a socket or a queue looks the same. A line that
 * cannot be answered gets its message; the next is read all the same.
 *
 *     cc -std=c99 serve.c -lcloze -o serve
 */
#include <cloze.h>
#include <stdio.h>
#include <string.h>

enum { LINE = 4096, LABELS = 256, ENTITIES = 512, NAME = 64 };

/* The likeliest label of a text. */
static cloze_status classify(const cloze_model *model, cloze_input text, cloze_error *error) {
    float values[LABELS];
    char name[NAME];
    size_t count, size, best = 0;
    cloze_status status = cloze_classify(model, &text, 1, NULL, values, LABELS, &count, error);
    for (size_t i = 1; !status && i < count; i++)
        if (values[i] > values[best]) best = i;
    if (!status) status = cloze_model_label(model, (uint32_t)best, name, NAME, &size, error);
    if (!status) printf("%s %.2f", name, values[best]);
    return status;
}

/* Stretches of a text with a label, as they stand in it. */
static cloze_status tag(const cloze_model *model, cloze_input text, cloze_error *error) {
    static cloze_entity entities[ENTITIES];
    char name[NAME];
    size_t count = 0, size;
    cloze_tag_options options = CLOZE_TAG_OPTIONS_INIT;
    options.aggregation = CLOZE_AGGREGATION_FIRST; /* whole words */
    cloze_status status = cloze_tag(model, &text, 1, &options, entities, ENTITIES, &count, error);
    for (size_t i = 0; !status && i < count; i++) {
        status = cloze_model_label(model, entities[i].label, name, NAME, &size, error);
        if (status) break;
        const char *kind = name[0] && name[1] == '-' ? name + 2 : name; /* B-person is of the kind person */
        printf("  %s:%.*s", kind, (int)(entities[i].end - entities[i].start), text.text + entities[i].start);
    }
    return status;
}

int main(int argc, char **argv) {
    cloze_error error;
    cloze_model *classifier = NULL, *tagger = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: serve CLASSIFIER TAGGER < texts\n");
        return 2;
    }
    cloze_status status = cloze_model_open(argv[1], NULL, &classifier, &error);
    if (!status) status = cloze_model_open(argv[2], NULL, &tagger, &error);
    if (status) fprintf(stderr, "serve: %s\n", error.message);

    static char line[LINE];
    while (!status && fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        cloze_input text = cloze_text(line);
        if (classify(classifier, text, &error) || tag(tagger, text, &error)) printf("error: %s", error.message);
        printf("\n");
        fflush(stdout);
    }
    cloze_model_close(classifier);
    cloze_model_close(tagger);
    return status != CLOZE_OK;
}
