package cloze

/*
#include <stdlib.h>
#include <cloze.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"unsafe"
)

// image is the files of a model folder in C memory, which the model, its trainers and all models made from it read.
type image struct {
	names  []string
	files  [][]byte
	memory *owner
}

func newImage() *image {
	i := new(image)
	i.memory = newOwner("memory", nil, nil, func(unsafe.Pointer) {
		for _, file := range i.files {
			C.free(unsafe.Pointer(unsafe.SliceData(file)))
		}
	})
	return i
}

// add makes room for a file. C's allocator aligns it for any number.
func (i *image) add(name string, size int) []byte {
	data := unsafe.Slice((*byte)(C.malloc(C.size_t(max(size, 1)))), size)
	i.names, i.files = append(i.names, name), append(i.files, data)
	return data
}

func (i *image) open(options *OpenOptions) (*Model, error) {
	return makeModel(nil, i.memory, func(c *call, _ *C.cloze_model, out **C.cloze_model) C.cloze_status {
		o := c.openOptions(options)
		files := many[C.cloze_file](c, len(i.files))
		for n, data := range i.files {
			files[n].name = c.str("name of a file", i.names[n])
			files[n].data = unsafe.Pointer(unsafe.SliceData(data))
			files[n].size = C.size_t(len(data))
		}
		if c.argument != nil {
			return C.CLOZE_OK
		}
		return C.cloze_model_open_memory(unsafe.SliceData(files), C.size_t(len(files)), o, out, c.err)
	})
}

// OpenMemory opens a model whose files are in memory, by their paths within the folder: "config.json",
// "1_Pooling/config.json". They are copied. Weights are one "model.safetensors".
func OpenMemory(files map[string][]byte, options *OpenOptions) (*Model, error) {
	i := newImage()
	defer i.memory.close()
	for name, data := range files {
		copy(i.add(name, len(data)), data)
	}
	return i.open(options)
}

// OpenFS opens the model in a folder of a file system, such as one that was embedded in the program: it reads the .json
// and .txt files and the model.safetensors that are there, and in the folders of sentence-transformers beside them, into
// memory that is not Go's. Weights are one "model.safetensors".
func OpenFS(fsys fs.FS, dir string, options *OpenOptions) (*Model, error) {
	i := newImage()
	defer i.memory.close()
	err := fs.WalkDir(fsys, dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside := strings.TrimPrefix(strings.TrimPrefix(name, dir), "/")
		if dir == "." {
			inside = name
		}
		switch {
		case entry.IsDir() && strings.Count(inside, "/") > 0:
			return fs.SkipDir
		case entry.IsDir():
			return nil
		}
		switch ext := path.Ext(name); {
		case ext == ".json", ext == ".txt", path.Base(name) == "model.safetensors":
			return i.read(fsys, name, inside)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return i.open(options)
}

// read reads a file without a copy in Go's memory.
func (i *image) read(fsys fs.FS, name, inside string) error {
	file, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return err
	}
	data := i.add(inside, int(stat.Size()))
	if n, err := io.ReadFull(file, data); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &Error{Status: ErrIO, Message: fmt.Sprintf("%s: %d bytes, the file system says %d", name, n, len(data))}
	} else if err != nil {
		return err
	}
	if n, err := file.Read(make([]byte, 1)); n > 0 {
		return &Error{Status: ErrIO, Message: fmt.Sprintf("%s: more than the %d bytes that the file system says", name, len(data))}
	} else if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
