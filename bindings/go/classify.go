package cloze

/*
#include <cloze.h>
*/
import "C"

import (
	"context"
	"unsafe"
)

// NextSentence returns the probability that the second text of each pair follows its first: one number an input.
func (m *Model) NextSentence(ctx context.Context, inputs []Input, options *CallOptions) ([]float32, error) {
	var c call
	if err := c.begin(ctx, m.owner); err != nil {
		return nil, err
	}
	defer c.end()
	in, o := c.inputs(inputs), c.callOptions(options)
	return c.floats(len(inputs), func(out *C.float, capacity C.size_t, count *C.size_t) C.cloze_status {
		*count = capacity
		return C.cloze_next_sentence(m.c(), in, C.size_t(len(inputs)), o, out, capacity, c.err)
	})
}

// Classify returns a row an input with one number a label, in the order of [Model.Labels]: probabilities, or the plain
// numbers of a regression.
func (m *Model) Classify(ctx context.Context, inputs []Input, options *CallOptions) (Matrix, error) {
	var c call
	if err := c.begin(ctx, m.owner); err != nil {
		return Matrix{}, err
	}
	defer c.end()
	in, o := c.inputs(inputs), c.callOptions(options)
	data, err := c.floats(len(inputs)*m.info.Labels, func(out *C.float, capacity C.size_t, count *C.size_t) C.cloze_status {
		return C.cloze_classify(m.c(), in, C.size_t(len(inputs)), o, out, capacity, count, c.err)
	})
	return Matrix{data, m.info.Labels}, err
}

// Aggregation is how tokens become entities: HuggingFace's aggregation strategies.
type Aggregation uint32

// The strategies.
const (
	AggregationSimple  Aggregation = C.CLOZE_AGGREGATION_SIMPLE  // neighbouring tokens of one tag
	AggregationNone    Aggregation = C.CLOZE_AGGREGATION_NONE    // every token is an entity
	AggregationFirst   Aggregation = C.CLOZE_AGGREGATION_FIRST   // words take the label of their first token
	AggregationAverage Aggregation = C.CLOZE_AGGREGATION_AVERAGE // words take the label of the highest mean probability
	AggregationMax     Aggregation = C.CLOZE_AGGREGATION_MAX     // words take the label of their surest token
)

// TagOptions are the options of [Model.Tag].
type TagOptions struct {
	Text        TextMode
	MaxTokens   int // longest text in tokens; 0: what the model allows
	Aggregation Aggregation
	Progress    Progress
	Offsets     Offsets
	KeepOutside bool // return stretches labelled "O" too
}

// Entity is a stretch of text with a label.
type Entity struct {
	Input       int // index of its input
	Label       int // Model.Label tells its name, "B-PER"
	Start       int
	End         int
	Probability float64 // mean over the grouped tokens or words
}

// Tag returns the entities of every input, in order. Inputs are single texts.
func (m *Model) Tag(ctx context.Context, inputs []Input, options *TagOptions) ([]Entity, error) {
	var c call
	if err := c.begin(ctx, m.owner); err != nil {
		return nil, err
	}
	defer c.end()
	own, in := defaults(options), c.inputs(inputs)
	o := one[C.cloze_tag_options](&c)
	o.size = C.uint32_t(unsafe.Sizeof(*o))
	o.text = C.uint32_t(own.Text)
	o.max_tokens = c.u32("MaxTokens", own.MaxTokens)
	o.aggregation = C.uint32_t(own.Aggregation)
	o.cancel = c.flag()
	o.progress, o.user = c.progress(own.Progress)
	o.offsets = C.uint32_t(own.Offsets)
	o.keep_outside = flag32(own.KeepOutside)
	out, err := fetch(&c, guess(inputs), func(out *C.cloze_entity, capacity C.size_t, count *C.size_t) C.cloze_status {
		return C.cloze_tag(m.c(), in, C.size_t(len(inputs)), o, out, capacity, count, c.err)
	})
	if err != nil {
		return nil, err
	}
	entities := make([]Entity, len(out))
	for i, e := range out {
		entities[i] = Entity{int(e.input), int(e.label), int(e.start), int(e.end), float64(e.probability)}
	}
	return entities, nil
}

// TagTokens returns a row with the probabilities of all labels for every token of every input, special ones included.
func (m *Model) TagTokens(ctx context.Context, inputs []Input, options *CallOptions) (Matrix, error) {
	var c call
	if err := c.begin(ctx, m.owner); err != nil {
		return Matrix{}, err
	}
	defer c.end()
	in, o := c.inputs(inputs), c.callOptions(options)
	data, err := c.floats(guess(inputs)*m.info.Labels, func(out *C.float, capacity C.size_t, count *C.size_t) C.cloze_status {
		return C.cloze_tag_tokens(m.c(), in, C.size_t(len(inputs)), o, out, capacity, count, c.err)
	})
	return Matrix{data, m.info.Labels}, err
}
