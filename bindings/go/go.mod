module github.com/cloze/cloze/bindings/go

go 1.24
