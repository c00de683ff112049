package cloze

/*
#include <cloze.h>
*/
import "C"

import (
	"context"
	"unsafe"
)

// Kind is what examples are to be answered with.
type Kind uint32

// The kinds of targets.
const (
	TargetNone    Kind = C.CLOZE_TARGET_NONE    // nothing is known
	TargetLabel   Kind = C.CLOZE_TARGET_LABEL   // one label
	TargetLabels  Kind = C.CLOZE_TARGET_LABELS  // any number of labels, none among them
	TargetNumbers Kind = C.CLOZE_TARGET_NUMBERS // one number or several
	TargetTags    Kind = C.CLOZE_TARGET_TAGS    // a label for each word: Dataset.AddWords
	TargetAnswer  Kind = C.CLOZE_TARGET_ANSWER  // a stretch of the second text
	TargetTokens  Kind = C.CLOZE_TARGET_TOKENS  // a label id for each token id
)

// Ignored among the label ids of tokens: no label counts here.
const Ignored = C.CLOZE_IGNORED

// Target is the answer to an input. The zero value is none.
type Target struct {
	kind    Kind
	start   int
	name    string
	names   []string
	numbers []float32
	ids     []int32
}

// Label returns the target of one label.
func Label(name string) Target {
	return Target{kind: TargetLabel, name: name}
}

// Labels returns the target of any number of labels.
func Labels(names ...string) Target {
	return Target{kind: TargetLabels, names: names}
}

// Numbers returns the target of one number or several.
func Numbers(numbers ...float32) Target {
	return Target{kind: TargetNumbers, numbers: numbers}
}

// Answer returns the target of an answer as it stands in the second text from byte start on; "" where the second text does
// not hold it.
func Answer(answer string, start int) Target {
	return Target{kind: TargetAnswer, name: answer, start: start}
}

// TokenLabels returns the target of a label for each token id of the input; [Ignored] where none counts.
func TokenLabels(ids []int32) Target {
	return Target{kind: TargetTokens, ids: ids}
}

// Example is what a model reads, and what it is to answer.
type Example struct {
	Input  Input
	Target Target
}

// Dataset is examples. Any number of calls may read one at the same time; a call that adds to one that is being read gets
// [ErrBusy].
type Dataset struct {
	owner *owner
}

func newDataset(ptr *C.cloze_dataset) *Dataset {
	d := &Dataset{newOwner("dataset", unsafe.Pointer(ptr), nil, func(p unsafe.Pointer) {
		C.cloze_dataset_free((*C.cloze_dataset)(p))
	})}
	net(d, d.owner)
	return d
}

// c returns the handle, NULL for nil; the caller holds a use of the owner.
func (d *Dataset) c() *C.cloze_dataset {
	if d == nil {
		return nil
	}
	return (*C.cloze_dataset)(d.owner.ptr)
}

// use returns the owner, nil for nil.
func (d *Dataset) use() *owner {
	if d == nil {
		return nil
	}
	return d.owner
}

// NewDataset returns a dataset of examples.
func NewDataset(examples ...Example) (*Dataset, error) {
	var c call
	if err := c.begin(context.Background()); err != nil {
		return nil, err
	}
	defer c.end()
	out := one[*C.cloze_dataset](&c)
	if err := c.check(C.cloze_dataset_new(out, c.err)); err != nil {
		return nil, err
	}
	d := newDataset(*out)
	if err := d.Add(examples...); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Add adds copies of examples. All are added, or none with [ErrInvalidInput] that names the first that cannot be used: an
// empty text, a number that is not finite, an answer that does not stand where it should.
func (d *Dataset) Add(examples ...Example) error {
	if len(examples) == 0 {
		return nil
	}
	var c call
	if err := c.begin(context.Background(), d.owner); err != nil {
		return err
	}
	defer c.end()
	inputs := make([]Input, len(examples))
	targets := many[C.cloze_target](&c, len(examples))
	for i := range examples {
		inputs[i] = examples[i].Input
		c.target(&targets[i], &examples[i].Target, i)
		if t, in := &examples[i].Target, &inputs[i]; t.kind == TargetTokens && len(t.ids) != len(in.ids) {
			c.fail(invalid("example %d: %d token ids, %d label ids", i, len(in.ids), len(t.ids)))
		}
	}
	in := c.inputs(inputs)
	if c.argument != nil {
		return c.argument
	}
	return c.check(C.cloze_dataset_add(d.c(), in, unsafe.SliceData(targets), C.size_t(len(examples)), c.err))
}

func (c *call) target(out *C.cloze_target, t *Target, example int) {
	if t.start < 0 {
		c.fail(invalid("example %d: the answer starts at byte %d", example, t.start))
	}
	out.kind = C.uint32_t(t.kind)
	out.start = C.uint64_t(t.start)
	switch t.kind {
	case TargetLabel, TargetAnswer:
		out.name = c.str("target", t.name)
	case TargetLabels:
		out.names = c.strs("target", t.names)
		out.count = C.size_t(len(t.names))
	case TargetNumbers:
		if len(t.numbers) == 1 {
			out.number = C.float(t.numbers[0])
			return
		}
		if len(t.numbers) == 0 {
			c.fail(invalid("example %d: no number", example))
		}
		out.numbers = copied[float32, C.float](c, t.numbers)
		out.count = C.size_t(len(t.numbers))
	case TargetTokens:
		out.ids = copied[int32, C.int32_t](c, t.ids)
		out.count = C.size_t(len(t.ids))
	}
}

// AddWords adds one text that is split into words, and the tag of each word; nil tags are none.
func (d *Dataset) AddWords(words, tags []string) error {
	var c call
	if err := c.begin(context.Background(), d.owner); err != nil {
		return err
	}
	defer c.end()
	if tags != nil && len(tags) != len(words) {
		return invalid("%d words, %d tags", len(words), len(tags))
	}
	w, t := c.strs("word", words), c.strs("tag", tags)
	if c.argument != nil {
		return c.argument
	}
	return c.check(C.cloze_dataset_add_words(d.c(), w, t, C.size_t(len(words)), c.err))
}

// Select returns copies of the examples with these numbers, from 0, in this order: the batches and shards of a loop of your
// own. A number may come more than once; one that there is no example of is [ErrInvalidArgument].
func (d *Dataset) Select(numbers ...int) (*Dataset, error) {
	var c call
	if err := c.begin(context.Background(), d.owner); err != nil {
		return nil, err
	}
	defer c.end()
	all := many[C.size_t](&c, len(numbers))
	for i, number := range numbers {
		if number < 0 {
			return nil, invalid("example number %d is %d", i, number)
		}
		all[i] = C.size_t(number)
	}
	out := one[*C.cloze_dataset](&c)
	if err := c.check(C.cloze_dataset_select(d.c(), unsafe.SliceData(all), C.size_t(len(all)), out, c.err)); err != nil {
		return nil, err
	}
	return newDataset(*out), nil
}

// Format is how a file is laid out.
type Format uint32

// The formats.
const (
	FormatAuto  Format = C.CLOZE_FORMAT_AUTO  // as the extension says: tsv, csv, jsonl, conll, txt
	FormatTSV   Format = C.CLOZE_FORMAT_TSV   // fields between tabs, an example a line; nothing is quoted
	FormatCSV   Format = C.CLOZE_FORMAT_CSV   // fields between commas, quoted as in RFC 4180
	FormatJSONL Format = C.CLOZE_FORMAT_JSONL // an object a line: text, text_b, label or labels; tokens, tags; question, context, answers
	FormatCoNLL Format = C.CLOZE_FORMAT_CONLL // a word and its tag a line; blank lines between texts
	FormatLines Format = C.CLOZE_FORMAT_LINES // a text a line
)

// Header is whether the first row of a table names its columns.
type Header uint32

// What is known of the first row.
const (
	HeaderDetect  Header = C.CLOZE_HEADER_DETECT
	HeaderPresent Header = C.CLOZE_HEADER_PRESENT
	HeaderAbsent  Header = C.CLOZE_HEADER_ABSENT
)

// ReadOptions are the options of [ReadDataset]. Columns of a table are a name in the header, or a place counted from 1,
// "2"; "": found by their usual names.
type ReadOptions struct {
	Format Format
	Header Header // of tables
	Text   string // column of the text; where it is given and Pair is not, there is no second text
	Pair   string // column of the second text
	Target string // column of the label or number
}

// ReadDataset returns the examples of a UTF-8 file, each with a target of one kind, [TargetNone] to [TargetAnswer]. Every
// error names the file and the line. A file without examples is [ErrInvalidFile].
func ReadDataset(path string, kind Kind, options *ReadOptions) (*Dataset, error) {
	var c call
	if err := c.begin(context.Background()); err != nil {
		return nil, err
	}
	defer c.end()
	own, out := defaults(options), one[*C.cloze_dataset](&c)
	o := one[C.cloze_read_options](&c)
	o.size = C.uint32_t(unsafe.Sizeof(*o))
	o.format = C.uint32_t(own.Format)
	o.header = C.uint32_t(own.Header)
	o.text = c.optional("Text", own.Text)
	o.pair = c.optional("Pair", own.Pair)
	o.target = c.optional("Target", own.Target)
	p := c.str("path", path)
	if c.argument != nil {
		return nil, c.argument
	}
	if err := c.check(C.cloze_dataset_read(p, C.uint32_t(kind), o, out, c.err)); err != nil {
		return nil, err
	}
	return newDataset(*out), nil
}

// Len returns the number of examples; 0 for a dataset that is closed, or nil.
func (d *Dataset) Len() int {
	if d == nil || d.owner.acquire() != nil {
		return 0
	}
	defer d.owner.release()
	return int(C.cloze_dataset_count(d.c()))
}

// Close frees the examples, as soon as no call uses them. The error is always nil.
func (d *Dataset) Close() error {
	if d != nil {
		d.owner.close()
	}
	return nil
}
