package cloze_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	cloze "github.com/cloze/cloze/bindings/go"
)

func embed(t testing.TB, m *cloze.Model, texts ...string) []float32 {
	t.Helper()
	v, err := m.Embed(context.Background(), cloze.Texts(texts...), nil)
	if err != nil {
		t.Fatal(err)
	}
	return v.Data
}

func TestCloseWhileCallsRun(t *testing.T) {
	m := base(t)
	running := make(chan struct{})
	var once sync.Once
	var group sync.WaitGroup
	for range 4 {
		group.Add(1)
		go func() {
			defer group.Done()
			_, err := m.Embed(context.Background(), cloze.Texts(slices.Repeat([]string{"the old man"}, 64)...),
				&cloze.EmbedOptions{Progress: func(done, total uint64) error {
					once.Do(func() { m.Close(); close(running) })
					return nil
				}})
			if err != nil && !errors.Is(err, cloze.ErrClosed) {
				t.Error(err)
			}
		}()
	}
	<-running
	m.Close()
	group.Wait()
	if _, err := m.Tokenize(cloze.Texts("late"), nil); !errors.Is(err, cloze.ErrClosed) {
		t.Errorf("%v, expected ErrClosed", err)
	}
}

func TestOrderOfClosing(t *testing.T) {
	files := os.DirFS(root)
	m, err := cloze.OpenFS(files, "model", &cloze.OpenOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	data := moods(t)
	want := embed(t, base(t), "the old man")
	if !slices.Equal(embed(t, m, "the old man"), want) {
		t.Error("the model in memory answers otherwise than the folder")
	}
	trainer, err := cloze.NewTrainer(m, &cloze.TrainOptions{Trainable: cloze.TrainableHead, MaxSteps: 1}, data)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	if _, err := trainer.Fit(context.Background(), data, nil, nil); err != nil {
		t.Fatal(err)
	}
	snapshot, err := trainer.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	trainer.Close()
	trainer.Close()
	defer snapshot.Close()
	if !slices.Equal(embed(t, snapshot, "the old man"), want) {
		t.Error("a head changed the embeddings")
	}
	if _, err := trainer.Info(); !errors.Is(err, cloze.ErrClosed) {
		t.Errorf("%v, expected ErrClosed", err)
	}
}

func TestOpenFSErrors(t *testing.T) {
	if _, err := cloze.OpenFS(fstest.MapFS{}, "model", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, expected fs.ErrNotExist", err)
	}
	_, err := cloze.OpenFS(fstest.MapFS{"m/readme.txt": {}}, "m", nil)
	if !errors.Is(err, cloze.ErrMissing) || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("%v, expected that config.json is missing", err)
	}
}

func TestContexts(t *testing.T) {
	m := base(t)
	texts := cloze.Texts(slices.Repeat([]string{"The old man sat by the fire and said nothing at all."}, 20000)...)
	cause := errors.New("nobody waits any more")
	ctx, cancel := context.WithCancelCause(context.Background())
	var started sync.Once
	_, err := m.Embed(ctx, texts, &cloze.EmbedOptions{Progress: func(done, total uint64) error {
		started.Do(func() { cancel(cause) })
		return nil
	}})
	for _, want := range []error{cloze.ErrCancelled, context.Canceled, cause} {
		if !errors.Is(err, want) {
			t.Errorf("%v is not %v", err, want)
		}
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Millisecond)
	defer stop()
	if _, err := m.Embed(ctx, texts, nil); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, cloze.ErrCancelled) {
		t.Errorf("%v is not the deadline", err)
	}
	// a context that ends after the call takes nothing with it
	ctx, stop = context.WithCancel(context.Background())
	if _, err := m.Embed(ctx, texts[:1], nil); err != nil {
		t.Error(err)
	}
	stop()
}

func TestPanicOfACallback(t *testing.T) {
	m := base(t)
	func() {
		defer func() {
			if got := recover(); got != "mine" {
				t.Errorf("recovered %v", got)
			}
		}()
		m.Embed(context.Background(), cloze.Texts("a", "b"), &cloze.EmbedOptions{Progress: func(done, total uint64) error { panic("mine") }})
	}()
	embed(t, m, "still there")
}

func TestBadArguments(t *testing.T) {
	m, ctx := base(t), context.Background()
	data := moods(t)
	fit := func(o *cloze.TrainOptions) error {
		_, err := cloze.NewTrainer(m, o, data)
		return err
	}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"NUL in a path":     {second(cloze.Open("a\x00b", nil)), `folder: NUL at byte 1 of "a\x00b"`},
		"threads below 0":   {second(cloze.Open("a", &cloze.OpenOptions{Threads: -1})), "Threads is -1"},
		"tokens below 0":    {second(m.Embed(ctx, nil, &cloze.EmbedOptions{MaxTokens: -7})), "MaxTokens is -7"},
		"layer below 0":     {second(m.HiddenStates(ctx, cloze.Texts("a"), []int{-1}, nil)), "layer is -1"},
		"types for ids":     {second(m.Embed(ctx, []cloze.Input{cloze.IDs([]int32{2, 3}, []int32{0})}, nil)), "input 0: 2 ids, 1 types"},
		"label ids for ids": {data.Add(cloze.Example{Input: cloze.IDs([]int32{2, 3}, nil), Target: cloze.TokenLabels([]int32{1})}), "2 token ids, 1 label ids"},
		"tags for words":    {data.AddWords([]string{"a", "b"}, []string{"O"}), "2 words, 1 tags"},
		"no number":         {data.Add(cloze.Example{Input: cloze.Text("a"), Target: cloze.Numbers()}), "no number"},
		"start below 0":     {data.Add(cloze.Example{Input: cloze.Pair("a", "b"), Target: cloze.Answer("b", -2)}), "byte -2"},
		"NUL in a label":    {data.Add(cloze.Example{Input: cloze.Text("a"), Target: cloze.Label("\x00")}), "NUL at byte 0"},
		"NUL in a head":     {fit(&cloze.TrainOptions{Head: "a\x00"}), "Head: NUL"},
		"epochs below 0":    {fit(&cloze.TrainOptions{Epochs: -1}), "Epochs is -1"},
	} {
		if !errors.Is(c.err, cloze.ErrInvalidArgument) || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q", name, c.err, c.want)
		}
	}
	if n := data.Len(); n != 8 {
		t.Errorf("%d examples, expected 8", n)
	}
}

func second[T any](_ T, err error) error {
	return err
}

func TestBufferTooSmall(t *testing.T) {
	m := base(t)
	err := m.EmbedTo(context.Background(), make([]float32, 255), cloze.Texts("a"), nil)
	if !errors.Is(err, cloze.ErrBufferTooSmall) {
		t.Errorf("%v, expected ErrBufferTooSmall", err)
	}
}

func TestBusyTrainer(t *testing.T) {
	m, data := base(t), moods(t)
	trainer, err := cloze.NewTrainer(m, &cloze.TrainOptions{Trainable: cloze.TrainableHead, MaxSteps: 1}, data)
	if err != nil {
		t.Fatal(err)
	}
	defer trainer.Close()
	_, err = trainer.Fit(context.Background(), data, nil, &cloze.FitOptions{Observe: func(cloze.TrainEvent) error {
		if _, err := trainer.Fit(context.Background(), data, nil, nil); !errors.Is(err, cloze.ErrBusy) {
			t.Errorf("%v, expected ErrBusy", err)
		}
		if err := data.Add(cloze.Example{Input: cloze.Text("a"), Target: cloze.Label("b")}); !errors.Is(err, cloze.ErrBusy) {
			t.Errorf("%v, expected ErrBusy", err)
		}
		return nil
	}})
	if err != nil {
		t.Error(err)
	}
}

func TestFitGoesOn(t *testing.T) {
	m, data := base(t), moods(t)
	train := func(checkpoints string, interrupt bool) []float32 {
		t.Helper()
		options := &cloze.TrainOptions{Trainable: cloze.TrainableTop, Layers: 1, BatchSize: 4, MaxSteps: 4, CheckpointEvery: 2, Checkpoints: checkpoints}
		trainer, err := cloze.NewTrainer(m, options, data)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { trainer.Close() }()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		_, err = trainer.Fit(ctx, data, nil, &cloze.FitOptions{Observe: func(e cloze.TrainEvent) error {
			if interrupt && e.Kind == cloze.EventCheckpoint {
				cancel()
			}
			return nil
		}})
		if interrupt {
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("%v, expected context.Canceled", err)
			}
			trainer.Close()
			if trainer, err = cloze.NewTrainer(m, options, data); err != nil {
				t.Fatal(err)
			}
			if err := trainer.Resume(checkpoints); err != nil {
				t.Fatal(err)
			}
			_, err = trainer.Fit(context.Background(), data, nil, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		parameters, err := trainer.Parameters()
		if err != nil {
			t.Fatal(err)
		}
		return parameters
	}
	if !slices.Equal(train("", false), train(filepath.Join(t.TempDir(), "run"), true)) {
		t.Error("a fit that was interrupted and resumed came to other numbers")
	}
}

func TestConvert(t *testing.T) {
	m := base(t)
	folder := filepath.Join(t.TempDir(), "half")
	if err := m.SaveAs(folder, cloze.DtypeF16); err != nil {
		t.Fatal(err)
	}
	half := open(t, folder, &cloze.OpenOptions{Threads: 1})
	if got, want := embed(t, half, "the old man"), embed(t, m, "the old man"); len(got) != len(want) {
		t.Errorf("%d numbers, expected %d", len(got), len(want))
	}
	report, err := half.Report()
	if err != nil || !strings.HasPrefix(report, "{") {
		t.Errorf("report %q, %v", report, err)
	}
}

func TestTokensEnd(t *testing.T) {
	m := open(t, filepath.Join(root, "tests/golden/causal"), &cloze.OpenOptions{Threads: 1})
	seen := 0
	tokens, err := m.Generate(context.Background(), cloze.Texts("Anna walks to the"), &cloze.GenerateOptions{
		MaxTokens: 6, Token: func(token cloze.NewToken) bool { seen++; return seen < 3 },
	})
	if err != nil || len(tokens) != 3 || seen != 3 {
		t.Errorf("%d tokens, %d told, %v; expected 3", len(tokens), seen, err)
	}
}

// TestMiniLM compares the cosines of a model that sentence-transformers made with what the README tells.
func TestMiniLM(t *testing.T) {
	m := open(t, shared(t, "minilm"), nil)
	v := embed(t, m, "Hello world", "How are you")
	cosine := 0.0
	for i := range v[:384] {
		cosine += float64(v[i]) * float64(v[384+i])
	}
	if got := fmt.Sprintf("%.4f", cosine); got != "0.3624" {
		t.Errorf("%s, expected 0.3624", got)
	}
}

func TestDevices(t *testing.T) {
	devices, err := cloze.Devices()
	if err != nil || len(devices) == 0 || devices[0].ID != "cpu" || !devices[0].Usable {
		t.Fatalf("%+v, %v; expected the CPU first", devices, err)
	}
	own, err := base(t).Device()
	if err != nil || own.ID != "cpu" || own.Precision != cloze.PrecisionF32 {
		t.Errorf("%+v, %v; expected the CPU with f32", own, err)
	}
	_, err = cloze.Open(filepath.Join(root, "model"), &cloze.OpenOptions{Device: "abacus"})
	if err == nil || !strings.Contains(err.Error(), "abacus") {
		t.Errorf("%v, expected an error that names the device", err)
	}
	if _, err := cloze.Open(filepath.Join(root, "model"), &cloze.OpenOptions{Precision: cloze.PrecisionF16}); !errors.Is(err, cloze.ErrUnsupported) && !errors.Is(err, cloze.ErrInvalidArgument) {
		t.Errorf("%v, expected that the CPU has no f16", err)
	}
}
