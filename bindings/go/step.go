package cloze

/*
#include <cloze.h>
*/
import "C"

import (
	"context"
	"unsafe"
)

// Accumulate runs one batch forward and back: it adds its gradients and returns its mean loss. [ErrCancelled] leaves the
// gradients cleared.
func (t *Trainer) Accumulate(ctx context.Context, batch *Dataset) (loss float64, err error) {
	var c call
	if err := c.begin(ctx, t.owner, batch.use()); err != nil {
		return 0, err
	}
	defer c.end()
	flag, out := c.flag(), one[C.double](&c)
	if c.argument != nil {
		return 0, c.argument
	}
	if err := c.check(C.cloze_trainer_accumulate(t.c(), batch.c(), flag, out, c.err)); err != nil {
		return 0, err
	}
	return float64(*out), nil
}

// Apply makes an optimizer step with the mean of the accumulated batches, whose gradients are cleared, and returns their
// norm before it is scaled down. A learning rate below 0 is that of the options. Where nothing was accumulated,
// [ErrInvalidArgument]; where gradients are not finite, [ErrNotFinite], and the parameters stay as they were.
func (t *Trainer) Apply(learningRate float32) (gradientNorm float64, err error) {
	var c call
	if err := c.begin(context.Background(), t.owner); err != nil {
		return 0, err
	}
	defer c.end()
	out := one[C.double](&c)
	if err := c.check(C.cloze_trainer_apply(t.c(), C.float(learningRate), out, c.err)); err != nil {
		return 0, err
	}
	return float64(*out), nil
}

// Parameters returns copies of the parameters that train, one tensor after another in the order of [Trainer.Report].
func (t *Trainer) Parameters() ([]float32, error) {
	return t.read(func(c *call, out *C.float, capacity C.size_t, count *C.size_t) C.cloze_status {
		return C.cloze_trainer_parameters(t.c(), out, capacity, count, c.err)
	})
}

// SetParameters sets the parameters that train.
func (t *Trainer) SetParameters(parameters []float32) error {
	return t.write(parameters, func(c *call, in *C.float, count C.size_t) C.cloze_status {
		return C.cloze_trainer_set_parameters(t.c(), in, count, c.err)
	})
}

// Gradients returns copies of what Accumulate has added up since the last step: gradients of the sum of its losses.
func (t *Trainer) Gradients() ([]float32, error) {
	return t.read(func(c *call, out *C.float, capacity C.size_t, count *C.size_t) C.cloze_status {
		return C.cloze_trainer_gradients(t.c(), out, capacity, count, c.err)
	})
}

// Buffer is numbers where they lie, in the memory of the model's device.
type Buffer struct {
	Data  unsafe.Pointer // Count float32
	Count int
}

// GradientBuffers returns where the gradients lie, a buffer for each tensor in the order of [Trainer.Report]: to be averaged
// over machines in place. All work on them has ended; yours has to before the next call on the trainer, until which they are
// valid. [Trainer.Apply] still divides them by the number of batches accumulated here.
func (t *Trainer) GradientBuffers() ([]Buffer, error) {
	var c call
	if err := c.begin(context.Background(), t.owner); err != nil {
		return nil, err
	}
	defer c.end()
	count := one[C.size_t](&c)
	status := C.cloze_trainer_gradient_buffers(t.c(), nil, 0, count, c.err)
	if status != C.CLOZE_BUFFER_TOO_SMALL {
		return nil, c.check(status)
	}
	raw := many[C.cloze_buffer](&c, int(*count))
	if err := c.check(C.cloze_trainer_gradient_buffers(t.c(), unsafe.SliceData(raw), *count, count, c.err)); err != nil {
		return nil, err
	}
	buffers := make([]Buffer, len(raw))
	for i := range raw {
		buffers[i] = Buffer{unsafe.Pointer(raw[i].data), int(raw[i].count)}
	}
	return buffers, nil
}

// SetGradients sets what the next Apply takes instead, as the gradients of one batch.
func (t *Trainer) SetGradients(gradients []float32) error {
	return t.write(gradients, func(c *call, in *C.float, count C.size_t) C.cloze_status {
		return C.cloze_trainer_set_gradients(t.c(), in, count, c.err)
	})
}

func (t *Trainer) read(f func(c *call, out *C.float, capacity C.size_t, count *C.size_t) C.cloze_status) ([]float32, error) {
	var c call
	if err := c.begin(context.Background(), t.owner); err != nil {
		return nil, err
	}
	defer c.end()
	return c.floats(0, func(out *C.float, capacity C.size_t, count *C.size_t) C.cloze_status {
		return f(&c, out, capacity, count)
	})
}

func (t *Trainer) write(numbers []float32, f func(c *call, in *C.float, count C.size_t) C.cloze_status) error {
	var c call
	if err := c.begin(context.Background(), t.owner); err != nil {
		return err
	}
	defer c.end()
	return c.check(f(&c, (*C.float)(unsafe.Pointer(unsafe.SliceData(numbers))), C.size_t(len(numbers))))
}

// SolveMethod is how a head is found in closed form.
type SolveMethod uint32

// The methods.
const (
	SolveRidge        SolveMethod = C.CLOZE_SOLVE_RIDGE        // least squares with a penalty on the weights: labels, several labels, numbers, tags
	SolveDiscriminant SolveMethod = C.CLOZE_SOLVE_DISCRIMINANT // linear discriminant analysis: labels and tags; good with few examples a label
)

// SolveOptions are the options of [Trainer.Solve].
type SolveOptions struct {
	Method   SolveMethod
	Strength float64 // penalty of a ridge, shrinkage of a discriminant (at most 1); 0: chosen from the examples
	Progress Progress
}

// Solve gives the trainer's head the weights that are best for the examples, in one pass over them, and returns the strength
// used. All else stays as it is. A library built without the cargo feature "linalg" answers [ErrUnsupported].
func (t *Trainer) Solve(ctx context.Context, data *Dataset, options *SolveOptions) (strength float64, err error) {
	var c call
	if err := c.begin(ctx, t.owner, data.use()); err != nil {
		return 0, err
	}
	defer c.end()
	own, out := defaults(options), one[C.double](&c)
	o := one[C.cloze_solve_options](&c)
	o.size = C.uint32_t(unsafe.Sizeof(*o))
	o.method = C.uint32_t(own.Method)
	o.strength = C.double(own.Strength)
	o.cancel = c.flag()
	o.progress, o.user = c.progress(own.Progress)
	if c.argument != nil {
		return 0, c.argument
	}
	if err := c.check(C.cloze_trainer_solve(t.c(), data.c(), o, out, c.err)); err != nil {
		return 0, err
	}
	return float64(*out), nil
}

// Whiten returns a model whose embeddings have width numbers which over the inputs have mean 0 and vary alike and
// independently. Texts that vary along fewer directions are [ErrInvalidArgument]. Of the options, Text and MaxTokens are 0.
// A library built without the cargo feature "linalg" answers [ErrUnsupported].
func (m *Model) Whiten(ctx context.Context, inputs []Input, width int, options *CallOptions) (*Model, error) {
	return makeModelContext(ctx, m, nil, func(c *call, from *C.cloze_model, out **C.cloze_model) C.cloze_status {
		in, o, w := c.inputs(inputs), c.callOptions(options), c.u32("width", width)
		if c.argument != nil {
			return C.CLOZE_OK
		}
		return C.cloze_model_whiten(from, in, C.size_t(len(inputs)), w, o, out, c.err)
	})
}
