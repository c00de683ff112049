package cloze_test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cloze "github.com/cloze/cloze/bindings/go"
)

var hammer = flag.Duration("hammer", 2*time.Second, "how long TestHammer hammers")

// resident returns the memory of the process in KiB; 0 where the system does not tell.
func resident() int {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			return n
		}
	}
	return 0
}

// TestHammer lets 100 goroutines ask one model, with contexts that end at random: every answer is that of a single
// goroutine or an error of its context.
func TestHammer(t *testing.T) {
	m := base(t)
	texts := []string{"The old man sat by the fire.", "It rained all day.", "She poured out the tea.", "caf\u00e9 \U0001F600", ""}
	want := make([][]float32, len(texts))
	for i, text := range texts {
		want[i] = embed(t, m, text)
	}
	words, err := m.Fill(context.Background(), cloze.Texts("the [MASK] door"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var answers, cancelled atomic.Int64
	ask := func(random *rand.Rand) {
		ctx, stop := context.Background(), func() {}
		if random.IntN(2) == 0 {
			ctx, stop = context.WithTimeout(ctx, time.Duration(random.IntN(int(20*time.Millisecond))))
		}
		defer stop()
		i := random.IntN(len(texts))
		var err error
		if random.IntN(4) == 0 {
			var got []cloze.Candidate
			if got, err = m.Fill(ctx, cloze.Texts("the [MASK] door"), nil); err == nil && !slices.Equal(got, words) {
				t.Errorf("fill: %v, expected %v", got, words)
			}
		} else {
			var got cloze.Matrix
			if got, err = m.Embed(ctx, cloze.Texts(texts[i]), nil); err == nil && !slices.Equal(got.Data, want[i]) {
				t.Errorf("embed: another answer to %q", texts[i])
			}
		}
		switch {
		case err == nil:
			answers.Add(1)
		case errors.Is(err, cloze.ErrCancelled) && errors.Is(err, context.DeadlineExceeded):
			cancelled.Add(1)
		default:
			t.Error(err)
		}
	}
	var group sync.WaitGroup
	end := time.Now().Add(*hammer)
	for seed := range uint64(100) {
		group.Add(1)
		go func() {
			defer group.Done()
			random := rand.New(rand.NewPCG(seed, 0))
			for ask(random); time.Now().Before(end); ask(random) {
			}
		}()
	}
	if *hammer >= 10*time.Second {
		for i := range 6 {
			time.Sleep(*hammer / 6)
			t.Logf("%v: %d KiB", *hammer/6*time.Duration(i+1), resident())
		}
	}
	group.Wait()
	t.Logf("%d answers, %d cancelled", answers.Load(), cancelled.Load())
	if answers.Load() == 0 {
		t.Error("no answers")
	}
}

// TestLeaks makes everything that has to be freed, closed or not, and finds that memory does not grow.
func TestLeaks(t *testing.T) {
	if resident() == 0 {
		t.Skip("NOT TESTED: the system does not tell the memory of a process")
	}
	m, data := base(t), moods(t)
	round := func(closes bool) {
		c, err := cloze.OpenFS(os.DirFS(root), "model", &cloze.OpenOptions{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		trainer, err := cloze.NewTrainer(c, &cloze.TrainOptions{Trainable: cloze.TrainableHead}, data)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		if _, err := m.Embed(ctx, cloze.Texts("a", "b"), &cloze.EmbedOptions{Progress: func(done, total uint64) error { return nil }}); err != nil {
			t.Fatal(err)
		}
		if closes {
			c.Close()
			trainer.Close()
		}
	}
	settle := func() int {
		for range 3 { // cleanups run after a collection, and what they let go of goes with the next
			runtime.GC()
			time.Sleep(20 * time.Millisecond)
		}
		return resident()
	}
	for _, closes := range []bool{true, false} {
		for range 3 {
			round(closes)
			settle()
		}
		before := settle()
		const rounds = 20
		for range rounds {
			round(closes)
			if !closes {
				settle()
			}
		}
		// one model in memory is more than 10 MiB; an allocator keeps a few that were freed
		grown := settle() - before
		t.Logf("closes %v: %d KiB more after %d rounds", closes, grown, rounds)
		if grown > rounds*10<<10/2 {
			t.Errorf("closes %v: memory grows", closes)
		}
	}
}
