#!/bin/sh
# What the Makefile does beside cargo.
#
#     package.sh complete     gives the folder BUILT what programs need to be linked in it: the soname, and the file
#                             cloze.libs with the libraries that libcloze.a needs, as RUSTC names them, and STATIC_LIBS
#     package.sh link         puts the library of BUILT into the folder TO as linkers and programs look for it: by links
#                             of its name and its soname. Both folders are absolute
#     package.sh install      copies from BUILT to DESTDIR/PREFIX, DESTDIR/INCLUDEDIR, DESTDIR/LIBDIR
#     package.sh uninstall    removes those files
# shellcheck disable=SC2153 # BUILT is a setting, $built a name
set -eu
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
abi=$(sed -n 's/^#define CLOZE_ABI //p' include/cloze.h)
case $(uname -s) in
    Darwin) built=libcloze.dylib soname=libcloze.$abi.dylib ;;
    *) built=libcloze.so soname=libcloze.so.$abi ;;
esac

fail() {
    echo "package.sh: $*" >&2
    exit 1
}

link_build() {
    mkdir -p "$TO"
    ln -sf "$BUILT/$built" "$TO/$built"
    ln -sf "$built" "$TO/$soname"
}

# A folder of the settings, from the root even where it was given from here.
from_root() {
    case $1 in
        /*) printf '%s' "$1" ;;
        *) printf '%s/%s' "$PWD" "$1" ;;
    esac
}

complete_build() {
    ln -sf "$built" "$BUILT/$soname"
    noted=$("$RUSTC" --crate-type staticlib --print native-static-libs -o "$BUILT/.libs.a" - </dev/null 2>&1)
    rm -f "$BUILT/.libs.a"
    # Compilers add their own runtime, as an archive where a link is static.
    libs=$(printf '%s\n' "$noted" | sed -n 's/^note: native-static-libs: //p' | sed 's/-lgcc_s *//; s/ *-lc$//')
    [ -n "$libs" ] || fail "$RUSTC tells no native-static-libs: $noted"
    echo "$STATIC_LIBS${STATIC_LIBS:+ }$libs" >"$BUILT/cloze.libs"
}

# A folder below the prefix as one that moves with it.
relative() {
    # shellcheck disable=SC2016 # it is pkg-config that expands ${prefix}
    case $1 in
        "$PREFIX"/*) printf '${prefix}%s' "${1#"$PREFIX"}" ;;
        *) printf '%s' "$1" ;;
    esac
}

# Installs a template with its settings: fill FROM TO NAME=VALUE...
fill() {
    from=$1 to=$2
    shift 2
    script=
    for setting in "$@"; do
        value=$(printf '%s' "${setting#*=}" | sed 's/[&|\\]/\\&/g')
        script="$script;s|@${setting%%=*}@|$value|g"
    done
    sed "${script#;}" "packaging/$from" >"$to"
    chmod 644 "$to"
}

install_files() {
    [ -e "$BUILT/cloze.libs" ] || fail "$BUILT holds no complete build: run make"
    libs=$(cat "$BUILT/cloze.libs")
    install -d "$include/cloze" "$lib/pkgconfig" "$lib/cmake/cloze"
    install -m 755 "$BUILT/$built" "$lib/$soname"
    ln -sf "$soname" "$lib/$built"
    if [ "$built" = libcloze.dylib ]; then
        install_name_tool -id "$LIBDIR/$soname" "$lib/$soname"
    fi
    install -m 644 "$BUILT/libcloze.a" "$lib/libcloze.a"
    install -m 644 include/cloze.h bindings/cpp/cloze.hpp "$include"
    install -m 644 bindings/cpp/cloze/*.hpp "$include/cloze"
    fill cloze.pc.in "$lib/pkgconfig/cloze.pc" "VERSION=$version" "LIBS=$libs" \
        "PREFIX=$PREFIX" "INCLUDEDIR=$(relative "$INCLUDEDIR")" "LIBDIR=$(relative "$LIBDIR")"
    fill clozeConfig.cmake.in "$lib/cmake/cloze/clozeConfig.cmake" "LIBS=$libs" \
        "INCLUDEDIR=$INCLUDEDIR" "LIBDIR=$LIBDIR" "SHARED=$soname"
    fill clozeConfigVersion.cmake.in "$lib/cmake/cloze/clozeConfigVersion.cmake" "VERSION=$version"
    echo "cloze $version: $LIBDIR/$soname, $LIBDIR/libcloze.a, $INCLUDEDIR/cloze.h, $INCLUDEDIR/cloze.hpp"
}

uninstall_files() {
    rm -f "$lib/$soname" "$lib/$built" "$lib/libcloze.a" "$lib/pkgconfig/cloze.pc" "$include/cloze.h" "$include/cloze.hpp"
    for header in bindings/cpp/cloze/*.hpp; do
        rm -f "$include/cloze/${header##*/}"
    done
    rm -f "$lib/cmake/cloze/clozeConfig.cmake" "$lib/cmake/cloze/clozeConfigVersion.cmake"
    for folder in "$include/cloze" "$lib/cmake/cloze"; do
        if [ -d "$folder" ]; then rmdir "$folder"; fi
    done
}

case ${1-} in
    complete | link) "${1}_build" ;;
    install | uninstall)
        PREFIX=$(from_root "$PREFIX") INCLUDEDIR=$(from_root "$INCLUDEDIR") LIBDIR=$(from_root "$LIBDIR")
        include=$DESTDIR$INCLUDEDIR lib=$DESTDIR$LIBDIR
        "${1}_files"
        ;;
    *) fail "complete, link, install or uninstall, not \"${1-}\"" ;;
esac
