/* How alike are sentences?  embed FOLDER SENTENCE...
 *
 *     cc -std=c99 embed.c -lcloze -lm -o embed
 */
#include <cloze.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static double cosine(const float *a, const float *b, size_t width) {
    double product = 0, of_a = 0, of_b = 0;
    for (size_t i = 0; i < width; i++) {
        product += (double)a[i] * b[i];
        of_a += (double)a[i] * a[i];
        of_b += (double)b[i] * b[i];
    }
    return product / sqrt(of_a * of_b);
}

int main(int argc, char **argv) {
    cloze_error error;
    cloze_model *model = NULL;
    cloze_info info = CLOZE_INFO_INIT;
    if (argc < 3) {
        fprintf(stderr, "usage: embed FOLDER SENTENCE...\n");
        return 2;
    }
    if (cloze_model_open(argv[1], NULL, &model, &error) || cloze_model_info(model, &info, &error)) {
        fprintf(stderr, "embed: %s\n", error.message);
        cloze_model_close(model);
        return 1;
    }

    size_t count = (size_t)argc - 2, written = 0;
    cloze_input *texts = malloc(count * sizeof *texts);
    float *vectors = malloc(count * info.embedding * sizeof *vectors);
    if (!texts || !vectors) return 1;
    for (size_t i = 0; i < count; i++) texts[i] = cloze_text(argv[i + 2]);

    cloze_status status = cloze_embed(model, texts, count, NULL, vectors, count * info.embedding, &written, &error);
    if (status) fprintf(stderr, "embed: %s\n", error.message);
    for (size_t i = 0; !status && i < count; i++) {
        for (size_t j = 0; j < count; j++)
            printf("%6.3f ", cosine(vectors + i * info.embedding, vectors + j * info.embedding, info.embedding));
        printf(" %s\n", argv[i + 2]);
    }

    free(vectors);
    free(texts);
    cloze_model_close(model);
    return status != CLOZE_OK;
}
