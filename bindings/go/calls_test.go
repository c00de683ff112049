package cloze_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"unsafe"

	cloze "github.com/cloze/cloze/bindings/go"
)

var errStop = errors.New("stop")

// call makes the call that an object describes.
func (v *vectors) call(m *cloze.Model, c object) (any, error) {
	ctx := context.Background()
	var progress cloze.Progress
	switch c["cancel"] {
	case "before":
		ended, cancel := context.WithCancel(ctx)
		cancel()
		ctx = ended
	case "progress":
		progress = func(done, total uint64) error { return errStop }
	}
	var inputs []cloze.Input
	if c["inputs"] != nil {
		inputs = v.inputs(c["inputs"])
	}
	options := c["options"]
	switch c["call"] {
	case "info":
		return m.Info(), nil
	case "label":
		return m.Label(int(c["label"].(float64)))
	case "head":
		return m.Head(int(c["head"].(float64)))
	case "tokenize":
		return m.Tokenize(inputs, into[cloze.TokenizeOptions](v, options))
	case "token_text":
		return m.TokenText(int32(c["id"].(float64)))
	case "token_id":
		return m.TokenID(c["token"].(string))
	case "decode":
		return m.Decode(list[int32](v, c["ids"]))
	case "fill":
		o := into[cloze.FillOptions](v, options)
		if progress != nil {
			o = &cloze.FillOptions{Progress: progress}
		}
		got, err := m.Fill(ctx, inputs, o)
		if progress != nil && !errors.Is(err, errStop) {
			v.t.Errorf("%v does not wrap what the callback returned", err)
		}
		return got, err
	case "score":
		return v.score(m, inputs, into[cloze.ScoreOptions](v, options))
	case "next_sentence":
		got, err := m.NextSentence(ctx, inputs, nil)
		return object{"is_next": got}, err
	case "embed":
		got, err := m.Embed(ctx, inputs, into[cloze.EmbedOptions](v, options))
		return object{"embeddings": got}, err
	case "hidden_states":
		got, err := m.HiddenStates(ctx, inputs, list[int](v, c["layers"]), nil)
		var rows [][]float32
		for i := range got.Rows() {
			rows = append(rows, got.Row(i)[:8])
		}
		return object{"count": len(got.Data), "states": rows}, err
	case "classify":
		got, err := m.Classify(ctx, inputs, nil)
		return object{"values": got}, err
	case "tag":
		return m.Tag(ctx, inputs, into[cloze.TagOptions](v, options))
	case "tag_tokens":
		got, err := m.TagTokens(ctx, inputs, nil)
		return object{"probabilities": got}, err
	case "generate":
		return m.Generate(ctx, inputs, into[cloze.GenerateOptions](v, options))
	case "evaluate":
		data, err := v.dataset(v.examples(c["examples"]))
		if err != nil {
			return nil, err
		}
		return m.Evaluate(ctx, cloze.Objective(v.number(c["objective"])), data, nil)
	}
	return v.make(m, c)
}

func (v *vectors) score(m *cloze.Model, inputs []cloze.Input, options *cloze.ScoreOptions) (any, error) {
	scores, err := m.Score(context.Background(), inputs, options)
	if err != nil {
		return nil, err
	}
	tokens, err := m.ScoreTokens(context.Background(), inputs, options)
	return object{"scores": scores, "tokens": tokens, "perplexity": cloze.Perplexity(scores)}, err
}

// then asks a model that was made.
func (v *vectors) then(m *cloze.Model, err error, c object) (any, error) {
	if err != nil {
		return nil, err
	}
	v.t.Cleanup(func() { m.Close() })
	if c["then"] == nil {
		return nil, nil
	}
	return v.call(m, c["then"].(object))
}

func (v *vectors) all(m *cloze.Model, calls any) ([]any, error) {
	answers := []any{}
	if calls == nil {
		return answers, nil
	}
	for _, c := range calls.([]any) {
		answer, err := v.call(m, c.(object))
		if err != nil {
			return nil, err
		}
		answers = append(answers, answer)
	}
	return answers, nil
}

// make makes calls whose answer is a model, a dataset, a trainer or a corpus.
func (v *vectors) make(m *cloze.Model, c object) (any, error) {
	folder, _ := c["folder"].(string)
	folder = filepath.Join(root, folder)
	switch c["call"] {
	case "open":
		m, err := cloze.Open(folder, nil)
		return v.then(m, err, c)
	case "open_memory":
		files := map[string][]byte{}
		for _, name := range list[string](v, c["files"]) {
			data, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				v.t.Fatal(err)
			}
			files[name] = data
		}
		m, err := cloze.OpenMemory(files, &cloze.OpenOptions{Threads: 1})
		return v.then(m, err, c)
	case "use_head":
		m, err := m.UseHead(c["head"].(string))
		return v.then(m, err, c)
	case "adapt":
		m, err := m.Adapt(folder)
		return v.then(m, err, c)
	case "whiten":
		m, err := m.Whiten(context.Background(), v.inputs(c["inputs"]), int(c["width"].(float64)), nil)
		return v.then(m, err, c)
	case "create":
		m, err := cloze.Create(v.json(c["config"]), filepath.Join(root, c["tokenizer"].(string)), nil)
		return v.then(m, err, c)
	case "save":
		return nil, m.SaveAs(folder, cloze.Dtype(v.number(c["dtype"])))
	case "dataset":
		return v.dataset(v.examples(c["examples"]))
	case "dataset_read":
		path := v.write(c["file"].(string), c["content"])
		data, err := cloze.ReadDataset(path, cloze.Kind(v.number(c["kind"])), into[cloze.ReadOptions](v, c["options"]))
		defer data.Close()
		return object{"count": data.Len()}, err
	case "vocabulary":
		return nil, cloze.LearnVocabulary(filepath.Join(root, c["path"].(string)), nil, v.t.TempDir())
	case "corpus":
		corpus, err := cloze.OpenCorpus(m, v.write("text.txt", c["content"]), nil)
		if err != nil {
			return nil, err
		}
		defer corpus.Close()
		return corpus.Info()
	case "pretrain":
		return v.pretrain(c)
	}
	return v.teach(m, c)
}

func (v *vectors) json(config any) []byte {
	b, err := json.Marshal(config)
	if err != nil {
		v.t.Fatal(err)
	}
	return b
}

// write writes a file into an empty folder, unless there is no content.
func (v *vectors) write(name string, content any) string {
	path := filepath.Join(v.t.TempDir(), name)
	if s, ok := content.(string); ok {
		if err := os.WriteFile(path, []byte(s), 0o666); err != nil {
			v.t.Fatal(err)
		}
	}
	return path
}

// watch returns an observer that keeps the events of each kind.
func watch(stopAt any) (*cloze.FitOptions, object) {
	steps, evaluations := []cloze.TrainEvent{}, []cloze.TrainEvent{}
	seen := object{"steps": &steps, "evaluations": &evaluations}
	return &cloze.FitOptions{Observe: func(e cloze.TrainEvent) error {
		switch e.Kind {
		case cloze.EventStep:
			steps = append(steps, e)
			if stopAt == float64(e.Step) {
				return errStop
			}
		case cloze.EventEvaluation:
			evaluations = append(evaluations, e)
		}
		return nil
	}}, seen
}

// teach makes calls that need a trainer.
func (v *vectors) teach(m *cloze.Model, c object) (any, error) {
	ctx := context.Background()
	examples := v.examples(c["examples"])
	data, err := v.dataset(examples)
	if err != nil {
		return nil, err
	}
	options := into[cloze.TrainOptions](v, c["options"])
	t, err := cloze.NewTrainer(m, options, data)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	got := object{}
	switch c["call"] {
	case "train":
		var dev *cloze.Dataset
		if c["dev"] != nil {
			if dev, err = v.dataset(v.examples(c["dev"])); err != nil {
				return nil, err
			}
		}
		observer, seen := watch(c["stop_at"])
		if seen["result"], err = t.Fit(ctx, data, dev, observer); err != nil {
			if c["stop_at"] != nil && !errors.Is(err, errStop) {
				v.t.Errorf("%v does not wrap what the observer returned", err)
			}
			return nil, err
		}
		got = seen
	case "steps":
		if got["do"], err = v.steps(t, examples, c["do"].([]any)); err != nil {
			return nil, err
		}
	case "solve":
		if got["strength"], err = t.Solve(ctx, data, into[cloze.SolveOptions](v, c["solve"])); err != nil {
			return nil, err
		}
	default:
		v.t.Fatalf("no call %q", c["call"])
	}
	if got["labels"], err = t.Labels(); err != nil {
		return nil, err
	}
	if got["metrics"], err = t.Evaluate(ctx, data, nil); err != nil {
		return nil, err
	}
	keep := list[string](v, c["keep"])
	if c["call"] != "train" {
		keep = []string{"snapshot"}
	}
	got["then"] = []any{}
	for _, way := range keep {
		taught, err := v.keep(m, t, way, options)
		if err != nil {
			return nil, err
		}
		v.t.Cleanup(func() { taught.Close() })
		answers, err := v.all(taught, c["then"])
		if err != nil {
			return nil, err
		}
		if want, ok := c["expected"].(object); ok {
			v.compare(want["then"], reflect.ValueOf(answers), way)
		}
		got["then"] = answers
	}
	return got, nil
}

func (v *vectors) keep(m *cloze.Model, t *cloze.Trainer, way string, options *cloze.TrainOptions) (*cloze.Model, error) {
	folder := filepath.Join(v.t.TempDir(), way)
	switch way {
	case "snapshot":
		return t.Snapshot()
	case "adapter":
		if err := t.SaveAdapter(folder); err != nil {
			return nil, err
		}
		return m.Adapt(folder)
	}
	if err := t.Save(folder); err != nil {
		return nil, err
	}
	saved, err := cloze.Open(folder, &cloze.OpenOptions{Threads: 1})
	if err != nil || way == "save" {
		return saved, err
	}
	defer saved.Close()
	return saved.UseHead(options.Head)
}

func sums(numbers []float32) object {
	sum, squares := 0.0, 0.0
	for _, x := range numbers {
		sum += float64(x)
		squares += float64(x) * float64(x)
	}
	return object{"count": len(numbers), "sum": sum, "norm": math.Sqrt(squares)}
}

func (v *vectors) steps(t *cloze.Trainer, examples []any, do []any) ([]object, error) {
	start, err := t.Parameters()
	if err != nil {
		return nil, err
	}
	var all []object
	for _, step := range do {
		for name, value := range step.(object) {
			got, err := v.step(t, start, examples, name, value)
			if err != nil {
				return nil, err
			}
			all = append(all, got)
		}
	}
	return all, nil
}

func (v *vectors) step(t *cloze.Trainer, start []float32, examples []any, name string, value any) (object, error) {
	switch name {
	case "accumulate":
		data, err := v.dataset(examples)
		if err != nil {
			return nil, err
		}
		batch, err := data.Select(list[int](v, value)...)
		if err != nil {
			return nil, err
		}
		loss, err := t.Accumulate(context.Background(), batch)
		return object{"loss": loss}, err
	case "apply":
		norm, err := t.Apply(float32(value.(float64)))
		return object{"gradient_norm": norm}, err
	case "exchange_gradients":
		gradients, err := t.Gradients()
		if err != nil {
			return nil, err
		}
		return sums(gradients), t.SetGradients(gradients)
	case "read_buffers":
		buffers, err := t.GradientBuffers()
		var gradients []float32
		for _, buffer := range buffers {
			gradients = append(gradients, unsafe.Slice((*float32)(buffer.Data), buffer.Count)...)
		}
		return sums(gradients), err
	case "checkpoint_and_resume":
		folder := filepath.Join(v.t.TempDir(), "checkpoint")
		if err := t.Checkpoint(folder); err != nil {
			return nil, err
		}
		if err := t.Resume(folder); err != nil {
			return nil, err
		}
		parameters, err := t.Parameters()
		return sums(parameters), err
	case "average_with_start":
		now, err := t.Parameters()
		if err != nil {
			return nil, err
		}
		for i := range now {
			now[i] = (now[i] + start[i]) / 2
		}
		return sums(now), t.SetParameters(now)
	case "set_parameters":
		return nil, t.SetParameters(make([]float32, int(value.(float64))))
	case "save_adapter":
		return nil, t.SaveAdapter(filepath.Join(v.t.TempDir(), "adapter"))
	}
	v.t.Fatalf("no step %q", name)
	return nil, nil
}

func (v *vectors) pretrain(c object) (any, error) {
	ctx := context.Background()
	text := v.write("text.txt", strings.Join(list[string](v, c["text"]), "\n\n"))
	folder := v.t.TempDir()
	if err := cloze.LearnVocabulary(text, into[cloze.VocabularyOptions](v, c["vocabulary"]), folder); err != nil {
		return nil, err
	}
	words, err := os.ReadFile(filepath.Join(folder, "vocab.txt"))
	if err != nil {
		v.t.Fatal(err)
	}
	m, err := cloze.Create(v.json(c["config"]), folder, into[cloze.CreateOptions](v, c["create"]))
	if err != nil {
		return nil, err
	}
	defer m.Close()
	corpus, err := cloze.OpenCorpus(m, text, into[cloze.CorpusOptions](v, c["corpus"]))
	if err != nil {
		return nil, err
	}
	defer corpus.Close()
	recipe := into[cloze.TrainOptions](v, c["options"])
	t, err := cloze.NewTrainer(m, recipe, nil)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	observer, got := watch(nil)
	if got["result"], err = t.Pretrain(ctx, corpus, nil, observer); err != nil {
		return nil, err
	}
	got["vocabulary"] = strings.Split(string(bytes.TrimSpace(words)), "\n")
	if got["corpus"], err = corpus.Info(); err != nil {
		return nil, err
	}
	taught, err := t.Snapshot()
	if err != nil {
		return nil, err
	}
	defer taught.Close()
	if got["metrics"], err = taught.EvaluateCorpus(ctx, corpus, recipe, nil); err != nil {
		return nil, err
	}
	got["then"], err = v.all(taught, c["then"])
	return got, err
}
