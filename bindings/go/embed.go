package cloze

/*
#include <cloze.h>
*/
import "C"

import (
	"context"
	"unsafe"
)

// CallOptions are the options of the calls that need no others.
type CallOptions struct {
	Text      TextMode
	MaxTokens int // longest text in tokens; 0: what the model allows
	Progress  Progress
}

func (c *call) callOptions(options *CallOptions) *C.cloze_call_options {
	own := defaults(options)
	o := one[C.cloze_call_options](c)
	o.size = C.uint32_t(unsafe.Sizeof(*o))
	o.text = C.uint32_t(own.Text)
	o.max_tokens = c.u32("MaxTokens", own.MaxTokens)
	o.cancel = c.flag()
	o.progress, o.user = c.progress(own.Progress)
	return o
}

// Matrix is rows of numbers, one after another in one slice.
type Matrix struct {
	Data  []float32
	Width int // numbers in a row
}

// Rows returns the number of rows.
func (m Matrix) Rows() int {
	if m.Width == 0 {
		return 0
	}
	return len(m.Data) / m.Width
}

// Row returns a row, which is not a copy.
func (m Matrix) Row(i int) []float32 {
	return m.Data[i*m.Width : (i+1)*m.Width : (i+1)*m.Width]
}

// floats is fetch for numbers, which C writes into the slice that is returned.
func (c *call) floats(room int, f func(out *C.float, capacity C.size_t, count *C.size_t) C.cloze_status) ([]float32, error) {
	return fetch(c, room, func(out *float32, capacity C.size_t, count *C.size_t) C.cloze_status {
		return f((*C.float)(unsafe.Pointer(out)), capacity, count)
	})
}

// Pooling is how the tokens' vectors become one.
type Pooling uint32

// The ways.
const (
	PoolingAuto Pooling = C.CLOZE_POOLING_AUTO // as the folder says, with all steps that follow; the mean where it says nothing
	PoolingCLS  Pooling = C.CLOZE_POOLING_CLS
	PoolingMean Pooling = C.CLOZE_POOLING_MEAN
	PoolingMax  Pooling = C.CLOZE_POOLING_MAX
)

// EmbedOptions are the options of [Model.Embed].
type EmbedOptions struct {
	Text      TextMode
	MaxTokens int // longest text in tokens; 0: what the model allows
	Pooling   Pooling
	Progress  Progress
	Prompt    string // name of a sentence-transformers prompt; "": the folder's default
	Normalize bool   // make embeddings of unit length, also where the folder does not
}

func (c *call) embedOptions(options *EmbedOptions) *C.cloze_embed_options {
	own := defaults(options)
	o := one[C.cloze_embed_options](c)
	o.size = C.uint32_t(unsafe.Sizeof(*o))
	o.text = C.uint32_t(own.Text)
	o.max_tokens = c.u32("MaxTokens", own.MaxTokens)
	o.pooling = C.uint32_t(own.Pooling)
	o.cancel = c.flag()
	o.progress, o.user = c.progress(own.Progress)
	o.prompt = c.optional("Prompt", own.Prompt)
	o.normalize = flag32(own.Normalize)
	return o
}

// EmbedWidth returns the numbers in an embedding: those of the folder's own pooling, or of any other.
func (m *Model) EmbedWidth(pooling Pooling) int {
	if pooling == PoolingAuto {
		return m.info.Embedding
	}
	return m.info.Hidden
}

// Embed returns one vector an input, equal to those of sentence-transformers' encode.
func (m *Model) Embed(ctx context.Context, inputs []Input, options *EmbedOptions) (Matrix, error) {
	width := m.EmbedWidth(defaults(options).Pooling)
	data := make([]float32, len(inputs)*width)
	if err := m.EmbedTo(ctx, data, inputs, options); err != nil {
		return Matrix{}, err
	}
	return Matrix{data, width}, nil
}

// EmbedTo is Embed into a slice of yours, which has room for [Model.EmbedWidth] numbers an input; [ErrBufferTooSmall]
// where it has not.
func (m *Model) EmbedTo(ctx context.Context, embeddings []float32, inputs []Input, options *EmbedOptions) error {
	var c call
	if err := c.begin(ctx, m.owner); err != nil {
		return err
	}
	defer c.end()
	in, o := c.inputs(inputs), c.embedOptions(options)
	if c.argument != nil {
		return c.argument
	}
	out := (*C.float)(unsafe.Pointer(unsafe.SliceData(embeddings)))
	return c.check(C.cloze_embed(m.c(), in, C.size_t(len(inputs)), o, out, C.size_t(len(embeddings)), one[C.size_t](&c), c.err))
}

// HiddenStates returns the hidden states of layers, 0 being the embeddings: for each input, for each of the layers in your
// order, a row a token, as many as [Model.Tokenize] tells.
func (m *Model) HiddenStates(ctx context.Context, inputs []Input, layers []int, options *CallOptions) (Matrix, error) {
	var c call
	if err := c.begin(ctx, m.owner); err != nil {
		return Matrix{}, err
	}
	defer c.end()
	in, o := c.inputs(inputs), c.callOptions(options)
	numbers := many[C.uint32_t](&c, len(layers))
	for i, layer := range layers {
		numbers[i] = c.u32("layer", layer)
	}
	data, err := c.floats(0, func(out *C.float, capacity C.size_t, count *C.size_t) C.cloze_status {
		return C.cloze_hidden_states(m.c(), in, C.size_t(len(inputs)), unsafe.SliceData(numbers), C.size_t(len(layers)), o,
			out, capacity, count, c.err)
	})
	return Matrix{data, m.info.Hidden}, err
}
