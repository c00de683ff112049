package cloze

/*
#include <cloze.h>
*/
import "C"

import (
	"context"
	"unsafe"
)

// Casing is whether a vocabulary tells capital letters and accents apart.
type Casing uint32

// The casings.
const (
	CasingUncased Casing = C.CLOZE_CASING_UNCASED
	CasingCased   Casing = C.CLOZE_CASING_CASED
)

// Lines is what a line of text is.
type Lines uint32

// What lines can be.
const (
	CorpusParagraphs Lines = C.CLOZE_CORPUS_PARAGRAPHS // sentences, found by their punctuation
	CorpusSentences  Lines = C.CLOZE_CORPUS_SENTENCES  // one sentence
)

// VocabularyOptions are the options of [LearnVocabulary].
type VocabularyOptions struct {
	Tokens       int // most tokens of the vocabulary; 0: 30522
	Casing       Casing
	Lines        Lines
	MinFrequency int // what occurs less often is not joined to a token; 0: 2
	MaxTokens    int // model_max_length in tokenizer_config.json; 0: 512
}

// LearnVocabulary learns a WordPiece vocabulary from text and writes vocab.txt, tokenizer.json and the files beside them
// into a folder, which is made if need be. Text is a folder of .txt files, or one file: UTF-8, a blank line between
// documents. The same text gives the same bytes.
func LearnVocabulary(path string, options *VocabularyOptions, folder string) error {
	var c call
	if err := c.begin(context.Background()); err != nil {
		return err
	}
	defer c.end()
	own := defaults(options)
	o := one[C.cloze_vocabulary_options](&c)
	o.size = C.uint32_t(unsafe.Sizeof(*o))
	o.tokens = c.u32("Tokens", own.Tokens)
	o.casing = C.uint32_t(own.Casing)
	o.lines = C.uint32_t(own.Lines)
	o.min_frequency = c.u32("MinFrequency", own.MinFrequency)
	o.max_tokens = c.u32("MaxTokens", own.MaxTokens)
	from, to := c.str("path", path), c.str("folder", folder)
	if c.argument != nil {
		return c.argument
	}
	return c.check(C.cloze_vocabulary_learn(from, o, to, c.err))
}

// CreateOptions are the options of [Create].
type CreateOptions struct {
	Threads   int       // worker threads of the model; 0: one per processor
	Objective Objective // which heads: of ObjectiveMaskedLM or ObjectivePretraining; 0: the latter
	Seed      uint64    // 0: 42
	Device    string    // as in OpenOptions, as the rest
	Precision Precision
	Memory    Memory
}

// Create returns a model of random weights, as HuggingFace makes them: config is the text of a config.json, tokenizer a
// folder with a vocabulary. [ErrInvalidArgument] where that has more tokens than the config's vocab_size.
func Create(config []byte, tokenizer string, options *CreateOptions) (*Model, error) {
	return makeModel(nil, nil, func(c *call, _ *C.cloze_model, out **C.cloze_model) C.cloze_status {
		own := defaults(options)
		o := one[C.cloze_create_options](c)
		o.size = C.uint32_t(unsafe.Sizeof(*o))
		o.threads = c.u32("Threads", own.Threads)
		o.objective = C.uint32_t(own.Objective)
		o.seed = C.uint64_t(own.Seed)
		o.device = c.optional("Device", own.Device)
		o.precision = C.uint32_t(own.Precision)
		o.memory = C.uint32_t(own.Memory)
		folder := c.str("tokenizer", tokenizer)
		if c.argument != nil {
			return C.CLOZE_OK
		}
		return C.cloze_model_create(unsafe.Pointer(unsafe.SliceData(config)), C.size_t(len(config)), folder, o, out, c.err)
	})
}

// Corpus is text as token ids of one vocabulary, in a scratch file without a name: it may be larger than memory. It never
// changes.
type Corpus struct {
	owner *owner
}

// CorpusOptions are the options of [OpenCorpus].
type CorpusOptions struct {
	Lines     Lines
	MaxTokens int // of the examples to be made of it: longer sentences are cut; 0: what the model allows
}

// OpenCorpus reads text and splits it into tokens of the model's vocabulary. A file that is not UTF-8 text is
// [ErrInvalidFile], which names its line and byte, before anything else is read; no text at all is [ErrInvalidInput]. What
// is left out or cut is no error but a notice.
func OpenCorpus(m *Model, path string, options *CorpusOptions) (*Corpus, error) {
	var c call
	if err := c.begin(context.Background(), m.owner); err != nil {
		return nil, err
	}
	defer c.end()
	own, out := defaults(options), one[*C.cloze_corpus](&c)
	o := one[C.cloze_corpus_options](&c)
	o.size = C.uint32_t(unsafe.Sizeof(*o))
	o.lines = C.uint32_t(own.Lines)
	o.max_tokens = c.u32("MaxTokens", own.MaxTokens)
	p := c.str("path", path)
	if c.argument != nil {
		return nil, c.argument
	}
	if err := c.check(C.cloze_corpus_open(m.c(), p, o, out, c.err)); err != nil {
		return nil, err
	}
	corpus := &Corpus{newOwner("corpus", unsafe.Pointer(*out), nil, func(p unsafe.Pointer) {
		C.cloze_corpus_free((*C.cloze_corpus)(p))
	})}
	net(corpus, corpus.owner)
	return corpus, nil
}

// c returns the handle, NULL for nil; the caller holds a use of the owner.
func (p *Corpus) c() *C.cloze_corpus {
	if p == nil {
		return nil
	}
	return (*C.cloze_corpus)(p.owner.ptr)
}

// use returns the owner, nil for nil.
func (p *Corpus) use() *owner {
	if p == nil {
		return nil
	}
	return p.owner
}

// Close frees the corpus, as soon as no call uses it. The error is always nil.
func (p *Corpus) Close() error {
	if p != nil {
		p.owner.close()
	}
	return nil
}

// CorpusInfo is what a corpus holds.
type CorpusInfo struct {
	Notices   int // number of them
	Documents uint64
	Sentences uint64
	Tokens    uint64
}

// Info returns what the corpus holds.
func (p *Corpus) Info() (CorpusInfo, error) {
	var c call
	if err := c.begin(context.Background(), p.owner); err != nil {
		return CorpusInfo{}, err
	}
	defer c.end()
	i := one[C.cloze_corpus_state](&c)
	i.size = C.uint32_t(unsafe.Sizeof(*i))
	if err := c.check(C.cloze_corpus_info(p.c(), i, c.err)); err != nil {
		return CorpusInfo{}, err
	}
	return CorpusInfo{int(i.notices), uint64(i.documents), uint64(i.sentences), uint64(i.tokens)}, nil
}

// Notices returns what was left out or cut, with its place: "books/a.txt: no text".
func (p *Corpus) Notices() ([]string, error) {
	info, err := p.Info()
	if err != nil {
		return nil, err
	}
	notices := make([]string, info.Notices)
	for i := range notices {
		if notices[i], err = p.notice(i); err != nil {
			return nil, err
		}
	}
	return notices, nil
}

func (p *Corpus) notice(i int) (string, error) {
	var c call
	if err := c.begin(context.Background(), p.owner); err != nil {
		return "", err
	}
	defer c.end()
	return c.text(func(out *C.char, capacity C.size_t, size *C.size_t) C.cloze_status {
		return C.cloze_corpus_notice(p.c(), C.uint32_t(i), out, capacity, size, c.err)
	})
}

// Pretrain is [Trainer.Fit] with examples made of text: pairs of segments, half of which follow each other, and masks, both
// anew in every epoch, from the trainer's seed alone. The objective is [ObjectiveMaskedLM] or [ObjectivePretraining]; the
// latter refuses a corpus of one document. The dev corpus may be nil.
func (t *Trainer) Pretrain(ctx context.Context, train, dev *Corpus, options *FitOptions) (FitResult, error) {
	return t.fit(ctx, train.use(), dev.use(), options, func(c *call, o *C.cloze_fit_options, r *C.cloze_fit_result) C.cloze_status {
		return C.cloze_trainer_pretrain(t.c(), train.c(), dev.c(), o, r, c.err)
	})
}

// EvaluateCorpus returns "loss", "perplexity", "mlm_accuracy", "nsp_accuracy" ... of the model on text. Of the recipe only
// what makes examples of it counts, and the objective. Of the options, Text and MaxTokens are 0.
func (m *Model) EvaluateCorpus(ctx context.Context, corpus *Corpus, recipe *TrainOptions, options *CallOptions) (Metrics, error) {
	var c call
	if err := c.begin(ctx, m.owner, corpus.use()); err != nil {
		return nil, err
	}
	defer c.end()
	r, o := c.trainOptions(recipe), c.callOptions(options)
	return c.metrics(func(out *C.cloze_metric, capacity C.size_t, count *C.size_t) C.cloze_status {
		return C.cloze_evaluate_corpus(m.c(), corpus.c(), r, o, out, capacity, count, c.err)
	})
}
