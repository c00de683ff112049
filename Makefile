# Builds, tests and installs the library: POSIX make, a POSIX shell and cargo.
#
#     make                              builds it
#     make install PREFIX=/usr/local    the libraries, the headers for C and C++, cloze.pc, the CMake package
#     make uninstall PREFIX=/usr/local  takes away what install has put there
#     make test                         all tests, those of the bindings too
#
# INCLUDEDIR and LIBDIR are the folders of headers and libraries. DESTDIR stages: files go to $(DESTDIR)$(PREFIX) and name
# $(PREFIX). FEATURES are cargo's; STATIC_LIBS is what they add to a static link ("-lopenblas" for linalg). CARGO=true
# builds nothing: `make`, then `sudo make install CARGO=true`. Windows: cargo, and packaging/archive.sh.
.POSIX:
.PHONY: all build install uninstall test

PREFIX = /usr/local
INCLUDEDIR = $(PREFIX)/include
LIBDIR = $(PREFIX)/lib
DESTDIR =
CARGO = cargo
RUSTC = rustc
FEATURES =
STATIC_LIBS =
BUILT = $${CARGO_TARGET_DIR:-target}/release

all: build

build:
	$(CARGO) build --release --locked --features '$(FEATURES)'
	BUILT="$(BUILT)" RUSTC='$(RUSTC)' STATIC_LIBS='$(STATIC_LIBS)' sh packaging/package.sh complete

install: build
	BUILT="$(BUILT)" PREFIX='$(PREFIX)' INCLUDEDIR='$(INCLUDEDIR)' LIBDIR='$(LIBDIR)' DESTDIR='$(DESTDIR)' \
		sh packaging/package.sh install

uninstall:
	PREFIX='$(PREFIX)' INCLUDEDIR='$(INCLUDEDIR)' LIBDIR='$(LIBDIR)' DESTDIR='$(DESTDIR)' \
		sh packaging/package.sh uninstall

test: build
	$(CARGO) test --locked
	BUILT="$(BUILT)" sh bindings/test.sh
