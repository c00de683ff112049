package cloze

/*
#include <cloze.h>
*/
import "C"

import (
	"context"
	"unsafe"
)

// NewToken is a token that was generated.
type NewToken struct {
	Input          int // index of its input
	Continuation   int // number of its continuation of that input, from 0
	ID             int32
	LogProbability float32 // natural logarithm, as the model gives it: before Temperature, TopK and TopP
}

func newToken(t *C.cloze_new_token) NewToken {
	return NewToken{int(t.input), int(t.continuation), int32(t.id), float32(t.log_probability)}
}

// GenerateOptions are the options of [Model.Generate].
type GenerateOptions struct {
	Text         TextMode
	PromptTokens int     // longest input in tokens; 0: what the model allows
	MaxTokens    int     // most new tokens of a continuation; 0: what the model has positions for
	Count        int     // continuations of every input; 0: 1. More than one have to be drawn
	Temperature  float32 // 0: the likeliest token each time. Else tokens are drawn: below 1 likely ones more often
	TopK         int     // of so many likeliest; 0: of all
	TopP         float32 // of the likeliest whose probabilities sum to this; 0: of all
	Seed         uint64  // one seed gives one text on any number of threads
	Progress     Progress
	Token        func(NewToken) bool // told each token as soon as it is there; false makes it the last of its continuation
	End          *int32              // id of the token that ends a text; nil: the tokenizer's [SEP]
}

// Generate returns continuations of every input by a causal model: input by input, continuation by continuation, token by
// token. A [SEP] that ended a continuation is its last token. Other models answer [ErrUnsupported].
func (m *Model) Generate(ctx context.Context, inputs []Input, options *GenerateOptions) ([]NewToken, error) {
	var c call
	if err := c.begin(ctx, m.owner); err != nil {
		return nil, err
	}
	defer c.end()
	own, in := defaults(options), c.inputs(inputs)
	o := one[C.cloze_generate_options](&c)
	o.size = C.uint32_t(unsafe.Sizeof(*o))
	o.text = C.uint32_t(own.Text)
	o.prompt_tokens = c.u32("PromptTokens", own.PromptTokens)
	o.max_tokens = c.u32("MaxTokens", own.MaxTokens)
	o.count = c.u32("Count", own.Count)
	o.temperature = C.float(own.Temperature)
	o.top_k = c.u32("TopK", own.TopK)
	o.top_p = C.float(own.TopP)
	o.seed = C.uint64_t(own.Seed)
	o.cancel = c.flag()
	o.progress, o.user = c.progress(own.Progress)
	if own.Token != nil {
		o.token, o.user = c.token(own.Token)
	}
	o.end = c.id(own.End)
	out, err := fetch(&c, 0, func(out *C.cloze_new_token, capacity C.size_t, count *C.size_t) C.cloze_status {
		return C.cloze_generate(m.c(), in, C.size_t(len(inputs)), o, out, capacity, count, c.err)
	})
	if err != nil {
		return nil, err
	}
	tokens := make([]NewToken, len(out))
	for i := range out {
		tokens[i] = newToken(&out[i])
	}
	return tokens, nil
}
