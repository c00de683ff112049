package cloze

/*
#include <cloze.h>
*/
import "C"

import (
	"context"
	"unsafe"
)

// OpenOptions are the options of [Open], [OpenMemory] and [OpenFS].
type OpenOptions struct {
	Threads   int    // worker threads of the model; 0: one per processor
	Device    string // "cpu", "cuda", "cuda:1" or "auto": the first that can be used and has room for it; "": "cpu"
	Precision Precision
	// Memory is how the CPU keeps the weights.
	Memory Memory
}

// Tasks are what a folder has heads for, as bits.
type Tasks uint32

// The tasks.
const (
	TaskFill         Tasks = C.CLOZE_TASK_FILL
	TaskScore        Tasks = C.CLOZE_TASK_SCORE
	TaskNextSentence Tasks = C.CLOZE_TASK_NEXT_SENTENCE
	TaskEmbed        Tasks = C.CLOZE_TASK_EMBED
	TaskHiddenStates Tasks = C.CLOZE_TASK_HIDDEN_STATES
	TaskClassify     Tasks = C.CLOZE_TASK_CLASSIFY
	TaskTag          Tasks = C.CLOZE_TASK_TAG
	TaskGenerate     Tasks = C.CLOZE_TASK_GENERATE
)

// Problem is what a classifier was trained for.
type Problem uint32

// The problems.
const (
	ProblemUnknown     Problem = C.CLOZE_PROBLEM_UNKNOWN
	ProblemRegression  Problem = C.CLOZE_PROBLEM_REGRESSION
	ProblemSingleLabel Problem = C.CLOZE_PROBLEM_SINGLE_LABEL
	ProblemMultiLabel  Problem = C.CLOZE_PROBLEM_MULTI_LABEL
)

// Info is the shape of a model.
type Info struct {
	Layers       int
	Hidden       int
	Heads        int // attention heads
	Intermediate int // width of the feed-forward part
	Vocabulary   int // ids that the model has rows for
	Words        int // ids below this are the tokenizer's; Vocabulary without a tokenizer
	TokenTypes   int // segments
	MaxTokens    int // longest text in tokens, special ones included
	MaxPositions int // longest sequence of token ids
	Embedding    int // numbers in an embedding
	Labels       int // labels of the classifier; 0 without one
	Problem      Problem
	Tasks        Tasks // what the folder has heads for
	HasTokenizer bool  // whether text can be read, or only token ids
	Threads      int
	Parameters   uint64 // numbers in the tensors that are used
}

// Model is an open model: weights, tokenizer, worker threads. It never changes, and any number of goroutines may use it.
type Model struct {
	owner *owner
	info  Info
}

// Open opens a HuggingFace folder of a BERT or ALBERT. Opening maps the weights and reads none: the first answer touches
// them. A head or tokenizer that is not there is an error of the call that needs it, not of this one.
func Open(folder string, options *OpenOptions) (*Model, error) {
	return makeModel(nil, nil, func(c *call, _ *C.cloze_model, out **C.cloze_model) C.cloze_status {
		path, o := c.str("folder", folder), c.openOptions(options)
		if c.argument != nil {
			return C.CLOZE_OK
		}
		return C.cloze_model_open(path, o, out, c.err)
	})
}

func (c *call) openOptions(options *OpenOptions) *C.cloze_open_options {
	own := defaults(options)
	o := one[C.cloze_open_options](c)
	o.size = C.uint32_t(unsafe.Sizeof(*o))
	o.threads = c.u32("Threads", own.Threads)
	o.device = c.optional("Device", own.Device)
	o.precision = C.uint32_t(own.Precision)
	o.memory = C.uint32_t(own.Memory)
	return o
}

// makeModel makes a model by f, from another or from none. Memory that the new model reads is that of from, or keep.
func makeModel(from *Model, keep *owner, f func(c *call, from *C.cloze_model, out **C.cloze_model) C.cloze_status) (*Model, error) {
	return makeModelContext(context.Background(), from, keep, f)
}

func makeModelContext(ctx context.Context, from *Model, keep *owner, f func(c *call, from *C.cloze_model, out **C.cloze_model) C.cloze_status) (*Model, error) {
	var c call
	var o *owner
	if from != nil {
		o, keep = from.owner, from.owner.keep
	}
	if err := c.begin(ctx, o); err != nil {
		return nil, err
	}
	defer c.end()
	out := one[*C.cloze_model](&c)
	status := f(&c, from.c(), out)
	if c.argument != nil {
		return nil, c.argument
	}
	if err := c.check(status); err != nil {
		return nil, err
	}
	return c.newModel(*out, keep)
}

// newModel takes over a handle of the C library.
func (c *call) newModel(ptr *C.cloze_model, keep *owner) (*Model, error) {
	m := &Model{owner: newOwner("model", unsafe.Pointer(ptr), keep, func(p unsafe.Pointer) {
		C.cloze_model_close((*C.cloze_model)(p))
	})}
	net(m, m.owner)
	i := one[C.cloze_info](c)
	i.size = C.uint32_t(unsafe.Sizeof(*i))
	if err := c.check(C.cloze_model_info(ptr, i, c.err)); err != nil {
		m.Close()
		return nil, err
	}
	m.info = Info{
		Layers: int(i.layers), Hidden: int(i.hidden), Heads: int(i.heads), Intermediate: int(i.intermediate),
		Vocabulary: int(i.vocabulary), Words: int(i.words), TokenTypes: int(i.token_types),
		MaxTokens: int(i.max_tokens), MaxPositions: int(i.max_positions), Embedding: int(i.embedding),
		Labels: int(i.labels), Problem: Problem(i.problem), Tasks: Tasks(i.tasks), HasTokenizer: i.has_tokenizer != 0,
		Threads: int(i.threads), Parameters: uint64(i.parameters),
	}
	return m, nil
}

// c returns the handle; the caller holds a use of the owner.
func (m *Model) c() *C.cloze_model {
	if m == nil {
		return nil
	}
	return (*C.cloze_model)(m.owner.ptr)
}

// Close closes the model. Running calls end as if nothing had happened; models and trainers made from it stay.
// The error is always nil.
func (m *Model) Close() error {
	if m != nil {
		m.owner.close()
	}
	return nil
}

// Info returns the shape of the model.
func (m *Model) Info() Info {
	return m.info
}

// Report returns the load report, one line of JSON: architecture, sizes, tasks, and which tensors are used, unused, ignored
// and missing.
func (m *Model) Report() (string, error) {
	return m.text(func(c *call, out *C.char, capacity C.size_t, size *C.size_t) C.cloze_status {
		return C.cloze_model_report(m.c(), out, capacity, size, c.err)
	})
}

// text returns what f writes.
func (m *Model) text(f func(c *call, out *C.char, capacity C.size_t, size *C.size_t) C.cloze_status) (string, error) {
	var c call
	if err := c.begin(context.Background(), m.owner); err != nil {
		return "", err
	}
	defer c.end()
	return c.text(func(out *C.char, capacity C.size_t, size *C.size_t) C.cloze_status {
		return f(&c, out, capacity, size)
	})
}

// Label returns the name of a label of the classifier, by its number.
func (m *Model) Label(label int) (string, error) {
	return m.text(func(c *call, out *C.char, capacity C.size_t, size *C.size_t) C.cloze_status {
		return C.cloze_model_label(m.c(), c.u32("label", label), out, capacity, size, c.err)
	})
}

// Labels returns the names of the classifier's labels, by their numbers; none without a classifier.
func (m *Model) Labels() ([]string, error) {
	labels := make([]string, m.info.Labels)
	for i := range labels {
		var err error
		if labels[i], err = m.Label(i); err != nil {
			return nil, err
		}
	}
	return labels, nil
}

// Head returns the name of a named head, counted from 0; [ErrMissing] beyond the last.
func (m *Model) Head(head int) (string, error) {
	return m.text(func(c *call, out *C.char, capacity C.size_t, size *C.size_t) C.cloze_status {
		return C.cloze_model_head(m.c(), c.u32("head", head), out, capacity, size, c.err)
	})
}

// Heads returns the names of the named heads.
func (m *Model) Heads() ([]string, error) {
	return each(m.Head)
}

// UseHead returns a model whose classifier is one of the named heads.
func (m *Model) UseHead(name string) (*Model, error) {
	return makeModel(m, nil, func(c *call, from *C.cloze_model, out **C.cloze_model) C.cloze_status {
		s := c.str("head", name)
		if c.argument != nil {
			return C.CLOZE_OK
		}
		return C.cloze_model_use_head(from, s, out, c.err)
	})
}

// Adapt returns a model with the low-rank adapter of a PEFT folder, and with the head in it. The given one stays as it is:
// one base serves any number of adapters at the same time.
func (m *Model) Adapt(folder string) (*Model, error) {
	return makeModel(m, nil, func(c *call, from *C.cloze_model, out **C.cloze_model) C.cloze_status {
		path := c.str("folder", folder)
		if c.argument != nil {
			return C.CLOZE_OK
		}
		return C.cloze_model_adapt(from, path, out, c.err)
	})
}

// Dtype is what weights are stored in.
type Dtype uint32

// The element types.
const (
	DtypeF32  Dtype = C.CLOZE_DTYPE_F32
	DtypeF16  Dtype = C.CLOZE_DTYPE_F16  // IEEE 754 binary16: 11 bits of precision, at most 65504
	DtypeBF16 Dtype = C.CLOZE_DTYPE_BF16 // the upper half of an f32: 8 bits of precision
	DtypeInt8 Dtype = C.CLOZE_DTYPE_INT8 // 8 bits and a scale for every output in the encoder's linear layers, all else as it is
)

// Save writes a HuggingFace folder: model.safetensors, config.json with labels, the tokenizer's files. Whatever happens,
// the old folder or the new one is there, whole.
func (m *Model) Save(folder string) error {
	return m.save(folder, func(c *call, path *C.char) C.cloze_status {
		return C.cloze_model_save(m.c(), path, c.err)
	})
}

// SaveAs is Save with weights rounded to an element type. A number that it can not hold is [ErrInvalidArgument], which
// names the tensor; nothing is written then.
func (m *Model) SaveAs(folder string, dtype Dtype) error {
	return m.save(folder, func(c *call, path *C.char) C.cloze_status {
		return C.cloze_model_save_as(m.c(), path, C.uint32_t(dtype), c.err)
	})
}

func (m *Model) save(folder string, f func(c *call, path *C.char) C.cloze_status) error {
	var c call
	if err := c.begin(context.Background(), m.owner); err != nil {
		return err
	}
	defer c.end()
	path := c.str("folder", folder)
	if c.argument != nil {
		return c.argument
	}
	return c.check(f(&c, path))
}
