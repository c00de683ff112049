#!/bin/sh
# Makes an archive of what `cargo build --release --target TARGET` has built: archive.sh TARGET FOLDER.
#
#     cloze-VERSION-TARGET.tar.gz    as `make install` lays it out, and the program in bin; .zip for Windows
#
# The tree may be put anywhere: CMake finds it by its own place, pkg-config with --define-prefix.
set -eu
cd "$(dirname "$0")/.."

target=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
abi=$(sed -n 's/^#define CLOZE_ABI //p' include/cloze.h)
built=${CARGO_TARGET_DIR:-target}/$target/release
name=cloze-$version-$target
tree=$out/$name

rm -rf "$tree"
mkdir -p "$tree/bin"
case $target in
    *-windows-*)
        mkdir -p "$tree/lib" "$tree/include/cloze"
        cp "$built/cloze.dll" "$built/cloze.exe" "$tree/bin"
        # the import library and the static one, by the names of either toolchain
        for library in cloze.dll.lib cloze.lib libcloze.dll.a libcloze.a; do
            if [ -e "$built/$library" ]; then cp "$built/$library" "$tree/lib"; fi
        done
        cp include/cloze.h bindings/cpp/cloze.hpp "$tree/include"
        cp bindings/cpp/cloze/*.hpp "$tree/include/cloze"
        ;;
    *)
        export BUILT="$built" RUSTC="${RUSTC:-rustc}" STATIC_LIBS="${STATIC_LIBS:-}"
        sh packaging/package.sh complete
        PREFIX=/usr/local INCLUDEDIR=/usr/local/include LIBDIR=/usr/local/lib DESTDIR="$tree/stage" \
            sh packaging/package.sh install
        mv "$tree/stage/usr/local/include" "$tree/stage/usr/local/lib" "$tree"
        rm -r "$tree/stage"
        cp "$built/cloze" "$tree/bin"
        case $target in
            *-apple-*) install_name_tool -id "@rpath/libcloze.$abi.dylib" "$tree/lib/libcloze.$abi.dylib" ;;
        esac
        ;;
esac
cp README.md CHANGELOG.md LICENSE* "$tree"

cd "$out"
case $target in
    *-windows-*) archive=$name.zip && cmake -E tar cf "$archive" --format=zip "$name" ;;
    *) archive=$name.tar.gz && tar -czf "$archive" "$name" ;;
esac
rm -r "$tree"
echo "$out/$archive"
