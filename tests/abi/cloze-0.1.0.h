/* FROZEN: cloze.h of 0.1.0. Never edit. What stands here is promised: tests/abi.rs compares it with today's.
 *
 * cloze.h - BERT from a HuggingFace folder: fill blanks, score, judge pairs, embed, classify, tag.
 *
 *     #include <cloze.h>
 *     #include <stdio.h>
 *
 *     int main(void) {
 *         cloze_error error;
 *         cloze_model *model = NULL;
 *         if (cloze_model_open("all-MiniLM-L6-v2", NULL, &model, &error) != CLOZE_OK) {
 *             fprintf(stderr, "%s\n", error.message);
 *             return 1;
 *         }
 *         cloze_input text = cloze_text("A day without laughter is a day wasted.");
 *         float vector[384];
 *         size_t count;
 *         if (cloze_embed(model, &text, 1, NULL, vector, 384, &count, &error) == CLOZE_OK)
 *             printf("%zu numbers, the first is %f\n", count, vector[0]);
 *         cloze_model_close(model);
 *     }
 *
 * Contents
 *
 *     1  Rules that hold everywhere
 *     2  Version
 *     3  Status and errors
 *     4  Cancelling and progress
 *     5  Models
 *     6  Inputs and tokens
 *     7  Fill blanks
 *     8  Score
 *     9  Judge pairs
 *     10 Embed; hidden states
 *     11 Classify
 *     12 Tag
 *
 *
 * 1  Rules that hold everywhere
 *
 * Handles      A cloze_model is immutable: any number of threads may use one at the same time. Close it once, when no call
 *              on it is running. NULL to a close or free does nothing.
 * Status       Every function that can fail returns a cloze_status: CLOZE_OK, which is 0, or why not.
 * Errors       The last parameter. Yours, may be NULL, written on every return: status and a message that names the
 *              thing. No state is kept anywhere else.
 * Outputs      Written only on success, into your buffers. A capacity counts elements. Too small a buffer gives
 *              CLOZE_BUFFER_TOO_SMALL and the needed count, before any heavy work is done; NULL with capacity 0 is the way
 *              to ask. Nothing that the library returns has to be freed, except by the close or free of its handle.
 * Strings out  UTF-8 with a terminating NUL. Their size does not count the NUL, the capacity has to.
 * Text in      UTF-8, a pointer and a size in bytes, CLOZE_NUL where a NUL ends it. Text that is not UTF-8 is an error that
 *              names the byte. Everything that takes text takes token ids as well: see cloze_input.
 * Options      A const pointer; NULL means all defaults. The first field is the size of the struct as you compiled it, which
 *              the INIT macros fill in; a zero in any other field means its default. A library that is newer than your
 *              header takes defaults for the fields you do not have; an older one refuses fields it does not know unless
 *              they are zero.
 * Borrowed     Pointers to const that you pass live until the call returns, except the data of cloze_model_open_memory.
 * Callbacks    Run on your calling thread, during the call only.
 * Side effects None: the library does not print, log, exit, install signal handlers, change the locale or the environment,
 *              or keep threads other than those of an open model. It reads one variable, CLOZE_ISA (see README).
 * Files        Weights are mapped, not read. A model file that is truncated while the model is open ends the process
 *              (SIGBUS); replace files by renaming new ones over them.
 * ABI          CLOZE_ABI is in the library's soname. Within one number, functions, status codes and fields at the tail of
 *              option structs may be added; nothing else changes. "since" tells the version that first had a name.
 *
 * In comments, T is tokens, H hidden size, L layers, V vocabulary.
 */
#ifndef CLOZE_H
#define CLOZE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && !defined(CLOZE_STATIC)
#define CLOZE_API __declspec(dllimport)
#else
#define CLOZE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------------------------------
 * 2  Version
 */

/* Number of the binary interface described here. */
#define CLOZE_ABI 1

/* CLOZE_ABI of the loaded library. Bindings refuse another number than they were made for.
 * @since 0.1.0 */
CLOZE_API uint32_t cloze_abi(void);

/* Version of the loaded library, "0.1.0". Static.
 * @since 0.1.0 */
CLOZE_API const char *cloze_version(void);

/* ---------------------------------------------------------------------------------------------------------------------
 * 3  Status and errors
 */

/* @since 0.1.0 */
typedef int32_t cloze_status;

#define CLOZE_OK 0
#define CLOZE_INVALID_ARGUMENT 1 /* breaks this contract: a null pointer, an unknown option, sizes that disagree */
#define CLOZE_BUFFER_TOO_SMALL 2 /* the needed count has been written */
#define CLOZE_INVALID_INPUT 3    /* text or token ids that cannot be used: not UTF-8, too long, no mask, an unknown id */
#define CLOZE_IO 4               /* the system refused to open, read, map or write a file */
#define CLOZE_INVALID_FILE 5     /* a file is not what its format demands */
#define CLOZE_UNSUPPORTED 6      /* a file asks for what cloze does not compute; the message names it */
#define CLOZE_MISSING 7          /* the model lacks what was asked of it: a tensor, a head, a tokenizer */
#define CLOZE_OUT_OF_MEMORY 8
#define CLOZE_CANCELLED 9
#define CLOZE_BUSY 10            /* an exclusive handle is in use by another call */
#define CLOZE_NO_DEVICE 11
#define CLOZE_NOT_FINITE 12      /* weights or results are not finite numbers; the message names the tensor */
#define CLOZE_INTERNAL 13        /* a defect of cloze: please report the message */

/* What went wrong. The layout never changes. A message that does not fit is cut between two characters.
 * @since 0.1.0 */
typedef struct cloze_error {
    int32_t status;
    char message[252]; /* UTF-8, NUL-terminated; empty after success */
} cloze_error;

/* Name of a status, "CLOZE_IO"; "CLOZE_UNKNOWN" for other numbers. Static.
 * @since 0.1.0 */
CLOZE_API const char *cloze_status_name(cloze_status status);

/* ---------------------------------------------------------------------------------------------------------------------
 * 4  Cancelling and progress
 */

/* A flag that stops the calls it was given to. Any number of calls may watch one flag.
 * @since 0.1.0 */
typedef struct cloze_cancel cloze_cancel;

/* A flag that is not set.
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_cancel_new(cloze_cancel **cancel, cloze_error *error);

/* Stops the calls that watch the flag, within about 50 ms; they return CLOZE_CANCELLED. Safe from any thread and from
 * signal handlers.
 * @since 0.1.0 */
CLOZE_API void cloze_cancel_set(cloze_cancel *cancel);

/* Clears the flag for the next call.
 * @since 0.1.0 */
CLOZE_API void cloze_cancel_reset(cloze_cancel *cancel);

/* Calls that still watch the flag keep it alive.
 * @since 0.1.0 */
CLOZE_API void cloze_cancel_free(cloze_cancel *cancel);

/* Called after each piece of work with how much is done; a result other than 0 stops the call, which then returns
 * CLOZE_CANCELLED. Must not throw or jump out of the call.
 * @since 0.1.0 */
typedef int (*cloze_progress)(void *user, uint64_t done, uint64_t total);

/* ---------------------------------------------------------------------------------------------------------------------
 * 5  Models
 */

/* An open model: weights, tokenizer, worker threads.
 * @since 0.1.0 */
typedef struct cloze_model cloze_model;

/* @since 0.1.0 */
typedef struct cloze_open_options {
    uint32_t size;
    uint32_t threads; /* worker threads of this model; 0: one per processor */
} cloze_open_options;
#define CLOZE_OPEN_OPTIONS_INIT { sizeof(cloze_open_options), 0 }

/* Opens a HuggingFace folder of a BERT or ALBERT: config.json; model.safetensors or its shards; tokenizer.json or
 * vocab.txt; and what sentence-transformers adds. The path ends with NUL. Opening maps the weights and reads none: the
 * first answer touches them. A head or tokenizer that is not there is an error of the call that needs it, not of this one.
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_model_open(const char *folder, const cloze_open_options *options, cloze_model **model,
                                        cloze_error *error);

/* A file of a model folder that is in memory.
 * @since 0.1.0 */
typedef struct cloze_file {
    const char *name; /* path within the folder, NUL-terminated: "config.json", "1_Pooling/config.json" */
    const void *data;
    size_t size;
} cloze_file;

/* Opens a model whose files are in memory. The data is used in place and must live until cloze_model_close has returned;
 * aligned to 4 bytes, weights are not copied. Weights are one "model.safetensors".
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_model_open_memory(const cloze_file *files, size_t file_count,
                                               const cloze_open_options *options, cloze_model **model,
                                               cloze_error *error);

/* Ends the model, its threads and its mappings. No call on it may be running.
 * @since 0.1.0 */
CLOZE_API void cloze_model_close(cloze_model *model);

/* Tasks, as bits of cloze_info.tasks. */
#define CLOZE_TASK_FILL 1u
#define CLOZE_TASK_SCORE 2u
#define CLOZE_TASK_NEXT_SENTENCE 4u
#define CLOZE_TASK_EMBED 8u
#define CLOZE_TASK_HIDDEN_STATES 16u
#define CLOZE_TASK_CLASSIFY 32u
#define CLOZE_TASK_TAG 64u

/* What a classifier was trained for: cloze_info.problem. */
#define CLOZE_PROBLEM_UNKNOWN 0u
#define CLOZE_PROBLEM_REGRESSION 1u
#define CLOZE_PROBLEM_SINGLE_LABEL 2u
#define CLOZE_PROBLEM_MULTI_LABEL 3u

/* The shape of a model. The library writes as many bytes as "size" says; set it by CLOZE_INFO_INIT.
 * @since 0.1.0 */
typedef struct cloze_info {
    uint32_t size;
    uint32_t layers;        /* L */
    uint32_t hidden;        /* H */
    uint32_t heads;         /* attention heads */
    uint32_t intermediate;  /* width of the feed-forward part */
    uint32_t vocabulary;    /* V: ids that the model has rows for */
    uint32_t words;         /* ids below this are the tokenizer's; V without a tokenizer */
    uint32_t token_types;   /* segments */
    uint32_t max_tokens;    /* longest text in tokens, special ones included */
    uint32_t max_positions; /* longest sequence of token ids */
    uint32_t embedding;     /* numbers in an embedding */
    uint32_t labels;        /* labels of the classifier; 0 without one */
    uint32_t problem;       /* CLOZE_PROBLEM_... */
    uint32_t tasks;         /* CLOZE_TASK_... that the folder has heads for */
    uint32_t has_tokenizer; /* 1 where text can be read, 0 where only token ids can */
    uint32_t threads;
    uint64_t parameters;    /* numbers in the tensors that are used */
} cloze_info;
#define CLOZE_INFO_INIT { sizeof(cloze_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* @since 0.1.0 */
CLOZE_API cloze_status cloze_model_info(const cloze_model *model, cloze_info *info, cloze_error *error);

/* The load report as one line of JSON: architecture, sizes, tasks, and which tensors are used, unused, ignored (buffers)
 * and missing (heads that the folder promises).
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_model_report(const cloze_model *model, char *json, size_t capacity, size_t *size,
                                          cloze_error *error);

/* Name of a label of the classifier.
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_model_label(const cloze_model *model, uint32_t label, char *name, size_t capacity,
                                         size_t *size, cloze_error *error);

/* ---------------------------------------------------------------------------------------------------------------------
 * 6  Inputs and tokens
 */

/* As a size: the text ends with NUL. */
#define CLOZE_NUL ((size_t)-1)

/* A text, a pair of texts, or token ids. Fill it by cloze_text, cloze_pair or cloze_ids. The layout never changes.
 * @since 0.1.0 */
typedef struct cloze_input {
    const char *text; /* NULL where token ids are given */
    size_t text_size;
    const char *pair; /* second text, or NULL */
    size_t pair_size;
    const int32_t *ids; /* a sequence as the model sees it, special tokens included; NULL where text is given */
    const int32_t *types; /* segments, as many as ids; NULL: all 0 */
    size_t id_count;
} cloze_input;

/* A text that ends with NUL.
 * @since 0.1.0 */
static inline cloze_input cloze_text(const char *text) {
    cloze_input input = { text, CLOZE_NUL, NULL, 0, NULL, NULL, 0 };
    return input;
}

/* Two texts that end with NUL.
 * @since 0.1.0 */
static inline cloze_input cloze_pair(const char *text, const char *pair) {
    cloze_input input = { text, CLOZE_NUL, pair, CLOZE_NUL, NULL, NULL, 0 };
    return input;
}

/* Token ids from your own tokenizer; types may be NULL.
 * @since 0.1.0 */
static inline cloze_input cloze_ids(const int32_t *ids, const int32_t *types, size_t count) {
    cloze_input input = { NULL, 0, NULL, 0, ids, types, count };
    return input;
}

/* How text becomes tokens: bits of the field "text" in options. */
#define CLOZE_TEXT_PLAIN 1u    /* "[MASK]" and its like inside the text are plain text: for text that others wrote */
#define CLOZE_TEXT_TRUNCATE 2u /* cut what is too long: the default of cloze_embed and cloze_classify */
#define CLOZE_TEXT_REFUSE 4u   /* what is too long is CLOZE_INVALID_INPUT: the default of all others */

/* What offsets count. */
#define CLOZE_OFFSETS_BYTES 0u
#define CLOZE_OFFSETS_CODE_POINTS 1u
#define CLOZE_OFFSETS_UTF16 2u

/* @since 0.1.0 */
typedef struct cloze_tokenize_options {
    uint32_t size;
    uint32_t text;       /* CLOZE_TEXT_... */
    uint32_t max_tokens; /* longest text in tokens; 0: what the model allows */
    uint32_t offsets;    /* CLOZE_OFFSETS_... */
} cloze_tokenize_options;
#define CLOZE_TOKENIZE_OPTIONS_INIT { sizeof(cloze_tokenize_options), 0, 0, 0 }

/* One token as the model sees it.
 * @since 0.1.0 */
typedef struct cloze_token {
    uint32_t input;  /* index of its input */
    int32_t id;
    int32_t type;    /* segment */
    int32_t word;    /* number of its word within its text; -1 for special tokens */
    int32_t text;    /* 0: the text, 1: the pair, -1: a special token that stands in neither */
    uint32_t position; /* within its input */
    uint64_t start;  /* where in its text it starts */
    uint64_t end;    /* where it ends */
} cloze_token;

/* The tokens of all inputs, one after another: ids, segments, words and places, equal to HuggingFace's fast tokenizers.
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_tokenize(const cloze_model *model, const cloze_input *inputs, size_t input_count,
                                      const cloze_tokenize_options *options, cloze_token *tokens, size_t capacity,
                                      size_t *count, cloze_error *error);

/* The token with a number, as the vocabulary spells it: "##ing".
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_token_text(const cloze_model *model, int32_t id, char *text, size_t capacity,
                                        size_t *size, cloze_error *error);

/* The number of a token, spelled as in the vocabulary. CLOZE_MISSING where there is none.
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_token_id(const cloze_model *model, const char *token, size_t token_size, int32_t *id,
                                      cloze_error *error);

/* The text of token ids, without special tokens.
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_decode(const cloze_model *model, const int32_t *ids, size_t id_count, char *text,
                                    size_t capacity, size_t *size, cloze_error *error);

/* ---------------------------------------------------------------------------------------------------------------------
 * 7  Fill blanks
 */

/* @since 0.1.0 */
typedef struct cloze_fill_options {
    uint32_t size;
    uint32_t text;       /* CLOZE_TEXT_... */
    uint32_t max_tokens; /* longest text in tokens; 0: what the model allows */
    uint32_t top_k;      /* candidates for each mask; 0: 5 */
    const cloze_cancel *cancel;
    cloze_progress progress;
    void *user;             /* handed to progress */
    const int32_t *targets; /* only these ids, one given twice counting once; NULL: all words */
    size_t target_count;
    const int32_t *mask; /* id of the mask token; NULL: the tokenizer's */
} cloze_fill_options;
#define CLOZE_FILL_OPTIONS_INIT { sizeof(cloze_fill_options), 0, 0, 0, NULL, NULL, NULL, NULL, 0, NULL }

/* A word for a mask.
 * @since 0.1.0 */
typedef struct cloze_candidate {
    uint32_t input;    /* index of its input */
    uint32_t position; /* of the mask among the input's tokens */
    int32_t id;
    float probability; /* over the whole vocabulary, also with targets */
} cloze_candidate;

/* The best words for every "[MASK]" of every input, HuggingFace's fill-mask: input by input, mask by mask, the likeliest
 * first. The count is masks x top_k (or as many targets or words as there are, if fewer). An input without mask is
 * CLOZE_INVALID_INPUT.
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_fill(const cloze_model *model, const cloze_input *inputs, size_t input_count,
                                  const cloze_fill_options *options, cloze_candidate *candidates, size_t capacity,
                                  size_t *count, cloze_error *error);

/* ---------------------------------------------------------------------------------------------------------------------
 * 8  Score
 */

/* Pseudo-log-likelihood: each token is masked in turn. */
#define CLOZE_SCORE_PLL 0u
/* With it, the later pieces of its word are masked too. */
#define CLOZE_SCORE_PLL_WORD_L2R 1u

/* @since 0.1.0 */
typedef struct cloze_score_options {
    uint32_t size;
    uint32_t text;       /* CLOZE_TEXT_... */
    uint32_t max_tokens; /* longest text in tokens; 0: what the model allows */
    uint32_t method;     /* CLOZE_SCORE_... */
    const cloze_cancel *cancel;
    cloze_progress progress;
    void *user;          /* handed to progress */
    const int32_t *mask; /* id of the mask token; NULL: the tokenizer's */
} cloze_score_options;
#define CLOZE_SCORE_OPTIONS_INIT { sizeof(cloze_score_options), 0, 0, 0, NULL, NULL, NULL, NULL }

/* @since 0.1.0 */
typedef struct cloze_text_score {
    double log_likelihood; /* sum over the tokens, natural logarithm */
    uint64_t tokens;       /* scored tokens: all but special ones */
} cloze_text_score;

/* @since 0.1.0 */
typedef struct cloze_token_score {
    uint32_t input;    /* index of its input */
    uint32_t position; /* among the input's tokens */
    int32_t id;
    float log_probability;
} cloze_token_score;

/* How likely each input is: one score an input.
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_score(const cloze_model *model, const cloze_input *inputs, size_t input_count,
                                   const cloze_score_options *options, cloze_text_score *scores, size_t capacity,
                                   cloze_error *error);

/* How likely each token of each input is.
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_score_tokens(const cloze_model *model, const cloze_input *inputs, size_t input_count,
                                          const cloze_score_options *options, cloze_token_score *scores,
                                          size_t capacity, size_t *count, cloze_error *error);

/* Pseudo-perplexity of a corpus from the scores of its texts: exp(-sum of log-likelihoods / sum of tokens); 1 for no
 * tokens or NULL.
 * @since 0.1.0 */
CLOZE_API double cloze_perplexity(const cloze_text_score *scores, size_t score_count);

/* ---------------------------------------------------------------------------------------------------------------------
 * 9  Judge pairs
 */

/* Options of the calls that need no others.
 * @since 0.1.0 */
typedef struct cloze_call_options {
    uint32_t size;
    uint32_t text;       /* CLOZE_TEXT_... */
    uint32_t max_tokens; /* longest text in tokens; 0: what the model allows */
    uint32_t reserved;   /* 0 */
    const cloze_cancel *cancel;
    cloze_progress progress;
    void *user; /* handed to progress */
} cloze_call_options;
#define CLOZE_CALL_OPTIONS_INIT { sizeof(cloze_call_options), 0, 0, 0, NULL, NULL, NULL }

/* Probability that the second text of each pair follows its first: one number an input.
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_next_sentence(const cloze_model *model, const cloze_input *inputs, size_t input_count,
                                           const cloze_call_options *options, float *is_next, size_t capacity,
                                           cloze_error *error);

/* ---------------------------------------------------------------------------------------------------------------------
 * 10  Embed; hidden states
 */

/* How the tokens' vectors become one. */
#define CLOZE_POOLING_AUTO 0u /* as the folder says, with all steps that follow; the mean where it says nothing */
#define CLOZE_POOLING_CLS 1u
#define CLOZE_POOLING_MEAN 2u
#define CLOZE_POOLING_MAX 3u

/* @since 0.1.0 */
typedef struct cloze_embed_options {
    uint32_t size;
    uint32_t text;       /* CLOZE_TEXT_... */
    uint32_t max_tokens; /* longest text in tokens; 0: what the model allows */
    uint32_t pooling;    /* CLOZE_POOLING_... */
    const cloze_cancel *cancel;
    cloze_progress progress;
    void *user;         /* handed to progress */
    const char *prompt; /* name of a sentence-transformers prompt, NUL-terminated; NULL: the folder's default */
    uint32_t normalize; /* 1: make embeddings of unit length, also where the folder does not */
    uint32_t reserved;  /* 0 */
} cloze_embed_options;
#define CLOZE_EMBED_OPTIONS_INIT { sizeof(cloze_embed_options), 0, 0, 0, NULL, NULL, NULL, NULL, 0, 0 }

/* One vector an input, one after another: count is input_count x width, and width is cloze_info.embedding for
 * CLOZE_POOLING_AUTO, else H. Equal to sentence-transformers' encode.
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_embed(const cloze_model *model, const cloze_input *inputs, size_t input_count,
                                   const cloze_embed_options *options, float *embeddings, size_t capacity,
                                   size_t *count, cloze_error *error);

/* Hidden states of layers, 0 being the embeddings and L the last: for each input, for each of the layers in your order,
 * T x H numbers, token by token. cloze_tokenize tells T.
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_hidden_states(const cloze_model *model, const cloze_input *inputs, size_t input_count,
                                           const uint32_t *layers, size_t layer_count,
                                           const cloze_call_options *options, float *states, size_t capacity,
                                           size_t *count, cloze_error *error);

/* ---------------------------------------------------------------------------------------------------------------------
 * 11  Classify
 */

/* One number a label for each input, input by input in the order of the labels: probabilities (softmax, or sigmoid where
 * labels are independent), or the plain numbers of a regression, as HuggingFace's text-classification. The count is
 * input_count x labels.
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_classify(const cloze_model *model, const cloze_input *inputs, size_t input_count,
                                      const cloze_call_options *options, float *values, size_t capacity,
                                      size_t *count, cloze_error *error);

/* ---------------------------------------------------------------------------------------------------------------------
 * 12  Tag
 */

/* How tokens become entities: HuggingFace's aggregation strategies. */
#define CLOZE_AGGREGATION_SIMPLE 0u  /* neighbouring tokens of one tag */
#define CLOZE_AGGREGATION_NONE 1u    /* every token is an entity */
#define CLOZE_AGGREGATION_FIRST 2u   /* words take the label of their first token */
#define CLOZE_AGGREGATION_AVERAGE 3u /* words take the label of the highest mean probability */
#define CLOZE_AGGREGATION_MAX 4u     /* words take the label of their surest token */

/* @since 0.1.0 */
typedef struct cloze_tag_options {
    uint32_t size;
    uint32_t text;        /* CLOZE_TEXT_... */
    uint32_t max_tokens;  /* longest text in tokens; 0: what the model allows */
    uint32_t aggregation; /* CLOZE_AGGREGATION_... */
    const cloze_cancel *cancel;
    cloze_progress progress;
    void *user;            /* handed to progress */
    uint32_t offsets;      /* CLOZE_OFFSETS_... */
    uint32_t keep_outside; /* 1: stretches labelled "O" are returned too */
} cloze_tag_options;
#define CLOZE_TAG_OPTIONS_INIT { sizeof(cloze_tag_options), 0, 0, 0, NULL, NULL, NULL, 0, 0 }

/* A stretch of text with a label.
 * @since 0.1.0 */
typedef struct cloze_entity {
    uint32_t input; /* index of its input */
    uint32_t label; /* cloze_model_label tells its name, "B-PER" */
    uint64_t start;
    uint64_t end;
    double probability; /* mean over the grouped tokens or words */
} cloze_entity;

/* Entities of every input, in order. Inputs are single texts. How many there are is known only at the end: the needed
 * capacity is one for each token that is not special, and count tells how many were written.
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_tag(const cloze_model *model, const cloze_input *inputs, size_t input_count,
                                 const cloze_tag_options *options, cloze_entity *entities, size_t capacity,
                                 size_t *count, cloze_error *error);

/* Probabilities of all labels for every token of every input, special ones included: count is T x labels.
 * @since 0.1.0 */
CLOZE_API cloze_status cloze_tag_tokens(const cloze_model *model, const cloze_input *inputs, size_t input_count,
                                        const cloze_call_options *options, float *probabilities, size_t capacity,
                                        size_t *count, cloze_error *error);

#ifdef __cplusplus
}
#endif

#endif /* CLOZE_H */
