/* A language from nothing but text.  pretrain TEXT OUT "A sentence with a [MASK]."
 *
 * TEXT is a folder of .txt files, or one file: a blank line between documents. Learns a vocabulary, makes a small BERT of
 * random weights, trains it on masked words and next sentences, saves it as the folder OUT, and fills the blank.
 *
 *     cc -std=c99 pretrain.c -lcloze -o pretrain
 */
#include <cloze.h>
#include <stdio.h>
#include <string.h>

enum { TOKENS = 64, VOCABULARY = 2048 };

/* Told after every step of the training. */
static int watch(void *user, const cloze_train_event *event) {
    (void)user;
    if (event->kind == CLOZE_EVENT_STEP && (event->step % 100 == 0 || event->step == event->total))
        fprintf(stderr, "step %4.0f of %.0f, loss %.3f\n", (double)event->step, (double)event->total, event->loss);
    return 0; /* go on */
}

/* What the text holds. */
static cloze_status describe(const cloze_corpus *corpus, cloze_error *error) {
    cloze_corpus_state state = CLOZE_CORPUS_STATE_INIT;
    cloze_status status = cloze_corpus_info(corpus, &state, error);
    if (!status)
        fprintf(stderr, "%.0f documents of %.0f sentences, %.0f tokens\n", (double)state.documents,
                (double)state.sentences, (double)state.tokens);
    return status;
}

/* A model of random weights over the vocabulary that lies in "folder". */
static cloze_status create(const char *folder, cloze_model **model, cloze_error *error) {
    char config[512];
    snprintf(config, sizeof config,
             "{\"model_type\": \"bert\", \"hidden_size\": 64, \"num_hidden_layers\": 2, \"num_attention_heads\": 2,"
             " \"intermediate_size\": 256, \"max_position_embeddings\": %d, \"vocab_size\": %d,"
             " \"hidden_dropout_prob\": 0, \"attention_probs_dropout_prob\": 0}",
             TOKENS, VOCABULARY);
    return cloze_model_create(config, strlen(config), folder, NULL, model, error);
}

/* From the text to a model folder. */
static cloze_status pretrain(const char *text, const char *out, cloze_error *error) {
    cloze_model *model = NULL;
    cloze_corpus *corpus = NULL;
    cloze_trainer *trainer = NULL;

    char vocabulary[1024];
    snprintf(vocabulary, sizeof vocabulary, "%s-vocabulary", out);
    cloze_vocabulary_options words = CLOZE_VOCABULARY_OPTIONS_INIT;
    words.tokens = VOCABULARY;
    words.max_tokens = TOKENS;
    cloze_status status = cloze_vocabulary_learn(text, &words, vocabulary, error);
    if (!status) status = create(vocabulary, &model, error);
    if (!status) status = cloze_corpus_open(model, text, NULL, &corpus, error);
    if (!status) status = describe(corpus, error);

    cloze_train_options options = CLOZE_TRAIN_OPTIONS_INIT;
    options.objective = CLOZE_OBJECTIVE_PRETRAINING;
    options.switches = CLOZE_TRAIN_UNIGRAM_BIAS;
    options.max_steps = 400;
    options.epochs = 400; /* at most: the steps end it */
    options.batch_size = 16;
    options.learning_rate = 2e-3f;
    options.warmup = 0.1;
    cloze_fit_options run = CLOZE_FIT_OPTIONS_INIT;
    run.observe = watch;
    if (!status) status = cloze_trainer_new(model, &options, NULL, &trainer, error);
    if (!status) status = cloze_trainer_pretrain(trainer, corpus, NULL, &run, NULL, error);
    if (!status) status = cloze_trainer_save(trainer, out, error);

    cloze_trainer_free(trainer);
    cloze_corpus_free(corpus);
    cloze_model_close(model);
    return status;
}

/* Prints the five likeliest words for the blank. */
static cloze_status fill(const char *folder, const char *sentence, cloze_error *error) {
    cloze_model *model = NULL;
    cloze_input input = cloze_text(sentence);
    cloze_candidate words[5];
    size_t count = 0;
    cloze_status status = cloze_model_open(folder, NULL, &model, error);
    if (!status) status = cloze_fill(model, &input, 1, NULL, words, 5, &count, error);
    for (size_t i = 0; !status && i < count; i++) {
        char word[128];
        size_t size;
        status = cloze_token_text(model, words[i].id, word, sizeof word, &size, error);
        if (!status) printf("%.3f %s\n", words[i].probability, word);
    }
    cloze_model_close(model);
    return status;
}

int main(int argc, char **argv) {
    cloze_error error;
    if (argc != 4) {
        fprintf(stderr, "usage: pretrain TEXT OUT \"A sentence with a [MASK].\"\n");
        return 2;
    }
    cloze_status status = pretrain(argv[1], argv[2], &error);
    if (!status) status = fill(argv[2], argv[3], &error);
    if (status) fprintf(stderr, "pretrain: %s\n", error.message);
    return status != CLOZE_OK;
}
