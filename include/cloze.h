/* cloze.h - BERT from a HuggingFace folder: fill blanks, score, judge pairs, embed, classify, tag, generate; and teach it to.
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
 *     13 Datasets
 *     14 Train
 *     15 Train step by step
 *     16 Keep what was learned
 *     17 Closed forms
 *     18 Pretrain
 *     19 Generate
 *     20 Devices
 *
 *
 * 1  Rules that hold everywhere
 *
 * Handles      A cloze_model is immutable: any number of threads may use one at the same time. Close it once, when no call
 *              on it is running. A cloze_trainer works for one call at a time: a second gets CLOZE_BUSY. Handles may be
 *              closed in any order, whatever was made from which. NULL to a close or free does nothing.
 * Status       Every function that can fail returns a cloze_status: CLOZE_OK, which is 0, or why not.
 * Errors       The last parameter. Yours, may be NULL, written on every return: status and a message that names the
 *              thing. No state is kept anywhere else.
 * Outputs      Written only on success, into your buffers. A capacity counts elements. Too small a buffer gives
 *              CLOZE_BUFFER_TOO_SMALL and the needed count, before any heavy work is done; NULL with capacity 0 is the way
 *              to ask. Nothing that the library returns has to be freed, except by the close or free of its handle.
 * Strings out  UTF-8 with a terminating NUL. Their size does not count the NUL, the capacity has to.
 * Text in      UTF-8, a pointer and a size in bytes, CLOZE_NUL where a NUL ends it. Text that is not UTF-8 is an error that
 *              names the byte. Everything that takes text takes token ids as well: see cloze_input.
 * Paths        End with NUL. On Windows UTF-8, which becomes the system's UTF-16; elsewhere the bytes of the system's path.
 * Options      A const pointer; NULL means all defaults. The first field is the size of the struct as you compiled it, which
 *              the INIT macros fill in; a zero in any other field means its default. A library that is newer than your
 *              header takes defaults for the fields you do not have; an older one refuses fields it does not know unless
 *              they are zero.
 * Borrowed     Pointers to const that you pass live until the call returns, except the data of cloze_model_open_memory:
 *              it lives until that model, its trainers and all models made from it are closed.
 * Callbacks    Run on your calling thread, during the call only.
 * Side effects None: the library does not print, log, exit, install signal handlers, change the locale or the environment,
 *              or keep threads other than those of an open model. It reads CLOZE_ISA, and with CUDA CLOZE_CUDA_LIBRARY,
 *              CLOZE_CUBLASLT and CLOZE_CUDA_EXACT (see README). It writes what it is asked to save and the scratch file of
 *              a trainer, which has no name. The first call that asks for CUDA loads the driver's library, which stays and
 *              may keep threads of its own.
 * Files        Weights are mapped, not read. A model file that is truncated while the model is open ends the process
 *              (SIGBUS); replace files by renaming new ones over them. Windows lets nobody truncate a mapped file, and
 *              replace no folder that has one: what could not be put in the place of an open model is kept beside it, and
 *              the error names it.
 * ABI          CLOZE_ABI is in the library's soname, on macOS in its install name; cloze.dll tells it by cloze_abi() alone.
 *              Within one number, functions, status codes and fields at the tail of option structs may be added; nothing
 *              else changes. "since" tells the version that first had a name.
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
#define CLOZE_NO_DEVICE 11       /* the device cannot be used; the message tells why */
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

/* What a model computes in: on a CUDA device, what hidden states are kept in; on the CPU, what the encoder's weights and the
 * rows that they are multiplied with are rounded to; in training, with bf16 all of the encoder's, with int8 those of frozen
 * layers. Sums are f32, and so is everything else on the CPU. Parameters that train, gradients and moments are f32
 * everywhere. */
#define CLOZE_PRECISION_AUTO 0u /* bf16 on a CUDA device, f32 on the CPU */
#define CLOZE_PRECISION_F32 1u
#define CLOZE_PRECISION_BF16 2u
#define CLOZE_PRECISION_F16 3u  /* CUDA only; such a model cannot train */
#define CLOZE_PRECISION_INT8 4u /* the CPU only: a scale for every output of the weights, scale and zero point for every row */

/* How the CPU keeps the encoder's weights. */
#define CLOZE_MEMORY_FAST 0u  /* f32 ones that are used again once more, as products read them; the file's pages are given back */
#define CLOZE_MEMORY_LEAST 1u /* f32 ones in the mapped file alone, whose pages all processes share */

/* @since 0.1.0 */
typedef struct cloze_open_options {
    uint32_t size;
    uint32_t threads;   /* worker threads of this model; 0: one per processor */
    const char *device; /* "cpu", "cuda", "cuda:1" or "auto", see section 20; NULL: "cpu". @since 0.4.0, as the rest */
    uint32_t precision; /* CLOZE_PRECISION_... */
    uint32_t memory;    /* CLOZE_MEMORY_... */
} cloze_open_options;
#define CLOZE_OPEN_OPTIONS_INIT { sizeof(cloze_open_options), 0, NULL, 0, 0 }

/* Opens a HuggingFace folder of a BERT or ALBERT: config.json; model.safetensors or its shards; tokenizer.json or
 * vocab.txt; and what sentence-transformers adds. The path ends with NUL. Opening maps the weights and, in f32, reads none:
 * the first answer touches them. A head or tokenizer that is not there is an error of the call that needs it, not of this one.
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

/* Ends the model, and with the last that uses them its threads and mappings. No call on it may be running.
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
#define CLOZE_TASK_GENERATE 128u

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
/* Log-likelihood by the chain rule: each token after the first, [SEP] too, given those before it. Of causal models, whose
 * config.json has "is_decoder": true, this is the one method; of others, the two above are. CLOZE_UNSUPPORTED otherwise. */
#define CLOZE_SCORE_CAUSAL 2u

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
    uint64_t tokens;       /* scored tokens: all but special ones; of causal models, all but the first */
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

/* ---------------------------------------------------------------------------------------------------------------------
 * 13  Datasets
 */

/* Examples: what a model reads, and what it is to answer. Any number of calls may read one at the same time; a call that
 * adds to one that is being read gets CLOZE_BUSY.
 * @since 0.2.0 */
typedef struct cloze_dataset cloze_dataset;

/* What an example is to be answered with. */
#define CLOZE_TARGET_NONE 0u    /* nothing is known */
#define CLOZE_TARGET_LABEL 1u   /* one label */
#define CLOZE_TARGET_LABELS 2u  /* any number of labels, none among them */
#define CLOZE_TARGET_NUMBERS 3u /* one number or several */
#define CLOZE_TARGET_TAGS 4u    /* a label for each word: cloze_dataset_add_words */
#define CLOZE_TARGET_ANSWER 5u  /* a stretch of the second text */
#define CLOZE_TARGET_TOKENS 6u  /* a label id for each token id */

/* Among the label ids of tokens: no label counts here. */
#define CLOZE_IGNORED (-100)

/* The answer to an input. Fill it by one of the functions below. The layout never changes.
 * @since 0.2.0 */
typedef struct cloze_target {
    uint32_t kind;            /* CLOZE_TARGET_..., which tells the fields that are read */
    float number;             /* NUMBERS, where "numbers" is NULL: the only one */
    uint64_t start;           /* ANSWER: its first byte in the second text */
    const char *name;         /* LABEL: its name; ANSWER: its text, "" where there is none; NUL-terminated */
    const char *const *names; /* LABELS: their names */
    const float *numbers;     /* NUMBERS */
    const int32_t *ids;       /* TOKENS: as many as the input has token ids */
    size_t count;             /* of names, numbers or ids */
} cloze_target;

/* @since 0.2.0 */
static inline cloze_target cloze_label(const char *name) {
    cloze_target target = { CLOZE_TARGET_LABEL, 0, 0, name, NULL, NULL, NULL, 0 };
    return target;
}

/* @since 0.2.0 */
static inline cloze_target cloze_labels(const char *const *names, size_t count) {
    cloze_target target = { CLOZE_TARGET_LABELS, 0, 0, NULL, names, NULL, NULL, count };
    return target;
}

/* @since 0.2.0 */
static inline cloze_target cloze_number(float number) {
    cloze_target target = { CLOZE_TARGET_NUMBERS, number, 0, NULL, NULL, NULL, NULL, 0 };
    return target;
}

/* @since 0.2.0 */
static inline cloze_target cloze_numbers(const float *numbers, size_t count) {
    cloze_target target = { CLOZE_TARGET_NUMBERS, 0, 0, NULL, NULL, numbers, NULL, count };
    return target;
}

/* The answer as it stands in the second text from byte "start" on; "" where the second text does not hold it.
 * @since 0.2.0 */
static inline cloze_target cloze_answer(const char *answer, uint64_t start) {
    cloze_target target = { CLOZE_TARGET_ANSWER, 0, start, answer, NULL, NULL, NULL, 0 };
    return target;
}

/* @since 0.2.0 */
static inline cloze_target cloze_token_labels(const int32_t *ids, size_t count) {
    cloze_target target = { CLOZE_TARGET_TOKENS, 0, 0, NULL, NULL, NULL, ids, count };
    return target;
}

/* A dataset without examples.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_dataset_new(cloze_dataset **dataset, cloze_error *error);

/* Adds copies of "count" examples: one target for each input; NULL targets are none. All are added, or none with
 * CLOZE_INVALID_INPUT that names the first that cannot be used: an empty text, a number that is not finite, an answer that
 * does not stand where it should.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_dataset_add(cloze_dataset *dataset, const cloze_input *inputs, const cloze_target *targets,
                                         size_t count, cloze_error *error);

/* Adds one text that is split into words, and the tag of each word; NULL tags are none. All strings end with NUL.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_dataset_add_words(cloze_dataset *dataset, const char *const *words,
                                               const char *const *tags, size_t word_count, cloze_error *error);

/* How a file is laid out. */
#define CLOZE_FORMAT_AUTO 0u  /* as the extension says: tsv, csv, jsonl, conll, txt */
#define CLOZE_FORMAT_TSV 1u   /* fields between tabs, an example a line; nothing is quoted */
#define CLOZE_FORMAT_CSV 2u   /* fields between commas, quoted as in RFC 4180 */
#define CLOZE_FORMAT_JSONL 3u /* an object a line: text, text_b, label or labels; tokens, tags; question, context, answers */
#define CLOZE_FORMAT_CONLL 4u /* a word and its tag a line, first and last of the columns; blank lines between texts */
#define CLOZE_FORMAT_LINES 5u /* a text a line */

/* Whether the first row of a table names its columns. */
#define CLOZE_HEADER_DETECT 0u
#define CLOZE_HEADER_PRESENT 1u
#define CLOZE_HEADER_ABSENT 2u

/* Columns of a table: a name in the header, or a place counted from 1, "2". NULL: found by their usual names ("text",
 * "sentence1", "premise" ...; "label" ...); without a header, text and target, or text, second text and target.
 * @since 0.2.0 */
typedef struct cloze_read_options {
    uint32_t size;
    uint32_t format;    /* CLOZE_FORMAT_... */
    uint32_t header;    /* CLOZE_HEADER_...; of tables */
    uint32_t reserved;  /* 0 */
    const char *text;   /* column of the text; where it is given and "pair" is not, there is no second text */
    const char *pair;   /* column of the second text */
    const char *target; /* column of the label or number */
} cloze_read_options;
#define CLOZE_READ_OPTIONS_INIT { sizeof(cloze_read_options), 0, 0, 0, NULL, NULL, NULL }

/* The examples of a UTF-8 file, each with a target of one kind, CLOZE_TARGET_NONE to CLOZE_TARGET_ANSWER. Every error
 * names the file and the line. A file without examples is CLOZE_INVALID_FILE.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_dataset_read(const char *path, uint32_t kind, const cloze_read_options *options,
                                          cloze_dataset **dataset, cloze_error *error);

/* Copies of the examples with these numbers, from 0, in this order: the batches and shards of a loop of your own. A number
 * may come more than once; one that there is no example of is CLOZE_INVALID_ARGUMENT.
 * @since 0.4.0 */
CLOZE_API cloze_status cloze_dataset_select(const cloze_dataset *dataset, const size_t *numbers, size_t count,
                                            cloze_dataset **selection, cloze_error *error);

/* Number of examples; 0 for NULL.
 * @since 0.2.0 */
CLOZE_API size_t cloze_dataset_count(const cloze_dataset *dataset);

/* No call may be using it.
 * @since 0.2.0 */
CLOZE_API void cloze_dataset_free(cloze_dataset *dataset);

/* ---------------------------------------------------------------------------------------------------------------------
 * 14  Train
 *
 *     cloze_train_options options = CLOZE_TRAIN_OPTIONS_INIT;
 *     options.trainable = CLOZE_TRAINABLE_TOP;
 *     options.layers = 2;
 *     cloze_trainer_new(model, &options, lessons, &trainer, &error);
 *     cloze_trainer_fit(trainer, lessons, NULL, NULL, NULL, &error);
 *     cloze_trainer_snapshot(trainer, &taught, &error);
 *
 * A trainer never changes its model. Results have the same bits on any number of threads.
 */

/* A model that learns: the parameters that train, their gradients, and how far training has come; all else it shares with
 * its model. It works for one call at a time: another gets CLOZE_BUSY, also from a callback of the first. A defect of
 * cloze, CLOZE_INTERNAL, spoils no more than this trainer, which can then only be freed.
 * @since 0.2.0 */
typedef struct cloze_trainer cloze_trainer;

/* What is learned, and from which targets. */
#define CLOZE_OBJECTIVE_CLASSIFY 1u      /* one label an input, LABEL: cross-entropy */
#define CLOZE_OBJECTIVE_MULTI_LABEL 2u   /* any number of labels, LABELS: binary cross-entropy */
#define CLOZE_OBJECTIVE_REGRESS 3u       /* NUMBERS: squared error */
#define CLOZE_OBJECTIVE_TAG 4u           /* a label for each word, TAGS, or for each token, TOKENS */
#define CLOZE_OBJECTIVE_ANSWER 5u        /* where the answer stands, ANSWER */
#define CLOZE_OBJECTIVE_MASKED_LM 6u     /* words for masks, TOKENS */
#define CLOZE_OBJECTIVE_NEXT_SENTENCE 7u /* whether the second text follows, LABEL: "0" where it does, else "1" */
#define CLOZE_OBJECTIVE_PRETRAINING 8u   /* MASKED_LM and NEXT_SENTENCE together, from a cloze_corpus. @since 0.3.0 */
#define CLOZE_OBJECTIVE_CAUSAL_LM 9u     /* the next word at each place, of causal models. NONE: of the whole text; TOKENS: of
                                          * the places whose own label is not CLOZE_IGNORED. @since 0.3.0 */

/* What trains. The head always does, and the pooler that it stands on; with LoRA only a pooler that is new. */
#define CLOZE_TRAINABLE_ALL 0u
#define CLOZE_TRAINABLE_LAYERS 1u /* all layers, not the embeddings */
#define CLOZE_TRAINABLE_TOP 2u    /* as many of the last layers as the options say */
#define CLOZE_TRAINABLE_HEAD 3u   /* no layer */
#define CLOZE_TRAINABLE_LORA 4u   /* low-rank pairs beside the layers' weights (Hu et al. 2021) */

/* Order of the examples in each epoch. */
#define CLOZE_ORDER_SHUFFLED 0u
#define CLOZE_ORDER_GIVEN 1u
#define CLOZE_ORDER_BY_LENGTH 2u /* shuffled, examples of like length in one batch */

/* How the learning rate changes. All but CLOZE_SCHEDULE_CONSTANT rise from 0 over the warm-up first. */
#define CLOZE_SCHEDULE_LINEAR 0u               /* falls to 0 on a line */
#define CLOZE_SCHEDULE_COSINE 1u               /* falls to 0 on half a wave */
#define CLOZE_SCHEDULE_COSINE_WITH_RESTARTS 2u /* that, schedule_cycles times */
#define CLOZE_SCHEDULE_POLYNOMIAL 3u           /* falls to schedule_end along (the part that remains)^schedule_power */
#define CLOZE_SCHEDULE_CONSTANT 4u
#define CLOZE_SCHEDULE_CONSTANT_WITH_WARMUP 5u
#define CLOZE_SCHEDULE_INVERSE_SQRT 6u         /* sqrt(warm-up / step); without warm-up, as 10,000 steps after one */

/* Switches, as bits. */
#define CLOZE_TRAIN_FRESH_HEAD 1u       /* a new head, also where the model has one that fits; of PRETRAINING's two those
                                         * that are missing, or both where neither is */
#define CLOZE_TRAIN_KEEP_LAST 2u        /* end a fit with the last parameters, not with the best evaluated */
#define CLOZE_TRAIN_FROZEN_DROPOUT 4u   /* dropout in frozen layers too, as HuggingFace; they then run in every epoch */
#define CLOZE_TRAIN_RANK_STABILIZED 8u  /* LoRA's scale is alpha / sqrt(rank), not alpha / rank */
#define CLOZE_TRAIN_NO_SCRATCH_FILE 16u /* what frozen layers give is kept in memory alone */
#define CLOZE_TRAIN_WHOLE_WORDS 32u     /* a corpus: mask whole words, not single tokens of them. @since 0.3.0 */
#define CLOZE_TRAIN_SAME_MASKS 64u      /* a corpus: the same pairs and masks in every epoch. @since 0.3.0 */
#define CLOZE_TRAIN_UNIGRAM_BIAS 128u   /* a corpus: the logarithms of its tokens' frequencies are the words' first bias:
                                         * a new model learns sooner from what stands around. @since 0.3.0 */

/* Defaults are HuggingFace's TrainingArguments. Strings end with NUL.
 * @since 0.2.0 */
typedef struct cloze_train_options {
    uint32_t size;
    uint32_t objective;              /* CLOZE_OBJECTIVE_...; 0: CLOZE_OBJECTIVE_CLASSIFY */
    uint32_t trainable;              /* CLOZE_TRAINABLE_... */
    uint32_t layers;                 /* with CLOZE_TRAINABLE_TOP: how many */
    uint32_t switches;               /* CLOZE_TRAIN_... */
    uint32_t max_tokens;             /* longer examples are cut; 0: what the model allows */
    uint32_t epochs;                 /* 0: 3 */
    uint32_t order;                  /* CLOZE_ORDER_... */
    uint32_t batch_size;             /* examples in a batch; 0: 8, or any number where batch_tokens is given */
    uint32_t batch_tokens;           /* most tokens in a batch; 0: no limit */
    uint32_t accumulation;           /* batches in a step; 0: 1 */
    uint32_t schedule;               /* CLOZE_SCHEDULE_... */
    uint32_t schedule_cycles;        /* 0: 1 */
    float schedule_power;            /* 0: 1 */
    uint32_t patience;               /* evaluations without a better result after which training stops; 0: it does not */
    uint32_t keep_checkpoints;       /* the last of them and the best stay; 0: all */
    uint32_t lora_rank;              /* 0: 8 */
    float lora_alpha;                /* 0: 8 */
    float lora_dropout;
    float learning_rate;             /* the largest; 0: 5e-5 */
    float layer_decay;               /* factor of the learning rate from each layer to the one below; 0: 1 */
    float weight_decay;              /* of all but biases and layer norms */
    float beta1;                     /* of AdamW; 0: 0.9; below 0: 0 */
    float beta2;                     /* 0: 0.999; below 0: 0 */
    float epsilon;                   /* 0: 1e-8 */
    float max_gradient_norm;         /* larger gradients are scaled down to it; 0: 1; below 0: never */
    float dropout;                   /* probability everywhere; 0: as the model says; below 0: none */
    float label_smoothing;
    double schedule_end;             /* a learning rate; 0: 1e-7 */
    double warmup;                   /* below 1 a part of all steps, else a number of steps */
    double threshold;                /* what a better result is better by, at least, for patience */
    uint64_t max_steps;              /* 0: as many as the epochs have */
    uint64_t seed;                   /* of new parameters, order and dropout; 0: 42 */
    uint64_t evaluate_every;         /* steps between evaluations on the dev set; 0: after each epoch */
    uint64_t checkpoint_every;       /* steps between checkpoints; 0: after each epoch */
    uint64_t memory;                 /* most bytes beside the weights and the cache; 0: no limit, of a GPU all that is free */
    uint64_t cache_memory;           /* most bytes of memory for what frozen layers gave; 0: 256 MiB */
    uint64_t cache_file;             /* most bytes of a scratch file for the rest of it; 0: 8 GiB */
    const char *head;                /* name of the head; NULL: the folder's own */
    const char *metric;              /* the one that decides what is best; NULL: the objective's own */
    const char *checkpoints;         /* folder for them; NULL: none are written */
    const char *const *labels;       /* their names, in order; NULL: those that the examples have */
    size_t label_count;
    const float *class_weights;      /* one a label; NULL: all 1 */
    size_t class_weight_count;
    const char *const *lora_targets; /* names of modules: "query"; "all-linear"; NULL: "query", "value" */
    size_t lora_target_count;
    double masked;                   /* a corpus: share of the tokens that are masked; 0: 0.15. @since 0.3.0, as the rest */
    double short_examples;           /* share of the examples that are shorter; 0: 0.1; below 0: 0 */
    double random_next;              /* share of the pairs that do not follow; 0: 0.5; below 0: 0 */
    uint64_t dev_examples;           /* most examples of a dev corpus; 0: all */
} cloze_train_options;
#define CLOZE_TRAIN_OPTIONS_INIT { sizeof(cloze_train_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,                                                          \
    NULL, NULL, NULL, NULL, 0, NULL, 0, NULL, 0, 0, 0, 0, 0 }

/* A trainer of "model". Labels come from the options, else from labels_from, sorted, which may be NULL, else from the
 * model's own head. That head is taken over if it fits; else there is a new one, of random numbers as HuggingFace's; heads
 * for words and next sentences only with CLOZE_TRAIN_FRESH_HEAD, else CLOZE_MISSING names the tensor that is not there.
 * CLOZE_OUT_OF_MEMORY names the bytes that are needed where options.memory is too little.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_new(const cloze_model *model, const cloze_train_options *options,
                                         const cloze_dataset *labels_from, cloze_trainer **trainer,
                                         cloze_error *error);

/* What a trainer is and where it stands. The library writes as many bytes as "size" says.
 * @since 0.2.0 */
typedef struct cloze_trainer_state {
    uint32_t size;
    uint32_t objective;      /* CLOZE_OBJECTIVE_... */
    uint32_t labels;         /* number of them */
    uint32_t reserved;       /* 0 */
    uint64_t parameters;     /* numbers that train */
    uint64_t planned_memory; /* bytes that training takes beside the mapped weights and the cache */
    uint64_t steps;          /* optimizer steps done */
    double epochs;           /* passes over the examples done, in part */
} cloze_trainer_state;
#define CLOZE_TRAINER_STATE_INIT { sizeof(cloze_trainer_state), 0, 0, 0, 0, 0, 0, 0 }

/* @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_info(const cloze_trainer *trainer, cloze_trainer_state *state,
                                          cloze_error *error);

/* One line of JSON: "labels"; "fresh", names of tensors that began at random; "tensors", name and shape of each that trains,
 * in the order of cloze_trainer_parameters; and "history": loss and learning rate of every step, metrics of every
 * evaluation.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_report(const cloze_trainer *trainer, char *json, size_t capacity, size_t *size,
                                            cloze_error *error);

/* Name of a label.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_label(const cloze_trainer *trainer, uint32_t label, char *name, size_t capacity,
                                           size_t *size, cloze_error *error);

/* Most metrics that one evaluation gives. */
#define CLOZE_MAX_METRICS 32

/* The "loss", or a fraction of 1: "accuracy", "macro_f1", "spearman" ...; NaN where it is not defined. The layout never
 * changes.
 * @since 0.2.0 */
typedef struct cloze_metric {
    char name[56]; /* NUL-terminated */
    double value;
} cloze_metric;

/* What has just happened: cloze_train_event.kind. */
#define CLOZE_EVENT_STEP 1u       /* an optimizer step: seconds, loss, learning_rate, gradient_norm, examples, tokens ... */
#define CLOZE_EVENT_EVALUATION 2u /* an evaluation on the dev set: seconds, metrics, best */
#define CLOZE_EVENT_CHECKPOINT 3u /* a checkpoint is complete: folder */

/* News of a fit. Below "epoch", fields that are not of its kind are 0. What it points to lives until the callback returns.
 * @since 0.2.0 */
typedef struct cloze_train_event {
    uint32_t size; /* bytes that the library has filled in */
    uint32_t kind; /* CLOZE_EVENT_... */
    uint64_t step;  /* optimizer steps done */
    uint64_t total; /* steps there will be, unless patience ends */
    double epoch;   /* passes over the examples done, in part */
    double seconds; /* that it took */
    double loss;    /* mean of the step's batches */
    double learning_rate;
    double gradient_norm; /* before it is scaled down */
    uint64_t examples;    /* of the step */
    const cloze_metric *metrics;
    size_t metric_count;
    const char *folder; /* NUL-terminated */
    uint64_t best;      /* 1: the best evaluation so far */
    uint64_t tokens;    /* of the step. @since 0.3.0, as the rest: look at size */
    double mlm_loss;    /* of masked words, where they are learned */
    double mlm_accuracy;
    double nsp_loss;    /* of next sentences, where they are learned */
    double nsp_accuracy;
} cloze_train_event;

/* Told as a fit goes on; a result other than 0 stops it, as cloze_cancel_set does. It may use any model, and read any
 * dataset. Must not throw or jump out of the call.
 * @since 0.2.0 */
typedef int (*cloze_observe)(void *user, const cloze_train_event *event);

/* @since 0.2.0 */
typedef struct cloze_fit_options {
    uint32_t size;
    uint32_t reserved; /* 0 */
    const cloze_cancel *cancel;
    cloze_observe observe;
    void *user; /* handed to observe */
} cloze_fit_options;
#define CLOZE_FIT_OPTIONS_INIT { sizeof(cloze_fit_options), 0, NULL, NULL, NULL }

/* What a fit came to. The library writes as many bytes as "size" says.
 * @since 0.2.0 */
typedef struct cloze_fit_result {
    uint32_t size;
    uint32_t stopped_early; /* 1: patience ended it */
    uint64_t steps;         /* optimizer steps done, since the trainer was new */
    double epochs;
    uint64_t best_step; /* of the best evaluation; 0 where there was none */
    double best_value;  /* of the metric that decides */
} cloze_fit_result;
#define CLOZE_FIT_RESULT_INIT { sizeof(cloze_fit_result), 0, 0, 0, 0, 0 }

/* Trains to the end of the options' epochs or steps, from where the trainer stands: a fit that was stopped goes on with
 * the next step, to the same bits as one that was not. dev, options and result may be NULL. CLOZE_INVALID_INPUT names an
 * example that cannot be used, before the first step. CLOZE_CANCELLED leaves the parameters of the last whole step, and so
 * does CLOZE_NOT_FINITE, which names the step and its examples.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_fit(cloze_trainer *trainer, const cloze_dataset *train, const cloze_dataset *dev,
                                         const cloze_fit_options *options, cloze_fit_result *result,
                                         cloze_error *error);

/* Takes over a checkpoint of a trainer with the same options; cloze_trainer_fit then goes on to the same bits as the run
 * that wrote it. The folder is a checkpoint, or the folder of checkpoints for its newest.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_resume(cloze_trainer *trainer, const char *folder, cloze_error *error);

/* Writes a checkpoint of this moment as the folder, in one step: parameters, moments, steps done. Between the steps of a
 * loop of your own too, but not between cloze_trainer_accumulate and cloze_trainer_apply, CLOZE_INVALID_ARGUMENT.
 * @since 0.4.0 */
CLOZE_API cloze_status cloze_trainer_checkpoint(cloze_trainer *trainer, const char *folder, cloze_error *error);

/* Metrics of the parameters as they are. Room for CLOZE_MAX_METRICS is needed; count tells how many were written. Of the
 * options, text and max_tokens are 0: the trainer's count.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_evaluate(const cloze_trainer *trainer, const cloze_dataset *data,
                                              const cloze_call_options *options, cloze_metric *metrics,
                                              size_t capacity, size_t *count, cloze_error *error);

/* No call may be using it. Its model, snapshots and datasets stay.
 * @since 0.2.0 */
CLOZE_API void cloze_trainer_free(cloze_trainer *trainer);

/* ---------------------------------------------------------------------------------------------------------------------
 * 15  Train step by step
 *
 * For loops of your own, federated averaging, several machines: accumulate batches, exchange gradients or parameters,
 * apply. The numbers of all tensors that train lie one after another in one buffer, in the order of cloze_trainer_report:
 * cloze_trainer_state.parameters of them. Those of a LoRA are its pairs and the head.
 */

/* One batch forward and back: adds its gradients and tells its mean loss. cancel may be NULL; CLOZE_CANCELLED leaves
 * the gradients cleared.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_accumulate(cloze_trainer *trainer, const cloze_dataset *batch,
                                                const cloze_cancel *cancel, double *loss, cloze_error *error);

/* An optimizer step with the mean of the accumulated batches, whose gradients are cleared; tells their norm before it is
 * scaled down. The learning rate is yours; below 0: that of the options. Where nothing was accumulated,
 * CLOZE_INVALID_ARGUMENT; where gradients are not finite, CLOZE_NOT_FINITE, and the parameters stay as they were.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_apply(cloze_trainer *trainer, float learning_rate, double *gradient_norm,
                                           cloze_error *error);

/* Copies of the parameters that train.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_parameters(const cloze_trainer *trainer, float *parameters, size_t capacity,
                                                size_t *count, cloze_error *error);

/* @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_set_parameters(cloze_trainer *trainer, const float *parameters, size_t count,
                                                    cloze_error *error);

/* Copies of what cloze_trainer_accumulate has added up since the last step: gradients of the sum of its losses.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_gradients(const cloze_trainer *trainer, float *gradients, size_t capacity,
                                               size_t *count, cloze_error *error);

/* What the next cloze_trainer_apply takes instead, as the gradients of one batch.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_set_gradients(cloze_trainer *trainer, const float *gradients, size_t count,
                                                   cloze_error *error);

/* Numbers where they lie. The layout never changes.
 * @since 0.4.0 */
typedef struct cloze_buffer {
    float *data; /* in the memory of the model's device */
    size_t count;
} cloze_buffer;

/* The gradients where they lie, a buffer for each tensor in the order of cloze_trainer_report: to be averaged over machines
 * in place, by MPI, or by NCCL where the model is on a GPU (ncclAvg within ncclGroupStart and ncclGroupEnd). All work on
 * them has ended when the call returns; yours has to before the next call on the trainer, until which they are valid.
 * cloze_trainer_apply still divides them by the number of batches accumulated here.
 * @since 0.4.0 */
CLOZE_API cloze_status cloze_trainer_gradient_buffers(cloze_trainer *trainer, cloze_buffer *buffers, size_t capacity,
                                                      size_t *count, cloze_error *error);

/* ---------------------------------------------------------------------------------------------------------------------
 * 16  Keep what was learned
 *
 * Models made here share the mapped weights of the model that they come from, and all else that did not change. A folder
 * is written beside its place and renamed: whatever happens, the old one or the new one is there, whole.
 */

/* The trainer's parameters as they are, as a model of its own: to answer from while training goes on.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_snapshot(const cloze_trainer *trainer, cloze_model **model, cloze_error *error);

/* Writes a HuggingFace folder: model.safetensors, config.json with labels, the tokenizer's files. LoRA is merged into the
 * weights.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_save(const cloze_trainer *trainer, const char *folder, cloze_error *error);

/* Writes a PEFT folder: the low-rank pairs and the head. CLOZE_INVALID_ARGUMENT where the trainer has no LoRA.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_save_adapter(const cloze_trainer *trainer, const char *folder,
                                                  cloze_error *error);

/* Writes a model as cloze_trainer_save does.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_model_save(const cloze_model *model, const char *folder, cloze_error *error);

/* What weights are stored in. */
#define CLOZE_DTYPE_F32 0u
#define CLOZE_DTYPE_F16 1u  /* IEEE 754 binary16: 11 bits of precision, at most 65504 */
#define CLOZE_DTYPE_BF16 2u /* the upper half of an f32: 8 bits of precision */
#define CLOZE_DTYPE_INT8 3u /* integers from -127 to 127, and for every output of a layer what they are multiples of */

/* The same with every weight in "dtype", CLOZE_DTYPE_..., rounded to the nearest. With CLOZE_DTYPE_INT8 the linear layers
 * of the encoder are in 8 bits and all else is as cloze_model_save writes it. Such a folder opens like any other, here and
 * in transformers (with compressed-tensors); in CLOZE_PRECISION_INT8 it answers as the model did before. A number that the
 * type can not hold is CLOZE_INVALID_ARGUMENT, which names the tensor; nothing is written then.
 * @since 0.3.0, CLOZE_DTYPE_INT8 since 0.4.0 */
CLOZE_API cloze_status cloze_model_save_as(const cloze_model *model, const char *folder, uint32_t dtype,
                                           cloze_error *error);

/* A model with the LoRA adapter of a PEFT folder, and with the head in it. The given one stays as it is: one base serves
 * any number of adapters at the same time.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_model_adapt(const cloze_model *model, const char *folder, cloze_model **adapted,
                                         cloze_error *error);

/* A model whose classifier is one of the named heads.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_model_use_head(const cloze_model *model, const char *name, cloze_model **with_head,
                                            cloze_error *error);

/* Name of a named head, counted from 0; CLOZE_MISSING beyond the last.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_model_head(const cloze_model *model, uint32_t head, char *name, size_t capacity,
                                        size_t *size, cloze_error *error);

/* Metrics of a model on examples. The objective is CLOZE_OBJECTIVE_..., or 0 for what its head was trained for. Room for
 * CLOZE_MAX_METRICS is needed; count tells how many were written. Of the options, text is 0; examples are cut as in training.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_model_evaluate(const cloze_model *model, uint32_t objective, const cloze_dataset *data,
                                            const cloze_call_options *options, cloze_metric *metrics, size_t capacity,
                                            size_t *count, cloze_error *error);

/* ---------------------------------------------------------------------------------------------------------------------
 * 17  Closed forms
 *
 * One pass over the examples, no steps, no learning rate. A library built without the cargo feature "linalg" answers
 * CLOZE_UNSUPPORTED.
 */

#define CLOZE_SOLVE_RIDGE 0u        /* least squares with a penalty on the weights: labels, several labels, numbers, tags */
#define CLOZE_SOLVE_DISCRIMINANT 1u /* linear discriminant analysis: labels and tags; good with few examples a label */

/* @since 0.2.0 */
typedef struct cloze_solve_options {
    uint32_t size;
    uint32_t method; /* CLOZE_SOLVE_... */
    double strength; /* penalty of a ridge, shrinkage of a discriminant (at most 1); 0: chosen from the examples */
    const cloze_cancel *cancel;
    cloze_progress progress;
    void *user; /* handed to progress */
} cloze_solve_options;
#define CLOZE_SOLVE_OPTIONS_INIT { sizeof(cloze_solve_options), 0, 0.0, NULL, NULL, NULL }

/* Gives the trainer's head the weights that are best for the examples by that method, and tells the strength used. All
 * else stays as it is: fit goes on from there, or the head is kept as one of its own.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_trainer_solve(cloze_trainer *trainer, const cloze_dataset *data,
                                           const cloze_solve_options *options, double *strength, cloze_error *error);

/* A model whose embeddings have "width" numbers which over the inputs have mean 0 and vary alike and independently
 * (BERT-whitening, Su et al. 2021). Thousands of texts of the kind that will be embedded are right; texts that vary along
 * fewer directions than "width" are CLOZE_INVALID_ARGUMENT. Of the options, text and max_tokens are 0.
 * @since 0.2.0 */
CLOZE_API cloze_status cloze_model_whiten(const cloze_model *model, const cloze_input *inputs, size_t input_count,
                                          uint32_t width, const cloze_call_options *options, cloze_model **whitened,
                                          cloze_error *error);

/* ---------------------------------------------------------------------------------------------------------------------
 * 18  Pretrain
 *
 *     cloze_vocabulary_learn("books", &vocabulary_options, "vocabulary", &error);
 *     cloze_model_create(config, strlen(config), "vocabulary", NULL, &model, &error);
 *     cloze_corpus_open(model, "books", NULL, &corpus, &error);
 *     options.objective = CLOZE_OBJECTIVE_PRETRAINING;
 *     cloze_trainer_new(model, &options, NULL, &trainer, &error);
 *     cloze_trainer_pretrain(trainer, corpus, NULL, NULL, NULL, &error);
 *     cloze_trainer_save(trainer, "my-bert", &error);
 *
 * From plain text to a model; or, with a model that was opened, on to one that knows your text. Text is a folder, whose
 * .txt files are read in the order of their paths, or one file: UTF-8, a blank line between documents.
 */

/* Text as token ids of one vocabulary, in a scratch file without a name: it may be larger than memory. Immutable.
 * @since 0.3.0 */
typedef struct cloze_corpus cloze_corpus;

/* Whether the vocabulary tells capital letters and accents apart. */
#define CLOZE_CASING_UNCASED 0u
#define CLOZE_CASING_CASED 1u

/* What a line of text is. */
#define CLOZE_CORPUS_PARAGRAPHS 0u /* sentences, found by their punctuation (UAX #29) */
#define CLOZE_CORPUS_SENTENCES 1u  /* one sentence */

/* @since 0.3.0 */
typedef struct cloze_vocabulary_options {
    uint32_t size;
    uint32_t tokens;        /* most tokens of the vocabulary; 0: 30522 */
    uint32_t casing;        /* CLOZE_CASING_... */
    uint32_t lines;         /* CLOZE_CORPUS_... */
    uint32_t min_frequency; /* what occurs less often is not joined to a token; 0: 2 */
    uint32_t max_tokens;    /* model_max_length in tokenizer_config.json; 0: 512 */
} cloze_vocabulary_options;
#define CLOZE_VOCABULARY_OPTIONS_INIT { sizeof(cloze_vocabulary_options), 0, 0, 0, 0, 0 }

/* Learns a WordPiece vocabulary from text and writes vocab.txt, tokenizer.json and the files beside them into a folder,
 * which is made if need be. The same text gives the same bytes.
 * @since 0.3.0 */
CLOZE_API cloze_status cloze_vocabulary_learn(const char *path, const cloze_vocabulary_options *options,
                                              const char *folder, cloze_error *error);

/* @since 0.3.0 */
typedef struct cloze_create_options {
    uint32_t size;
    uint32_t threads;   /* as of cloze_model_open */
    uint32_t objective; /* which heads: of CLOZE_OBJECTIVE_MASKED_LM or CLOZE_OBJECTIVE_PRETRAINING; 0: the latter */
    uint32_t reserved;  /* 0 */
    uint64_t seed;      /* 0: 42 */
    const char *device; /* as of cloze_model_open. @since 0.4.0, as the rest */
    uint32_t precision;
    uint32_t memory;
} cloze_create_options;
#define CLOZE_CREATE_OPTIONS_INIT { sizeof(cloze_create_options), 0, 0, 0, 0, NULL, 0, 0 }

/* A model of random weights, as HuggingFace makes them: "config" is the text of a config.json, "tokenizer" a folder with a
 * vocabulary. CLOZE_INVALID_ARGUMENT where that has more tokens than the config's vocab_size.
 * @since 0.3.0 */
CLOZE_API cloze_status cloze_model_create(const void *config, size_t config_size, const char *tokenizer,
                                          const cloze_create_options *options, cloze_model **model,
                                          cloze_error *error);

/* @since 0.3.0 */
typedef struct cloze_corpus_options {
    uint32_t size;
    uint32_t lines;      /* CLOZE_CORPUS_... */
    uint32_t max_tokens; /* of the examples to be made of it: longer sentences are cut; 0: what the model allows */
    uint32_t reserved;   /* 0 */
} cloze_corpus_options;
#define CLOZE_CORPUS_OPTIONS_INIT { sizeof(cloze_corpus_options), 0, 0, 0 }

/* Reads text and splits it into tokens of the model's vocabulary. A file that is not UTF-8 text is CLOZE_INVALID_FILE,
 * which names its line and byte, before anything else is read; no text at all is CLOZE_INVALID_INPUT. What is left out or
 * cut is no error but a notice.
 * @since 0.3.0 */
CLOZE_API cloze_status cloze_corpus_open(const cloze_model *model, const char *path,
                                         const cloze_corpus_options *options, cloze_corpus **corpus,
                                         cloze_error *error);

/* What a corpus holds. The library writes as many bytes as "size" says.
 * @since 0.3.0 */
typedef struct cloze_corpus_state {
    uint32_t size;
    uint32_t notices; /* number of them */
    uint64_t documents;
    uint64_t sentences;
    uint64_t tokens;
} cloze_corpus_state;
#define CLOZE_CORPUS_STATE_INIT { sizeof(cloze_corpus_state), 0, 0, 0, 0 }

/* @since 0.3.0 */
CLOZE_API cloze_status cloze_corpus_info(const cloze_corpus *corpus, cloze_corpus_state *state, cloze_error *error);

/* What was left out or cut, with its place: "books/a.txt: no text".
 * @since 0.3.0 */
CLOZE_API cloze_status cloze_corpus_notice(const cloze_corpus *corpus, uint32_t notice, char *message, size_t capacity,
                                           size_t *size, cloze_error *error);

/* No call may be using it.
 * @since 0.3.0 */
CLOZE_API void cloze_corpus_free(cloze_corpus *corpus);

/* As cloze_trainer_fit, with examples made of text (Devlin et al. 2019): pairs of segments, half of which follow each
 * other, and masks, both anew in every epoch, from the trainer's seed alone. The objective is CLOZE_OBJECTIVE_MASKED_LM or
 * CLOZE_OBJECTIVE_PRETRAINING; the latter refuses a corpus of one document. dev, options and result may be NULL.
 * @since 0.3.0 */
CLOZE_API cloze_status cloze_trainer_pretrain(cloze_trainer *trainer, const cloze_corpus *train,
                                              const cloze_corpus *dev, const cloze_fit_options *options,
                                              cloze_fit_result *result, cloze_error *error);

/* "loss", "perplexity", "mlm_accuracy", "nsp_accuracy" ... of the model on text. Of "recipe" only what makes examples of it
 * counts, and the objective. Room for CLOZE_MAX_METRICS is needed. Of the options, text and max_tokens are 0.
 * @since 0.3.0 */
CLOZE_API cloze_status cloze_evaluate_corpus(const cloze_model *model, const cloze_corpus *corpus,
                                             const cloze_train_options *recipe, const cloze_call_options *options,
                                             cloze_metric *metrics, size_t capacity, size_t *count,
                                             cloze_error *error);

/* ---------------------------------------------------------------------------------------------------------------------
 * 19  Generate
 *
 * With causal models: config.json has "is_decoder": true. Others answer CLOZE_UNSUPPORTED.
 */

/* A token that was generated.
 * @since 0.3.0 */
typedef struct cloze_new_token {
    uint32_t input;        /* index of its input */
    uint32_t continuation; /* number of its continuation of that input, from 0 */
    int32_t id;
    float log_probability; /* natural logarithm, as the model gives it: before temperature, top_k and top_p */
} cloze_new_token;

/* Called with each token as soon as it is there; a result other than 0 makes it the last of its continuation. Must not
 * throw or jump out of the call.
 * @since 0.3.0 */
typedef int (*cloze_token_callback)(void *user, const cloze_new_token *token);

/* @since 0.3.0 */
typedef struct cloze_generate_options {
    uint32_t size;
    uint32_t text;          /* CLOZE_TEXT_... */
    uint32_t prompt_tokens; /* longest input in tokens; 0: what the model allows */
    uint32_t max_tokens;    /* most new tokens of a continuation; 0: what the model has positions for */
    uint32_t count;         /* continuations of every input; 0: 1. More than one have to be drawn */
    float temperature;      /* 0: the likeliest token each time. Else tokens are drawn: below 1 likely ones more often */
    uint32_t top_k;         /* of so many likeliest; 0: of all */
    float top_p;            /* of the likeliest whose probabilities sum to this; 0: of all */
    uint64_t seed;          /* one seed gives one text on any number of threads */
    const cloze_cancel *cancel;
    cloze_progress progress;
    cloze_token_callback token;
    void *user;         /* handed to progress and token */
    const int32_t *end; /* id of the token that ends a text; NULL: the tokenizer's [SEP] */
} cloze_generate_options;
#define CLOZE_GENERATE_OPTIONS_INIT { sizeof(cloze_generate_options), 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL }

/* Continuations of every input, until [SEP], max_tokens, or the end of the model's positions: input by input,
 * continuation by continuation, token by token. A [SEP] that ended a continuation is its last token. The count is what
 * was generated; the capacity has to be that of the longest continuations there could be, which a buffer that is too small
 * is told. A text goes in without the [SEP] that would end it; token ids are taken as they are. [PAD], [UNK], [CLS]
 * and [MASK] are never generated.
 * @since 0.3.0 */
CLOZE_API cloze_status cloze_generate(const cloze_model *model, const cloze_input *inputs, size_t input_count,
                                      const cloze_generate_options *options, cloze_new_token *tokens, size_t capacity,
                                      size_t *count, cloze_error *error);

/* ---------------------------------------------------------------------------------------------------------------------
 * 20  Devices
 *
 * A model stays where cloze_open_options.device puts it, and with it all models and trainers made from it. "cpu" is the
 * default; "cuda" is the first NVIDIA GPU, "cuda:1" the second: CLOZE_NO_DEVICE where it cannot be used. "auto" is the first
 * that can be used and has room for the model, and the CPU where there is none. Folders and checkpoints are the same from
 * every device.
 */

/* A device that models can run on. The library writes as many bytes as "size" says. Text that does not fit is cut between
 * two characters.
 * @since 0.4.0 */
typedef struct cloze_device {
    uint32_t size;
    uint32_t usable;      /* 1; or 0, and "note" tells why */
    uint32_t capability;  /* of a GPU: 90 for compute capability 9.0; 0 for the CPU */
    uint32_t precision;   /* CLOZE_PRECISION_...: of a model, its own; of a device, what CLOZE_PRECISION_AUTO is there */
    uint64_t memory;      /* bytes; 0 where that is not known */
    uint64_t free_memory; /* bytes of it */
    char id[16];          /* what cloze_open_options.device takes: "cuda:0" */
    char name[112];       /* as its maker calls it; of the CPU, the instruction set in use */
    char note[256];       /* why it cannot be used; of a model that was opened with "auto", why it is not on CUDA; or empty */
} cloze_device;
#define CLOZE_DEVICE_INIT { sizeof(cloze_device), 0, 0, 0, 0, 0, "", "", "" }

/* Number of devices, those that cannot be used among them. Where CUDA has none to list, one that cannot be used stands for
 * it.
 * @since 0.4.0 */
CLOZE_API uint32_t cloze_device_count(void);

/* The CPU is device 0. CLOZE_MISSING beyond the last.
 * @since 0.4.0 */
CLOZE_API cloze_status cloze_device_get(uint32_t index, cloze_device *device, cloze_error *error);

/* What a model runs on.
 * @since 0.4.0 */
CLOZE_API cloze_status cloze_model_device(const cloze_model *model, cloze_device *device, cloze_error *error);

#ifdef __cplusplus
}
#endif

#endif /* CLOZE_H */
