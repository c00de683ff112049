package cloze

/*
#include "callbacks.h"
*/
import "C"

import (
	"context"
	"runtime/cgo"
	"unsafe"
)

// Progress is told how much of a call is done. An error stops the call.
type Progress func(done, total uint64) error

// callbacks are the functions of one call, and what became of them.
type callbacks struct {
	ctx      context.Context // its end, in a callback, ends the call at once
	progress Progress
	observe  func(TrainEvent) error
	token    func(NewToken) bool
	err      error // of progress or observe
	panicked bool
	value    any // of the panic, which goes on when the library has returned
}

//export clozeGoCallback
func clozeGoCallback(handle C.uintptr_t, kind C.int, data unsafe.Pointer) (stop C.int) {
	f := cgo.Handle(handle).Value().(*callbacks)
	if f.panicked {
		return 1
	}
	f.panicked = true // until its end is reached
	defer func() {
		if f.panicked {
			f.value = recover()
			stop = 1
		}
	}()
	var err error
	switch kind {
	case C.CLOZE_GO_PROGRESS:
		p := (*C.cloze_go_done)(data)
		err = f.progress(uint64(p.done), uint64(p.total))
	case C.CLOZE_GO_OBSERVE:
		err = f.observe(trainEvent((*C.cloze_train_event)(data)))
	case C.CLOZE_GO_TOKEN:
		if !f.token(newToken((*C.cloze_new_token)(data))) {
			stop = 1
		}
	}
	f.panicked = false
	if err != nil {
		if f.err == nil {
			f.err = err
		}
		return 1
	}
	if f.ctx.Err() != nil {
		return 1
	}
	return stop
}

// callbacks returns the functions of the call, and the address of their handle for C.
func (c *call) callbacks() (*callbacks, unsafe.Pointer) {
	if c.functions == nil {
		c.functions = &callbacks{ctx: c.ctx}
		c.handle = cgo.NewHandle(c.functions)
		c.user = one[C.uintptr_t](c)
		*c.user = C.uintptr_t(c.handle)
	}
	return c.functions, unsafe.Pointer(c.user)
}

func (c *call) progress(p Progress) (C.cloze_progress, unsafe.Pointer) {
	if p == nil {
		return nil, nil
	}
	functions, user := c.callbacks()
	functions.progress = p
	return C.cloze_progress(C.cloze_go_progress), user
}

func (c *call) observe(f func(TrainEvent) error) (C.cloze_observe, unsafe.Pointer) {
	if f == nil {
		return nil, nil
	}
	functions, user := c.callbacks()
	functions.observe = f
	return C.cloze_observe(C.cloze_go_observe), user
}

func (c *call) token(f func(NewToken) bool) (C.cloze_token_callback, unsafe.Pointer) {
	if f == nil {
		return nil, nil
	}
	functions, user := c.callbacks()
	functions.token = f
	return C.cloze_token_callback(C.cloze_go_token), user
}
