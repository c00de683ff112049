package cloze

/*
#include <cloze.h>
*/
import "C"

import (
	"context"
	"time"
	"unsafe"
)

// Metrics are the "loss", and fractions of 1: "accuracy", "macro_f1", "spearman" ...; NaN where they are not defined.
type Metrics map[string]float64

func metrics(list []C.cloze_metric) Metrics {
	if len(list) == 0 {
		return nil
	}
	m := make(Metrics, len(list))
	for i := range list {
		m[C.GoString(&list[i].name[0])] = float64(list[i].value)
	}
	return m
}

// metrics is fetch for metrics.
func (c *call) metrics(f func(out *C.cloze_metric, capacity C.size_t, count *C.size_t) C.cloze_status) (Metrics, error) {
	list, err := fetch(c, C.CLOZE_MAX_METRICS, f)
	return metrics(list), err
}

// EventKind is what has happened in a fit.
type EventKind uint32

// The kinds of events.
const (
	EventStep       EventKind = C.CLOZE_EVENT_STEP       // an optimizer step
	EventEvaluation EventKind = C.CLOZE_EVENT_EVALUATION // an evaluation on the dev set: Took, Metrics, Best
	EventCheckpoint EventKind = C.CLOZE_EVENT_CHECKPOINT // a checkpoint is complete: Folder
)

// TrainEvent is news of a fit. Below Epoch, fields that are not of its kind are 0.
type TrainEvent struct {
	Kind         EventKind
	Step         uint64  // optimizer steps done
	Total        uint64  // steps there will be, unless patience ends
	Epoch        float64 // passes over the examples done, in part
	Took         time.Duration
	Loss         float64 // mean of the step's batches
	LearningRate float64
	GradientNorm float64 // before it is scaled down
	Examples     uint64  // of the step
	Tokens       uint64  // of the step
	Metrics      Metrics
	Best         bool    // the best evaluation so far
	Folder       string  // of the checkpoint
	MLMLoss      float64 // of masked words, where they are learned
	MLMAccuracy  float64
	NSPLoss      float64 // of next sentences, where they are learned
	NSPAccuracy  float64
}

func trainEvent(e *C.cloze_train_event) TrainEvent {
	event := TrainEvent{
		Kind: EventKind(e.kind), Step: uint64(e.step), Total: uint64(e.total), Epoch: float64(e.epoch),
		Took: time.Duration(float64(e.seconds) * float64(time.Second)),
		Loss: float64(e.loss), LearningRate: float64(e.learning_rate), GradientNorm: float64(e.gradient_norm),
		Examples: uint64(e.examples), Metrics: metrics(unsafe.Slice(e.metrics, e.metric_count)), Best: e.best != 0,
		Tokens: uint64(e.tokens), MLMLoss: float64(e.mlm_loss), MLMAccuracy: float64(e.mlm_accuracy),
		NSPLoss: float64(e.nsp_loss), NSPAccuracy: float64(e.nsp_accuracy),
	}
	if e.folder != nil {
		event.Folder = C.GoString(e.folder)
	}
	return event
}

// FitOptions are the options of [Trainer.Fit] and [Trainer.Pretrain].
type FitOptions struct {
	Observe func(TrainEvent) error // told as the fit goes on; an error stops it. It may use any model, and read any dataset
}

func (c *call) fitOptions(options *FitOptions) *C.cloze_fit_options {
	o := one[C.cloze_fit_options](c)
	o.size = C.uint32_t(unsafe.Sizeof(*o))
	o.cancel = c.flag()
	o.observe, o.user = c.observe(defaults(options).Observe)
	return o
}

// FitResult is what a fit came to.
type FitResult struct {
	StoppedEarly bool   // patience ended it
	Steps        uint64 // optimizer steps done, since the trainer was new
	Epochs       float64
	BestStep     uint64  // of the best evaluation; 0 where there was none
	BestValue    float64 // of the metric that decides
}

// Trainer is a model that learns: the parameters that train, their gradients, and how far training has come. It works for
// one call at a time: another gets [ErrBusy], also from a callback of the first. It never changes its model.
type Trainer struct {
	owner *owner
}

// NewTrainer returns a trainer of a model. Labels come from the options, else from labelsFrom, sorted, which may be nil,
// else from the model's own head. That head is taken over if it fits; else there is a new one.
func NewTrainer(m *Model, options *TrainOptions, labelsFrom *Dataset) (*Trainer, error) {
	var c call
	if err := c.begin(context.Background(), m.owner, labelsFrom.use()); err != nil {
		return nil, err
	}
	defer c.end()
	o, out := c.trainOptions(options), one[*C.cloze_trainer](&c)
	if c.argument != nil {
		return nil, c.argument
	}
	if err := c.check(C.cloze_trainer_new(m.c(), o, labelsFrom.c(), out, c.err)); err != nil {
		return nil, err
	}
	t := &Trainer{newOwner("trainer", unsafe.Pointer(*out), m.owner.keep, func(p unsafe.Pointer) {
		C.cloze_trainer_free((*C.cloze_trainer)(p))
	})}
	net(t, t.owner)
	return t, nil
}

// c returns the handle; the caller holds a use of the owner.
func (t *Trainer) c() *C.cloze_trainer {
	return (*C.cloze_trainer)(t.owner.ptr)
}

// Close frees the trainer, as soon as no call uses it. Its model, snapshots and datasets stay. The error is always nil.
func (t *Trainer) Close() error {
	if t != nil {
		t.owner.close()
	}
	return nil
}

// TrainerInfo is what a trainer is and where it stands.
type TrainerInfo struct {
	Objective     Objective
	Labels        int
	Parameters    uint64  // numbers that train
	PlannedMemory uint64  // bytes that training takes beside the mapped weights and the cache
	Steps         uint64  // optimizer steps done
	Epochs        float64 // passes over the examples done, in part
}

// Info returns what the trainer is and where it stands.
func (t *Trainer) Info() (TrainerInfo, error) {
	var c call
	if err := c.begin(context.Background(), t.owner); err != nil {
		return TrainerInfo{}, err
	}
	defer c.end()
	i := one[C.cloze_trainer_state](&c)
	i.size = C.uint32_t(unsafe.Sizeof(*i))
	if err := c.check(C.cloze_trainer_info(t.c(), i, c.err)); err != nil {
		return TrainerInfo{}, err
	}
	return TrainerInfo{
		Objective(i.objective), int(i.labels), uint64(i.parameters), uint64(i.planned_memory), uint64(i.steps), float64(i.epochs),
	}, nil
}

// Report returns one line of JSON: "labels"; "fresh", names of tensors that began at random; "tensors", name and shape of
// each that trains, in the order of [Trainer.Parameters]; and "history".
func (t *Trainer) Report() (string, error) {
	return t.text(func(c *call, out *C.char, capacity C.size_t, size *C.size_t) C.cloze_status {
		return C.cloze_trainer_report(t.c(), out, capacity, size, c.err)
	})
}

func (t *Trainer) text(f func(c *call, out *C.char, capacity C.size_t, size *C.size_t) C.cloze_status) (string, error) {
	var c call
	if err := c.begin(context.Background(), t.owner); err != nil {
		return "", err
	}
	defer c.end()
	return c.text(func(out *C.char, capacity C.size_t, size *C.size_t) C.cloze_status {
		return f(&c, out, capacity, size)
	})
}

// Labels returns the names of the labels, by their numbers.
func (t *Trainer) Labels() ([]string, error) {
	info, err := t.Info()
	if err != nil {
		return nil, err
	}
	labels := make([]string, info.Labels)
	for i := range labels {
		labels[i], err = t.text(func(c *call, out *C.char, capacity C.size_t, size *C.size_t) C.cloze_status {
			return C.cloze_trainer_label(t.c(), C.uint32_t(i), out, capacity, size, c.err)
		})
		if err != nil {
			return nil, err
		}
	}
	return labels, nil
}

// Fit trains to the end of the options' epochs or steps, from where the trainer stands: a fit that was stopped goes on with
// the next step, to the same bits as one that was not. The dev set may be nil. [ErrInvalidInput] names an example that
// cannot be used, before the first step. [ErrCancelled] and [ErrNotFinite] leave the parameters of the last whole step.
func (t *Trainer) Fit(ctx context.Context, train, dev *Dataset, options *FitOptions) (FitResult, error) {
	return t.fit(ctx, train.use(), dev.use(), options, func(c *call, o *C.cloze_fit_options, r *C.cloze_fit_result) C.cloze_status {
		return C.cloze_trainer_fit(t.c(), train.c(), dev.c(), o, r, c.err)
	})
}

func (t *Trainer) fit(ctx context.Context, train, dev *owner, options *FitOptions,
	f func(*call, *C.cloze_fit_options, *C.cloze_fit_result) C.cloze_status) (FitResult, error) {
	var c call
	if err := c.begin(ctx, t.owner, train, dev); err != nil {
		return FitResult{}, err
	}
	defer c.end()
	o, r := c.fitOptions(options), one[C.cloze_fit_result](&c)
	r.size = C.uint32_t(unsafe.Sizeof(*r))
	if c.argument != nil {
		return FitResult{}, c.argument
	}
	if err := c.check(f(&c, o, r)); err != nil {
		return FitResult{}, err
	}
	return FitResult{r.stopped_early != 0, uint64(r.steps), float64(r.epochs), uint64(r.best_step), float64(r.best_value)}, nil
}

// Checkpoint writes a checkpoint of this moment as a folder, in one step: parameters, moments, steps done. Between the steps
// of a loop of your own too, but not between Accumulate and Apply, [ErrInvalidArgument].
func (t *Trainer) Checkpoint(folder string) error {
	return t.folder(folder, func(c *call, path *C.char) C.cloze_status {
		return C.cloze_trainer_checkpoint(t.c(), path, c.err)
	})
}

// Resume takes over a checkpoint of a trainer with the same options; Fit then goes on to the same bits as the run that wrote
// it. The folder is a checkpoint, or the folder of checkpoints for its newest.
func (t *Trainer) Resume(folder string) error {
	return t.folder(folder, func(c *call, path *C.char) C.cloze_status {
		return C.cloze_trainer_resume(t.c(), path, c.err)
	})
}

// Save writes a HuggingFace folder as [Model.Save] does. Low-rank pairs are merged into the weights.
func (t *Trainer) Save(folder string) error {
	return t.folder(folder, func(c *call, path *C.char) C.cloze_status {
		return C.cloze_trainer_save(t.c(), path, c.err)
	})
}

// SaveAdapter writes a PEFT folder: the low-rank pairs and the head. [ErrInvalidArgument] where the trainer has no pairs.
func (t *Trainer) SaveAdapter(folder string) error {
	return t.folder(folder, func(c *call, path *C.char) C.cloze_status {
		return C.cloze_trainer_save_adapter(t.c(), path, c.err)
	})
}

func (t *Trainer) folder(folder string, f func(c *call, path *C.char) C.cloze_status) error {
	var c call
	if err := c.begin(context.Background(), t.owner); err != nil {
		return err
	}
	defer c.end()
	path := c.str("folder", folder)
	if c.argument != nil {
		return c.argument
	}
	return c.check(f(&c, path))
}

// Snapshot returns the trainer's parameters as they are, as a model of its own: to answer from while training goes on.
func (t *Trainer) Snapshot() (*Model, error) {
	var c call
	if err := c.begin(context.Background(), t.owner); err != nil {
		return nil, err
	}
	defer c.end()
	out := one[*C.cloze_model](&c)
	if err := c.check(C.cloze_trainer_snapshot(t.c(), out, c.err)); err != nil {
		return nil, err
	}
	return c.newModel(*out, t.owner.keep)
}

// Evaluate returns metrics of the parameters as they are. Of the options, Text and MaxTokens are 0: the trainer's count.
func (t *Trainer) Evaluate(ctx context.Context, data *Dataset, options *CallOptions) (Metrics, error) {
	var c call
	if err := c.begin(ctx, t.owner, data.use()); err != nil {
		return nil, err
	}
	defer c.end()
	o := c.callOptions(options)
	return c.metrics(func(out *C.cloze_metric, capacity C.size_t, count *C.size_t) C.cloze_status {
		return C.cloze_trainer_evaluate(t.c(), data.c(), o, out, capacity, count, c.err)
	})
}

// Evaluate returns metrics of the model on examples. The objective is 0 for what its head was trained for. Of the options,
// Text is 0; examples are cut as in training.
func (m *Model) Evaluate(ctx context.Context, objective Objective, data *Dataset, options *CallOptions) (Metrics, error) {
	var c call
	if err := c.begin(ctx, m.owner, data.use()); err != nil {
		return nil, err
	}
	defer c.end()
	o := c.callOptions(options)
	return c.metrics(func(out *C.cloze_metric, capacity C.size_t, count *C.size_t) C.cloze_status {
		return C.cloze_model_evaluate(m.c(), C.uint32_t(objective), data.c(), o, out, capacity, count, c.err)
	})
}
