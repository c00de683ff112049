package cloze

/*
#include <stdlib.h>
#include "callbacks.h"
*/
import "C"

import (
	"context"
	"fmt"
	"math"
	"runtime/cgo"
	"strings"
	"unsafe"
)

// call is one call of the C library: the handles it uses, the memory that its parameters lie in, and what can stop it.
// What C is given of Go's memory is slices of plain numbers to write to or read from, for the time of the call; all else is
// copied.
type call struct {
	ctx       context.Context
	owners    [3]*owner
	blocks    []unsafe.Pointer
	free      []byte // what is left of the last block
	err       *C.cloze_error
	argument  error // the first parameter that cannot be handed to C
	cancel    *C.cloze_cancel
	stop      func() bool
	stopped   chan struct{} // closed when the flag has been set
	functions *callbacks
	handle    cgo.Handle
	user      *C.uintptr_t
}

// begin has to be followed by end, unless it returns an error. Owners may be nil.
func (c *call) begin(ctx context.Context, owners ...*owner) error {
	if err := abiError(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return &Error{Status: ErrCancelled, Message: "cancelled: " + err.Error(), causes: ends(ctx)}
	}
	c.ctx = ctx
	for i, o := range owners {
		if o == nil {
			continue
		}
		if err := o.acquire(); err != nil {
			c.end()
			return err
		}
		c.owners[i] = o
	}
	c.err = one[C.cloze_error](c)
	return nil
}

func (c *call) end() {
	if c.stop != nil && !c.stop() {
		<-c.stopped
	}
	if c.cancel != nil {
		C.cloze_cancel_free(c.cancel)
	}
	if c.functions != nil {
		c.handle.Delete()
	}
	for _, block := range c.blocks {
		C.free(block)
	}
	for _, o := range c.owners {
		if o != nil {
			o.release()
		}
	}
}

// flag returns what the end of the context sets; nil for a context that never ends.
func (c *call) flag() *C.cloze_cancel {
	if c.ctx.Done() == nil || c.cancel != nil {
		return c.cancel
	}
	if err := c.check(C.cloze_cancel_new(&c.cancel, c.err)); err != nil {
		c.fail(err)
		return nil
	}
	cancel, stopped := c.cancel, make(chan struct{})
	c.stopped = stopped
	c.stop = context.AfterFunc(c.ctx, func() {
		C.cloze_cancel_set(cancel)
		close(stopped)
	})
	return cancel
}

// fail keeps the first error of a parameter, which ready returns.
func (c *call) fail(err error) {
	if c.argument == nil {
		c.argument = err
	}
}

// check turns what the library has returned into an error. A panic of a callback goes on from here.
func (c *call) check(status C.cloze_status) error {
	if c.functions != nil && c.functions.panicked {
		panic(c.functions.value)
	}
	if status == C.CLOZE_OK {
		return nil
	}
	err := &Error{Status: Status(status), Message: C.GoString(&c.err.message[0])}
	if status == C.CLOZE_CANCELLED {
		if c.functions != nil && c.functions.err != nil {
			err.causes = []error{c.functions.err}
		} else {
			err.causes = ends(c.ctx)
		}
	}
	return err
}

// ends returns the errors of a context that has ended: its own, and what it was cancelled with.
func ends(ctx context.Context) []error {
	err := ctx.Err()
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != err {
		return []error{err, cause}
	}
	return []error{err}
}

func invalid(format string, values ...any) error {
	return &Error{Status: ErrInvalidArgument, Message: fmt.Sprintf(format, values...)}
}

const blockSize = 4096

// alloc returns zeroed C memory that lives until end.
func (c *call) alloc(size int) unsafe.Pointer {
	size = (size + 15) &^ 15
	if size > len(c.free) {
		block := C.malloc(C.size_t(max(size, blockSize)))
		c.blocks = append(c.blocks, block)
		c.free = unsafe.Slice((*byte)(block), max(size, blockSize))
	}
	part := c.free[:size]
	c.free = c.free[size:]
	clear(part)
	return unsafe.Pointer(unsafe.SliceData(part))
}

func one[T any](c *call) *T {
	var zero T
	return (*T)(c.alloc(int(unsafe.Sizeof(zero))))
}

func many[T any](c *call, count int) []T {
	if count == 0 {
		return nil
	}
	var zero T
	return unsafe.Slice((*T)(c.alloc(count*int(unsafe.Sizeof(zero)))), count)
}

// copied returns a copy in C memory, and NULL for no elements.
func copied[From, To any](c *call, values []From) *To {
	if len(values) == 0 {
		return nil
	}
	return (*To)(unsafe.Pointer(unsafe.SliceData(append(many[From](c, len(values))[:0], values...))))
}

// str returns the string with a NUL after it; one with a NUL inside is an error that names the parameter.
func (c *call) str(name, s string) *C.char {
	if i := strings.IndexByte(s, 0); i >= 0 {
		c.fail(invalid("%s: NUL at byte %d of %q", name, i, s))
		return nil
	}
	b := many[byte](c, len(s)+1)
	copy(b, s)
	return (*C.char)(unsafe.Pointer(unsafe.SliceData(b)))
}

// optional is str, but NULL for the empty string.
func (c *call) optional(name, s string) *C.char {
	if s == "" {
		return nil
	}
	return c.str(name, s)
}

func (c *call) strs(name string, list []string) **C.char {
	out := many[*C.char](c, len(list))
	for i, s := range list {
		out[i] = c.str(name, s)
	}
	return unsafe.SliceData(out)
}

// u32 refuses what a uint32 cannot hold.
func (c *call) u32(name string, n int) C.uint32_t {
	if n < 0 || uint64(n) > math.MaxUint32 {
		c.fail(invalid("%s is %d; 0 to %d are possible", name, n, uint32(math.MaxUint32)))
	}
	return C.uint32_t(n)
}

// id returns a token id that may be left out.
func (c *call) id(id *int32) *C.int32_t {
	if id == nil {
		return nil
	}
	p := one[C.int32_t](c)
	*p = C.int32_t(*id)
	return p
}

func flag32(b bool) C.uint32_t {
	if b {
		return 1
	}
	return 0
}

// defaults returns the options, or all defaults for nil.
func defaults[T any](options *T) T {
	if options == nil {
		var zero T
		return zero
	}
	return *options
}

// fetch calls f with room for so many elements and, where they are more, once again with room for all.
func fetch[T any](c *call, room int, f func(out *T, capacity C.size_t, count *C.size_t) C.cloze_status) ([]T, error) {
	if c.argument != nil {
		return nil, c.argument
	}
	count := one[C.size_t](c)
	out := make([]T, room)
	status := f(unsafe.SliceData(out), C.size_t(room), count)
	if status == C.CLOZE_BUFFER_TOO_SMALL {
		out = make([]T, int(*count))
		status = f(unsafe.SliceData(out), C.size_t(len(out)), count)
	}
	if err := c.check(status); err != nil {
		return nil, err
	}
	return out[:*count], nil
}

// text is fetch for strings, whose capacity has to have room for a NUL.
func (c *call) text(f func(out *C.char, capacity C.size_t, size *C.size_t) C.cloze_status) (string, error) {
	if c.argument != nil {
		return "", c.argument
	}
	size := one[C.size_t](c)
	out := make([]byte, 256)
	status := f((*C.char)(unsafe.Pointer(&out[0])), C.size_t(len(out)), size)
	if status == C.CLOZE_BUFFER_TOO_SMALL {
		out = make([]byte, int(*size)+1)
		status = f((*C.char)(unsafe.Pointer(&out[0])), C.size_t(len(out)), size)
	}
	if err := c.check(status); err != nil {
		return "", err
	}
	return string(out[:*size]), nil
}

// each asks for strings by number until there are no more.
func each(get func(int) (string, error)) ([]string, error) {
	var all []string
	for i := 0; ; i++ {
		s, err := get(i)
		if err != nil {
			if e, ok := err.(*Error); ok && e.Status == ErrMissing {
				return all, nil
			}
			return nil, err
		}
		all = append(all, s)
	}
}
