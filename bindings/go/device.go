package cloze

/*
#include <cloze.h>
*/
import "C"

import (
	"context"
	"unsafe"
)

// Precision is what a model computes in. Parameters that train, gradients and moments are f32.
type Precision uint32

// Memory is how the CPU keeps the weights of the encoder.
type Memory uint32

// How weights are kept.
const (
	MemoryFast  Memory = C.CLOZE_MEMORY_FAST  // those that are used again once more, as products read them
	MemoryLeast Memory = C.CLOZE_MEMORY_LEAST // in the mapped file alone, which processes share
)

// The precisions.
const (
	PrecisionAuto Precision = C.CLOZE_PRECISION_AUTO // bf16 on a CUDA device, f32 on the CPU
	PrecisionF32  Precision = C.CLOZE_PRECISION_F32
	PrecisionBF16 Precision = C.CLOZE_PRECISION_BF16
	PrecisionF16  Precision = C.CLOZE_PRECISION_F16  // CUDA only; such a model cannot train
	PrecisionInt8 Precision = C.CLOZE_PRECISION_INT8 // the CPU only
)

// Device is what models can run on.
type Device struct {
	Usable     bool      // or else Note tells why not
	Capability int       // of a GPU: 90 for compute capability 9.0; 0 for the CPU
	Precision  Precision // of a model, its own; of a device, what PrecisionAuto is there
	Memory     uint64    // bytes; 0 where that is not known
	FreeMemory uint64    // bytes of it
	ID         string    // what OpenOptions.Device takes: "cuda:0"
	Name       string    // as its maker calls it; of the CPU, the instruction set in use
	Note       string    // why it cannot be used; of a model that was opened with "auto", why it is not on CUDA; or empty
}

// Devices returns the devices, the CPU first, those that cannot be used among them.
func Devices() ([]Device, error) {
	if err := abiError(); err != nil {
		return nil, err
	}
	devices := make([]Device, C.cloze_device_count())
	for i := range devices {
		var err error
		devices[i], err = device(nil, func(c *call, d *C.cloze_device) C.cloze_status {
			return C.cloze_device_get(C.uint32_t(i), d, c.err)
		})
		if err != nil {
			return nil, err
		}
	}
	return devices, nil
}

// Device returns what the model runs on.
func (m *Model) Device() (Device, error) {
	return device(m.owner, func(c *call, d *C.cloze_device) C.cloze_status {
		return C.cloze_model_device(m.c(), d, c.err)
	})
}

func device(o *owner, f func(*call, *C.cloze_device) C.cloze_status) (Device, error) {
	var c call
	if err := c.begin(context.Background(), o); err != nil {
		return Device{}, err
	}
	defer c.end()
	d := one[C.cloze_device](&c)
	d.size = C.uint32_t(unsafe.Sizeof(*d))
	if err := c.check(f(&c, d)); err != nil {
		return Device{}, err
	}
	return Device{
		Usable: d.usable != 0, Capability: int(d.capability), Precision: Precision(d.precision),
		Memory: uint64(d.memory), FreeMemory: uint64(d.free_memory),
		ID: C.GoString(&d.id[0]), Name: C.GoString(&d.name[0]), Note: C.GoString(&d.note[0]),
	}, nil
}
