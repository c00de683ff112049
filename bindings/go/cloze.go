// Package cloze opens a HuggingFace BERT folder and answers from it: it fills in blanks, scores sentences, judges whether
// one follows another, embeds, classifies, tags and continues text; and it learns: heads, top layers, low-rank adapters,
// everything, or a language from nothing but text.
//
// It is a thin layer over the C library of the same name, which pkg-config has to find as "cloze". The manual is cloze.h;
// what is said here is what is different in Go.
//
// # Models
//
// A [Model] never changes: any number of goroutines may use one at the same time. A [Trainer] works for one call at a time;
// a second gets [ErrBusy]. Close may be called at any time, also twice, and while calls are running: these end as if
// nothing had happened, and the last of them gives the memory back. Later calls get [ErrClosed]. What is never closed is
// closed some time after the garbage collector has found it, which knows nothing of the memory behind a model: close
// what you open.
//
// # Cancelling
//
// What takes a [context.Context] can be stopped in the middle, and stops within about 50 ms of the context's end. The error
// is then both [ErrCancelled] and the context's:
//
//	errors.Is(err, context.DeadlineExceeded)
//
// A function of yours that is told about progress stops the call by returning an error, which the error of the call
// wraps. It runs on the goroutine of the call, may use any model, may panic, but must not end its goroutine
// ([runtime.Goexit], which is what FailNow of a test does).
//
// # Options
//
// A nil pointer to options means all defaults, and so does the zero value of each of their fields.
//
// # Text
//
// Strings are UTF-8; one that is not is an error that names the byte. Offsets are those of Go strings, bytes, unless
// options ask for others.
package cloze

/*
#cgo pkg-config: cloze
#include <cloze.h>
*/
import "C"

import (
	"fmt"
	"sync"
)

// Version returns the version of the C library, such as "0.3.0".
func Version() string {
	return C.GoString(C.cloze_version())
}

// abiError tells once whether the loaded library has the interface that this package was compiled for.
var abiError = sync.OnceValue(func() error {
	if got := uint32(C.cloze_abi()); got != C.CLOZE_ABI {
		return &Error{
			Status:  ErrUnsupported,
			Message: fmt.Sprintf("the library has interface %d, this package was made for %d", got, C.CLOZE_ABI),
		}
	}
	return nil
})
