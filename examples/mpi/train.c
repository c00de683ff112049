/* One classifier, learned by any number of processes.  mpirun -n N train FOLDER EXAMPLES OUT [OPTION VALUE]...
 *
 * FOLDER is a BERT, EXAMPLES a table of texts and labels (.tsv, .csv, .jsonl), OUT the folder that is written. Every step
 * learns from one global batch. Each process takes its part of it forward and back; their gradients are averaged where they
 * lie; all make the same step. So the parameters are the same in all processes, and do not depend on how many there are but
 * for the order of sums.
 *
 *     --trainable head|top:N|lora:R|all   what learns [top:2]
 *     --batch B          examples of a global batch [32]
 *     --steps N          steps in all [one epoch]
 *     --lr RATE          the largest learning rate: warms up over a tenth of the steps, then falls to 0 [1e-4]
 *     --seed N           of order and new parameters [42]
 *     --threads N        of a process [the processors of the machine, shared out among its processes]
 *     --device NAME      cpu, cuda:N [cpu]; "cuda" is the GPU with the number of the process on its machine
 *     --checkpoints DIR  process 0 writes DIR/latest [none]
 *     --every N          steps between checkpoints [10]
 *     --resume DIR       goes on from DIR/latest, with any number of processes
 *
 * Process 0 prints a line a step. Dropout is off: what is dropped would depend on the number of processes.
 */
#define _POSIX_C_SOURCE 200809L /* sysconf */
#include "average.h"
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const char *folder, *examples, *out, *trainable, *device, *checkpoints, *resume;
    size_t batch, every;
    uint64_t steps, seed;
    uint32_t threads;
    float rate;
} settings;

static int rank, ranks;

/* Ends the run of all processes in order where one has failed: who has says why. */
static void agree(cloze_status status, const cloze_error *error) {
    int any, own = status != CLOZE_OK;
    if (own && error) fprintf(stderr, "train: process %d: %s\n", rank, error->message);
    MPI_Allreduce(&own, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    if (any) {
        MPI_Finalize();
        exit(1);
    }
}

static int usage(const char *what) {
    if (rank == 0) fprintf(stderr, "train: %s\nusage: train FOLDER EXAMPLES OUT [OPTION VALUE]..., see train.c\n", what);
    return 2;
}

static int parse(int argc, char **argv, settings *s) {
    static char message[128];
    if (argc < 4) return usage("three arguments are needed");
    s->folder = argv[1], s->examples = argv[2], s->out = argv[3];
    for (int i = 4; i < argc; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        char *end = NULL;
        if (!value) {
            snprintf(message, sizeof message, "%.60s: no value", name);
            return usage(message);
        }
        if (!strcmp(name, "--trainable")) s->trainable = value;
        else if (!strcmp(name, "--device")) s->device = value;
        else if (!strcmp(name, "--checkpoints")) s->checkpoints = value;
        else if (!strcmp(name, "--resume")) s->resume = value;
        else if (!strcmp(name, "--lr")) s->rate = strtof(value, &end);
        else if (!strcmp(name, "--batch")) s->batch = strtoul(value, &end, 10);
        else if (!strcmp(name, "--every")) s->every = strtoul(value, &end, 10);
        else if (!strcmp(name, "--steps")) s->steps = strtoul(value, &end, 10);
        else if (!strcmp(name, "--seed")) s->seed = strtoul(value, &end, 10);
        else if (!strcmp(name, "--threads")) s->threads = (uint32_t)strtoul(value, &end, 10);
        else {
            snprintf(message, sizeof message, "%.60s: no such option", name);
            return usage(message);
        }
        if (end && (end == value || *end)) {
            snprintf(message, sizeof message, "%.40s: %.40s, expected a number", name, value);
            return usage(message);
        }
    }
    if (s->batch < (size_t)ranks) {
        snprintf(message, sizeof message, "--batch: %zu examples for %d processes, expected at least one for each",
                 s->batch, ranks);
        return usage(message);
    }
    if (s->every == 0) return usage("--every: 0, expected at least 1");
    return 0;
}

static int trainable(const char *text, cloze_train_options *options) {
    unsigned number = 0;
    char more;
    if (!strcmp(text, "head")) options->trainable = CLOZE_TRAINABLE_HEAD;
    else if (!strcmp(text, "all")) options->trainable = CLOZE_TRAINABLE_ALL;
    else if (sscanf(text, "top:%u%c", &number, &more) == 1) options->trainable = CLOZE_TRAINABLE_TOP;
    else if (sscanf(text, "lora:%u%c", &number, &more) == 1) options->trainable = CLOZE_TRAINABLE_LORA;
    else return usage("--trainable: expected head, top:N, lora:R or all");
    if (options->trainable == CLOZE_TRAINABLE_TOP) options->layers = number;
    if (options->trainable == CLOZE_TRAINABLE_LORA) options->lora_rank = number;
    return 0;
}

/* Vigna's splitmix64: the same numbers on every machine. */
static uint64_t draw(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* The order of the examples in an epoch, from seed and epoch alone (Fisher and Yates). */
static void shuffle(size_t *order, size_t count, uint64_t seed, uint64_t epoch) {
    uint64_t state = seed ^ (epoch + 1) * 0xD1342543DE82EF95u;
    for (size_t i = 0; i < count; i++) order[i] = i;
    for (size_t i = count; i > 1; i--) {
        size_t j = (size_t)(draw(&state) % i), other = order[j];
        order[j] = order[i - 1];
        order[i - 1] = other;
    }
}

static float rate_of(const settings *s, uint64_t step) {
    double warmup = (double)s->steps / 10, at = (double)step;
    return (float)(s->rate * (at < warmup ? (at + 1) / (warmup + 1) : ((double)s->steps - at) / ((double)s->steps - warmup)));
}

/* Threads and GPU of this process among those of its machine. */
static void share_machine(settings *s, char *device, size_t room) {
    MPI_Comm here;
    int place, places;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &here);
    MPI_Comm_rank(here, &place);
    MPI_Comm_size(here, &places);
    MPI_Comm_free(&here);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (s->threads == 0) s->threads = processors > places ? (uint32_t)(processors / places) : 1;
    if (!strcmp(s->device, "cuda")) {
        snprintf(device, room, "cuda:%d", place);
        s->device = device;
    }
}

/* One step of all processes. */
static void step(cloze_trainer *trainer, const cloze_dataset *examples, const settings *s, const size_t *order, size_t count,
                 uint64_t number, cloze_buffer *buffers, size_t tensors) {
    /* the last global batch of an epoch may be smaller, down to one example: some processes then have none */
    uint64_t batches = (count + s->batch - 1) / s->batch;
    size_t first = (size_t)(number % batches) * s->batch;
    size_t size = count - first < s->batch ? count - first : s->batch;
    size_t from = first + size * (size_t)rank / (size_t)ranks, to = first + size * ((size_t)rank + 1) / (size_t)ranks;
    cloze_error error;
    cloze_dataset *part = NULL;
    double loss = 0, mean, norm;
    cloze_status status;

    if (to > from) {
        status = cloze_dataset_select(examples, order + from, to - from, &part, &error);
        if (!status) status = cloze_trainer_accumulate(trainer, part, NULL, &loss, &error);
        cloze_dataset_free(part);
    } else {
        /* gradients of zero, as of one batch */
        uint64_t zeros = 0;
        for (size_t i = 0; i < tensors; i++) zeros += buffers[i].count;
        float *none = calloc(zeros, sizeof *none);
        status = cloze_trainer_set_gradients(trainer, none, none ? zeros : 0, &error);
        free(none);
    }
    if (!status) status = cloze_trainer_gradient_buffers(trainer, buffers, tensors, &tensors, &error);
    agree(status, &error);

    double weight = (double)(to - from) / (double)size;
    agree(average(buffers, tensors, (float)weight) ? CLOZE_INTERNAL : CLOZE_OK, NULL);
    loss *= weight;
    MPI_Reduce(&loss, &mean, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
    agree(cloze_trainer_apply(trainer, rate_of(s, number), &norm, &error), &error);
    if (rank == 0) {
        printf("step %llu loss %.9g norm %.9g\n", (unsigned long long)number + 1, mean, norm);
        fflush(stdout);
    }
}

/* All steps that are left. */
static void train(cloze_trainer *trainer, const cloze_dataset *examples, settings *s) {
    cloze_error error;
    cloze_trainer_state state = CLOZE_TRAINER_STATE_INIT;
    size_t count = cloze_dataset_count(examples), tensors = 0;
    uint64_t batches = (count + s->batch - 1) / s->batch;
    size_t *order = malloc(count * sizeof *order);
    char latest[4096];
    if (s->steps == 0) s->steps = batches;

    cloze_status status = order ? CLOZE_OK : CLOZE_OUT_OF_MEMORY;
    if (status) snprintf(error.message, sizeof error.message, "no memory for the order of %zu examples", count);
    if (!status) status = cloze_trainer_info(trainer, &state, &error);
    agree(status, &error);
    status = cloze_trainer_gradient_buffers(trainer, NULL, 0, &tensors, &error);
    if (status == CLOZE_BUFFER_TOO_SMALL) status = CLOZE_OK;
    cloze_buffer *buffers = malloc((tensors ? tensors : 1) * sizeof *buffers);
    if (!status) status = cloze_trainer_gradient_buffers(trainer, buffers, buffers ? tensors : 0, &tensors, &error);
    agree(status, &error);
    if (rank == 0) {
        printf("%d processes of %u threads, %zu examples, %llu parameters: %.1f MB of gradients a step\n", ranks,
               (unsigned)s->threads, count, (unsigned long long)state.parameters, (double)state.parameters * 4e-6);
        fflush(stdout);
    }
    if (state.steps > 0) shuffle(order, count, s->seed, state.steps / batches);
    for (uint64_t number = state.steps; number < s->steps; number++) {
        if (number % batches == 0) shuffle(order, count, s->seed, number / batches);
        step(trainer, examples, s, order, count, number, buffers, tensors);
        if (s->checkpoints && ((number + 1) % s->every == 0 || number + 1 == s->steps)) {
            snprintf(latest, sizeof latest, "%s/latest", s->checkpoints);
            agree(rank == 0 ? cloze_trainer_checkpoint(trainer, latest, &error) : CLOZE_OK, &error);
        }
    }
    free(buffers);
    free(order);
}

int main(int argc, char **argv) {
    settings s = { .trainable = "top:2", .device = "cpu", .batch = 32, .every = 10, .seed = 42, .rate = 1e-4f };
    cloze_error error;
    cloze_model *model = NULL;
    cloze_dataset *examples = NULL;
    cloze_trainer *trainer = NULL;
    cloze_train_options options = CLOZE_TRAIN_OPTIONS_INIT;
    cloze_open_options open = CLOZE_OPEN_OPTIONS_INIT;
    char device[32], latest[4096];

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    int wrong = parse(argc, argv, &s);
    if (!wrong) wrong = trainable(s.trainable, &options);
    if (wrong) {
        MPI_Finalize();
        return wrong;
    }
    share_machine(&s, device, sizeof device);
    open.threads = s.threads;
    open.device = s.device;
    options.seed = s.seed;
    options.dropout = -1;

    cloze_status status = cloze_model_open(s.folder, &open, &model, &error);
    if (!status) status = cloze_dataset_read(s.examples, CLOZE_TARGET_LABEL, NULL, &examples, &error);
    if (!status) status = cloze_trainer_new(model, &options, examples, &trainer, &error);
    if (!status && s.resume) {
        snprintf(latest, sizeof latest, "%s/latest", s.resume);
        status = cloze_trainer_resume(trainer, latest, &error);
    }
    agree(status, &error);
    agree(average_begin(s.device) ? CLOZE_INTERNAL : CLOZE_OK, NULL);

    train(trainer, examples, &s);
    agree(rank == 0 ? cloze_trainer_save(trainer, s.out, &error) : CLOZE_OK, &error);
    if (rank == 0) printf("saved %s\n", s.out);

    average_end();
    cloze_trainer_free(trainer);
    cloze_dataset_free(examples);
    cloze_model_close(model);
    MPI_Finalize();
    return 0;
}
