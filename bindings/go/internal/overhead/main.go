// Overhead tells how much longer Embed takes than cloze_embed called from C: both in turn, on the same texts, with one thread.
// Every pair begins with the other; the figure is the median of the pairs' ratios.
package main

/*
#cgo pkg-config: cloze
#include <cloze.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

// Seconds of one cloze_embed as a C program writes it: inputs and the buffer are its own.
static double embed(cloze_model *model, const char *const *texts, size_t count, size_t width, int clock, float *sum) {
    double start = now(clock);
    cloze_error error;
    cloze_input *inputs = malloc(count * sizeof *inputs);
    float *vectors = malloc(count * width * sizeof *vectors);
    size_t written;
    for (size_t i = 0; i < count; i++) inputs[i] = cloze_text(texts[i]);
    if (cloze_embed(model, inputs, count, NULL, vectors, count * width, &written, &error) != CLOZE_OK) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
    *sum = vectors[written - 1];
    free(vectors);
    free(inputs);
    return now(clock) - start;
}

static double seconds(int clock) { return now(clock); }
*/
import "C"

import (
	"context"
	"flag"
	"fmt"
	"log"
	"slices"
	"strconv"
	"unsafe"

	cloze "github.com/cloze/cloze/bindings/go"
)

func main() {
	folder := flag.String("model", "../../model", "folder of the model")
	count := flag.Int("texts", 1000, "texts of a call")
	pairs := flag.Int("pairs", 10, "pairs of calls")
	cancel := flag.Bool("cancel", false, "with a context that could be cancelled")
	cpu := flag.Bool("cpu", false, "time of the process's threads, not of the clock: for a machine that is busy")
	flag.Parse()
	clock := C.int(C.CLOCK_MONOTONIC)
	if *cpu {
		clock = C.CLOCK_PROCESS_CPUTIME_ID
	}
	texts := make([]string, *count)
	list := make([]*C.char, *count)
	for i := range texts {
		texts[i] = "The old man sat by the fire, number " + strconv.Itoa(i) + "."
		list[i] = C.CString(texts[i])
	}
	m, err := cloze.Open(*folder, &cloze.OpenOptions{Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	var e C.cloze_error
	var model *C.cloze_model
	options := C.cloze_open_options{size: C.sizeof_cloze_open_options, threads: 1}
	if C.cloze_model_open(C.CString(*folder), &options, &model, &e) != C.CLOZE_OK {
		log.Fatal(C.GoString(&e.message[0]))
	}
	ctx, stop := context.Background(), func() {}
	if *cancel {
		ctx, stop = context.WithCancel(ctx)
	}
	defer stop()
	var sum C.float
	fromC := func() float64 {
		return float64(C.embed(model, unsafe.SliceData(list), C.size_t(*count), C.size_t(m.Info().Embedding), clock, &sum))
	}
	fromGo := func() float64 {
		start := C.seconds(clock)
		v, err := m.Embed(ctx, cloze.Texts(texts...), nil)
		took := float64(C.seconds(clock) - start)
		if err != nil {
			log.Fatal(err)
		}
		if last := v.Data[len(v.Data)-1]; sum != 0 && last != float32(sum) {
			log.Fatalf("Go %v, C %v", last, sum)
		}
		return took
	}
	fromC()
	fromGo()
	var ratios []float64
	for i := range *pairs {
		var c, g float64
		if i%2 == 0 {
			c, g = fromC(), fromGo()
		} else {
			g, c = fromGo(), fromC()
		}
		fmt.Printf("C %.4f s, Go %.4f s\n", c, g)
		ratios = append(ratios, g/c)
	}
	slices.Sort(ratios)
	fmt.Printf("%d texts: Go takes %+.2f %% (%+.2f to %+.2f) of C's time\n", *count, 100*(ratios[len(ratios)/2]-1), 100*(ratios[0]-1), 100*(ratios[len(ratios)-1]-1))
}
