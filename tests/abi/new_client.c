/* A client that was compiled with a newer header, whose structs have more fields. */
#include <cloze.h>
#include <stdio.h>
#include <string.h>

typedef struct newer_options { cloze_embed_options known; uint64_t unknown; } newer_options;
typedef struct newer_info { cloze_info known; uint64_t unknown; } newer_info;

int main(int count, char **arguments) {
    cloze_error error;
    cloze_model *model = NULL;
    if (count != 2 || cloze_model_open(arguments[1], NULL, &model, &error) != CLOZE_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }

    /* What the library does not know it sets to zero. */
    newer_info info;
    memset(&info, 0x5a, sizeof info);
    info.known.size = sizeof info;
    if (cloze_model_info(model, &info.known, &error) != CLOZE_OK) return 2;
    if (info.known.size != sizeof info || info.unknown != 0 || info.known.parameters == 0) return 3;

    cloze_input input = cloze_text("the cat sees the bird");
    float vector[64];
    size_t width = 0;
    newer_options options;
    memset(&options, 0, sizeof options);
    options.known.size = sizeof options;

    /* An option that it does not know is refused, because it cannot be honoured. */
    options.unknown = 1;
    if (cloze_embed(model, &input, 1, &options.known, vector, 64, &width, &error) != CLOZE_INVALID_ARGUMENT) return 4;
    if (error.status != CLOZE_INVALID_ARGUMENT || strstr(error.message, "older") == NULL) return 5;

    /* Zero is the default, which every version has. */
    options.unknown = 0;
    if (cloze_embed(model, &input, 1, &options.known, vector, 64, &width, &error) != CLOZE_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 6;
    }
    for (size_t i = 0; i < width; i++) printf("%.9g ", vector[i]);
    cloze_model_close(model);
    return 0;
}
