package cloze

/*
#include <cloze.h>
*/
import "C"

import (
	"context"
	"unsafe"
)

// FillOptions are the options of [Model.Fill].
type FillOptions struct {
	Text      TextMode
	MaxTokens int // longest text in tokens; 0: what the model allows
	TopK      int // candidates for each mask; 0: 5
	Progress  Progress
	Targets   []int32 // only these ids, one given twice counting once; nil: all words
	Mask      *int32  // id of the mask token; nil: the tokenizer's
}

// Candidate is a word for a mask.
type Candidate struct {
	Input       int // index of its input
	Position    int // of the mask among the input's tokens
	ID          int32
	Probability float32 // over the whole vocabulary, also with targets
}

// Fill returns the best words for every "[MASK]" of every input: input by input, mask by mask, the likeliest first. An
// input without mask is [ErrInvalidInput].
func (m *Model) Fill(ctx context.Context, inputs []Input, options *FillOptions) ([]Candidate, error) {
	var c call
	if err := c.begin(ctx, m.owner); err != nil {
		return nil, err
	}
	defer c.end()
	own, in := defaults(options), c.inputs(inputs)
	o := one[C.cloze_fill_options](&c)
	o.size = C.uint32_t(unsafe.Sizeof(*o))
	o.text = C.uint32_t(own.Text)
	o.max_tokens = c.u32("MaxTokens", own.MaxTokens)
	o.top_k = c.u32("TopK", own.TopK)
	o.cancel = c.flag()
	o.progress, o.user = c.progress(own.Progress)
	o.targets = copied[int32, C.int32_t](&c, own.Targets)
	o.target_count = C.size_t(len(own.Targets))
	o.mask = c.id(own.Mask)
	room := len(inputs) * max(own.TopK, 5)
	out, err := fetch(&c, room, func(out *C.cloze_candidate, capacity C.size_t, count *C.size_t) C.cloze_status {
		return C.cloze_fill(m.c(), in, C.size_t(len(inputs)), o, out, capacity, count, c.err)
	})
	if err != nil {
		return nil, err
	}
	candidates := make([]Candidate, len(out))
	for i, v := range out {
		candidates[i] = Candidate{int(v.input), int(v.position), int32(v.id), float32(v.probability)}
	}
	return candidates, nil
}

// ScoreMethod is how texts are scored.
type ScoreMethod uint32

// The methods.
const (
	ScorePLL        ScoreMethod = C.CLOZE_SCORE_PLL          // pseudo-log-likelihood: each token is masked in turn
	ScorePLLWordL2R ScoreMethod = C.CLOZE_SCORE_PLL_WORD_L2R // with it, the later pieces of its word are masked too
	ScoreCausal     ScoreMethod = C.CLOZE_SCORE_CAUSAL       // the chain rule: the one method of causal models, and theirs alone
)

// ScoreOptions are the options of [Model.Score] and [Model.ScoreTokens].
type ScoreOptions struct {
	Text      TextMode
	MaxTokens int // longest text in tokens; 0: what the model allows
	Method    ScoreMethod
	Progress  Progress
	Mask      *int32 // id of the mask token; nil: the tokenizer's
}

// TextScore is how likely a text is.
type TextScore struct {
	LogLikelihood float64 // sum over the tokens, natural logarithm
	Tokens        uint64  // scored tokens: all but special ones; of causal models, all but the first
}

// TokenScore is how likely a token is.
type TokenScore struct {
	Input          int // index of its input
	Position       int // among the input's tokens
	ID             int32
	LogProbability float32
}

func (c *call) scoreOptions(options *ScoreOptions) *C.cloze_score_options {
	own := defaults(options)
	o := one[C.cloze_score_options](c)
	o.size = C.uint32_t(unsafe.Sizeof(*o))
	o.text = C.uint32_t(own.Text)
	o.max_tokens = c.u32("MaxTokens", own.MaxTokens)
	o.method = C.uint32_t(own.Method)
	o.cancel = c.flag()
	o.progress, o.user = c.progress(own.Progress)
	o.mask = c.id(own.Mask)
	return o
}

// Score returns how likely each input is.
func (m *Model) Score(ctx context.Context, inputs []Input, options *ScoreOptions) ([]TextScore, error) {
	var c call
	if err := c.begin(ctx, m.owner); err != nil {
		return nil, err
	}
	defer c.end()
	in, o := c.inputs(inputs), c.scoreOptions(options)
	out, err := fetch(&c, len(inputs), func(out *C.cloze_text_score, capacity C.size_t, count *C.size_t) C.cloze_status {
		*count = capacity
		return C.cloze_score(m.c(), in, C.size_t(len(inputs)), o, out, capacity, c.err)
	})
	if err != nil {
		return nil, err
	}
	scores := make([]TextScore, len(out))
	for i, v := range out {
		scores[i] = TextScore{float64(v.log_likelihood), uint64(v.tokens)}
	}
	return scores, nil
}

// ScoreTokens returns how likely each token of each input is.
func (m *Model) ScoreTokens(ctx context.Context, inputs []Input, options *ScoreOptions) ([]TokenScore, error) {
	var c call
	if err := c.begin(ctx, m.owner); err != nil {
		return nil, err
	}
	defer c.end()
	in, o := c.inputs(inputs), c.scoreOptions(options)
	out, err := fetch(&c, guess(inputs), func(out *C.cloze_token_score, capacity C.size_t, count *C.size_t) C.cloze_status {
		return C.cloze_score_tokens(m.c(), in, C.size_t(len(inputs)), o, out, capacity, count, c.err)
	})
	if err != nil {
		return nil, err
	}
	scores := make([]TokenScore, len(out))
	for i, v := range out {
		scores[i] = TokenScore{int(v.input), int(v.position), int32(v.id), float32(v.log_probability)}
	}
	return scores, nil
}

// Perplexity returns the pseudo-perplexity of a corpus from the scores of its texts: exp of minus the sum of their
// log-likelihoods by the sum of their tokens; 1 for no tokens.
func Perplexity(scores []TextScore) float64 {
	var c call
	defer c.end()
	in := many[C.cloze_text_score](&c, len(scores))
	for i, s := range scores {
		in[i].log_likelihood, in[i].tokens = C.double(s.LogLikelihood), C.uint64_t(s.Tokens)
	}
	return float64(C.cloze_perplexity(unsafe.SliceData(in), C.size_t(len(in))))
}
