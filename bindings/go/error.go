package cloze

/*
#include <cloze.h>
*/
import "C"

import "io/fs"

// Status is the kind of an [Error]. Each is an error itself, for errors.Is:
//
//	errors.Is(err, cloze.ErrMissing)
type Status int32

// The kinds of errors.
const (
	// ErrInvalidArgument breaks the contract of a function: an unknown option, sizes that disagree.
	ErrInvalidArgument Status = C.CLOZE_INVALID_ARGUMENT
	// ErrBufferTooSmall comes of functions that write into a slice of yours.
	ErrBufferTooSmall Status = C.CLOZE_BUFFER_TOO_SMALL
	// ErrInvalidInput is text or token ids that cannot be used: not UTF-8, too long, no mask, an unknown id.
	ErrInvalidInput Status = C.CLOZE_INVALID_INPUT
	// ErrIO means that the system refused to open, read, map or write a file.
	ErrIO Status = C.CLOZE_IO
	// ErrInvalidFile is a file that is not what its format demands.
	ErrInvalidFile Status = C.CLOZE_INVALID_FILE
	// ErrUnsupported is asked for, but not computed by cloze; the message names it.
	ErrUnsupported Status = C.CLOZE_UNSUPPORTED
	// ErrMissing means that the model lacks what was asked of it: a tensor, a head, a tokenizer.
	ErrMissing Status = C.CLOZE_MISSING
	// ErrOutOfMemory names the bytes that were needed.
	ErrOutOfMemory Status = C.CLOZE_OUT_OF_MEMORY
	// ErrCancelled means that a context ended, or that a function of yours returned an error; the error wraps either.
	ErrCancelled Status = C.CLOZE_CANCELLED
	// ErrBusy means that another call uses the trainer or adds to the dataset.
	ErrBusy Status = C.CLOZE_BUSY
	// ErrNoDevice means that the device asked for is not there.
	ErrNoDevice Status = C.CLOZE_NO_DEVICE
	// ErrNotFinite means that weights or results are not finite numbers; the message names the tensor.
	ErrNotFinite Status = C.CLOZE_NOT_FINITE
	// ErrInternal is a defect of cloze: please report the message.
	ErrInternal Status = C.CLOZE_INTERNAL
)

// ErrClosed is what calls on a closed model, trainer, dataset or corpus are answered with.
var ErrClosed = fs.ErrClosed

// String returns the name of the status in cloze.h, such as "CLOZE_IO".
func (s Status) String() string {
	return C.GoString(C.cloze_status_name(C.cloze_status(s)))
}

// Error makes a Status an error that errors.Is can look for.
func (s Status) Error() string {
	return "cloze: " + s.String()
}

// Error is what went wrong. Every error of this package is an *Error, but those of the file system that is given to
// [OpenFS], and those of a context that had ended before the call.
type Error struct {
	Status  Status
	Message string
	causes  []error
}

// Error returns the message, which names the thing.
func (e *Error) Error() string {
	return "cloze: " + e.Message
}

// Unwrap returns the status, and what made the call stop: the error of the context, or that of a callback.
func (e *Error) Unwrap() []error {
	return append([]error{e.Status}, e.causes...)
}
