package cloze

/*
#include <cloze.h>
*/
import "C"

import (
	"context"
	"unsafe"
)

// Input is what a model reads: a text, a pair of texts, or token ids. The zero value is the empty text.
type Input struct {
	text, pair string
	paired     bool
	tokens     bool
	ids, types []int32
}

// Text returns the input of one text.
func Text(text string) Input {
	return Input{text: text}
}

// Pair returns the input of two texts.
func Pair(text, pair string) Input {
	return Input{text: text, pair: pair, paired: true}
}

// IDs returns the input of token ids from your own tokenizer, a sequence as the model sees it, special tokens included.
// Types are the segments, as many as ids; nil: all 0. Both are read when the input is used.
func IDs(ids, types []int32) Input {
	return Input{tokens: true, ids: ids, types: types}
}

// Texts returns an input for each text.
func Texts(texts ...string) []Input {
	inputs := make([]Input, len(texts))
	for i, text := range texts {
		inputs[i].text = text
	}
	return inputs
}

// inputs copies inputs into C memory.
func (c *call) inputs(inputs []Input) *C.cloze_input {
	bytes := 0
	for i := range inputs {
		in := &inputs[i]
		bytes += len(in.text) + len(in.pair)
		if in.tokens && in.types != nil && len(in.types) != len(in.ids) {
			c.fail(invalid("input %d: %d ids, %d types", i, len(in.ids), len(in.types)))
			return nil
		}
	}
	out := many[C.cloze_input](c, len(inputs))
	// one byte more: a pointer that is not NULL for empty texts
	room := many[byte](c, bytes+1)
	put := func(s string) (*C.char, C.size_t) {
		n := copy(room, s)
		at := room
		room = room[n:]
		return (*C.char)(unsafe.Pointer(unsafe.SliceData(at))), C.size_t(n)
	}
	for i := range inputs {
		in, o := &inputs[i], &out[i]
		if in.tokens {
			o.ids = copied[int32, C.int32_t](c, in.ids)
			if o.ids == nil {
				o.ids = one[C.int32_t](c)
			}
			o.types = copied[int32, C.int32_t](c, in.types)
			o.id_count = C.size_t(len(in.ids))
			continue
		}
		o.text, o.text_size = put(in.text)
		if in.paired {
			o.pair, o.pair_size = put(in.pair)
		}
	}
	return unsafe.SliceData(out)
}

// guess returns about how many tokens inputs have at most.
func guess(inputs []Input) int {
	n := 0
	for i := range inputs {
		n += 3 + len(inputs[i].ids) + (len(inputs[i].text)+len(inputs[i].pair))/2
	}
	return n
}

// TextMode is how text becomes tokens, as bits.
type TextMode uint32

// The bits.
const (
	TextPlain    TextMode = C.CLOZE_TEXT_PLAIN    // "[MASK]" and its like inside the text are plain text: for text that others wrote
	TextTruncate TextMode = C.CLOZE_TEXT_TRUNCATE // cut what is too long: the default of Embed and Classify
	TextRefuse   TextMode = C.CLOZE_TEXT_REFUSE   // what is too long is ErrInvalidInput: the default of all others
)

// Offsets is what offsets count.
type Offsets uint32

// What offsets can count.
const (
	OffsetsBytes      Offsets = C.CLOZE_OFFSETS_BYTES // as those of Go strings
	OffsetsCodePoints Offsets = C.CLOZE_OFFSETS_CODE_POINTS
	OffsetsUTF16      Offsets = C.CLOZE_OFFSETS_UTF16 // as those of JavaScript
)

// TokenizeOptions are the options of [Model.Tokenize].
type TokenizeOptions struct {
	Text      TextMode
	MaxTokens int // longest text in tokens; 0: what the model allows
	Offsets   Offsets
}

// Token is one token as the model sees it.
type Token struct {
	Input    int // index of its input
	ID       int32
	Type     int // segment
	Word     int // number of its word within its text; -1 for special tokens
	Text     int // 0: the text, 1: the pair, -1: a special token that stands in neither
	Position int // within its input
	Start    int // where in its text it starts
	End      int // where it ends
}

// Tokenize returns the tokens of all inputs, one after another, equal to those of HuggingFace's fast tokenizers.
func (m *Model) Tokenize(inputs []Input, options *TokenizeOptions) ([]Token, error) {
	var c call
	if err := c.begin(context.Background(), m.owner); err != nil {
		return nil, err
	}
	defer c.end()
	own, in := defaults(options), c.inputs(inputs)
	o := one[C.cloze_tokenize_options](&c)
	o.size = C.uint32_t(unsafe.Sizeof(*o))
	o.text = C.uint32_t(own.Text)
	o.max_tokens = c.u32("MaxTokens", own.MaxTokens)
	o.offsets = C.uint32_t(own.Offsets)
	out, err := fetch(&c, guess(inputs), func(out *C.cloze_token, capacity C.size_t, count *C.size_t) C.cloze_status {
		return C.cloze_tokenize(m.c(), in, C.size_t(len(inputs)), o, out, capacity, count, c.err)
	})
	if err != nil {
		return nil, err
	}
	tokens := make([]Token, len(out))
	for i, t := range out {
		tokens[i] = Token{
			Input: int(t.input), ID: int32(t.id), Type: int(t._type), Word: int(t.word), Text: int(t.text),
			Position: int(t.position), Start: int(t.start), End: int(t.end),
		}
	}
	return tokens, nil
}

// TokenText returns the token with a number, as the vocabulary spells it: "##ing".
func (m *Model) TokenText(id int32) (string, error) {
	return m.text(func(c *call, out *C.char, capacity C.size_t, size *C.size_t) C.cloze_status {
		return C.cloze_token_text(m.c(), C.int32_t(id), out, capacity, size, c.err)
	})
}

// TokenID returns the number of a token, spelled as in the vocabulary; [ErrMissing] where there is none.
func (m *Model) TokenID(token string) (int32, error) {
	var c call
	if err := c.begin(context.Background(), m.owner); err != nil {
		return 0, err
	}
	defer c.end()
	in := c.inputs([]Input{Text(token)})
	id := one[C.int32_t](&c)
	if err := c.check(C.cloze_token_id(m.c(), in.text, in.text_size, id, c.err)); err != nil {
		return 0, err
	}
	return int32(*id), nil
}

// Decode returns the text of token ids, without special tokens.
func (m *Model) Decode(ids []int32) (string, error) {
	return m.text(func(c *call, out *C.char, capacity C.size_t, size *C.size_t) C.cloze_status {
		return C.cloze_decode(m.c(), copied[int32, C.int32_t](c, ids), C.size_t(len(ids)), out, capacity, size, c.err)
	})
}
