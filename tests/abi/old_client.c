/* A client that was compiled with an older header, whose structs end earlier. */
#include "cloze-1.h"
#include <stdio.h>
#include <string.h>

int main(int count, char **arguments) {
    cloze_error error;
    cloze_model *model = NULL;
    if (count != 2 || cloze_model_open(arguments[1], NULL, &model, &error) != CLOZE_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }

    /* The library must not write beyond the struct as it was compiled here. */
    struct { cloze_info info; unsigned char beyond[64]; } guarded = { CLOZE_INFO_INIT, { 0 } };
    memset(guarded.beyond, 0x5a, sizeof guarded.beyond);
    if (cloze_model_info(model, &guarded.info, &error) != CLOZE_OK || guarded.info.size != sizeof guarded.info) return 2;
    for (size_t i = 0; i < sizeof guarded.beyond; i++)
        if (guarded.beyond[i] != 0x5a) return 3;

    /* Nor read: what lies beyond would be options that it refuses. */
    struct { cloze_embed_options options; unsigned char beyond[64]; } own = { CLOZE_EMBED_OPTIONS_INIT, { 0 } };
    memset(own.beyond, 0xff, sizeof own.beyond);
    own.options.text = CLOZE_TEXT_PLAIN;
    cloze_input input = cloze_text("the cat sees the bird");
    float vector[64];
    size_t width = 0;
    if (guarded.info.embedding > 64) return 4;
    if (cloze_embed(model, &input, 1, &own.options, vector, guarded.info.embedding, &width, &error) != CLOZE_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 5;
    }
    for (size_t i = 0; i < width; i++) printf("%.9g ", vector[i]);
    cloze_model_close(model);
    return 0;
}
