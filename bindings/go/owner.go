package cloze

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// owner counts the uses of a handle of the C library: one of its Go object until that is closed, one of each running call.
// The last gives the handle back.
type owner struct {
	kind   string
	refs   atomic.Int64
	closed atomic.Bool
	ptr    unsafe.Pointer
	free   func(unsafe.Pointer)
	keep   *owner // memory that the handle reads; nil where there is none
}

// newOwner makes an owner whose one use is that of its Go object. It takes a use of keep for itself.
func newOwner(kind string, ptr unsafe.Pointer, keep *owner, free func(unsafe.Pointer)) *owner {
	o := &owner{kind: kind, ptr: ptr, free: free, keep: keep}
	o.refs.Store(1)
	if keep != nil {
		keep.refs.Add(1)
	}
	return o
}

// net closes the owner when nothing refers to the Go object any more.
func net[T any](object *T, o *owner) {
	runtime.AddCleanup(object, (*owner).close, o)
}

func (o *owner) acquire() error {
	for {
		n := o.refs.Load()
		if n == 0 || o.closed.Load() {
			return &Error{Status: ErrInvalidArgument, Message: o.kind + " is closed", causes: []error{ErrClosed}}
		}
		if o.refs.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

func (o *owner) release() {
	if o.refs.Add(-1) == 0 {
		o.free(o.ptr)
		if o.keep != nil {
			o.keep.release()
		}
	}
}

func (o *owner) close() {
	if o.closed.CompareAndSwap(false, true) {
		o.release()
	}
}
