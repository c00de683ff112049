#!/bin/sh
# Compares the binary interface with that of the last release, whose dump by abidw is tests/abi/cloze.abi.
#
#     guard.sh LIBRARY [HEADER]    fails where programs built for the release would break; prints what abidiff says
#     guard.sh --bless [HEADER]    writes the dump: at a release, after which the header is promised
#
# abidiff takes types from debug information. That of Rust tells what is behind the handles, which may change, and
# nothing of const; a released library has none. So the types are those of cloze.h, which tests/abi.rs holds the library
# to: a stub in C defines every function of the header, and has to export what LIBRARY exports.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
library=${1:?LIBRARY or --bless}
header=${2:-$root/include/cloze.h}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp "$header" "$work/cloze.h"
{
    echo '#include "cloze.h"'
    awk '/^CLOZE_API / { inside = 1 }
         inside { sub(/^CLOZE_API /, ""); ended = sub(/;$/, " { __builtin_trap(); }"); print; if (ended) inside = 0 }' "$header"
} >"$work/stub.c"
abi=$(sed -n 's/^#define CLOZE_ABI //p' "$header")
(cd "$work" && cc -g -O0 -w -shared -fPIC -Wl,-soname,"libcloze.so.$abi" -o stub.so stub.c)

if [ "$library" = --bless ]; then
    abidw --no-corpus-path --no-comp-dir-path --no-show-locs \
        --no-parameter-names --no-elf-needed --no-write-default-sizes --type-id-style hash --out-file "$root/tests/abi/cloze.abi" "$work/stub.so"
    exit
fi

for file in "$library" "$work/stub.so"; do
    nm -D --defined-only "$file" | sed 's/.* //' | sort >"$work/symbols.${file##*.}.$(basename "$file")"
done
diff -u "$work/symbols.so.$(basename "$library")" "$work/symbols.so.stub.so" >"$work/difference" || {
    echo "exported by $library (-), declared in $header (+):"
    cat "$work/difference"
    exit 1
}
# Structs that begin with their size may grow at the tail. abidiff's suppressions would pass other changes of theirs too:
# so its report may have no line but those of such growth.
status=0
abidiff --leaf-changes-only --harmless --no-added-syms --no-show-locs --no-corpus-path \
    "$root/tests/abi/cloze.abi" "$work/stub.so" >"$work/report" || status=$?
cat "$work/report"
[ $((status & 3)) -eq 0 ] || exit 1
grow='cloze_(.*_options|.*_state|.*_result|.*_event|info)'
! grep -v -E -e '^ *$' -e '^(Leaf changes|Changed leaf types|Removed/Changed/Added (functions|variables)) summary: ' \
    -e "^'struct $grow' changed:\$" -e '^  type size changed from [0-9]+ to [0-9]+ \(in bits\)$' \
    -e '^  ([0-9]+|there are) data member insertions?:$' -e "^    '[^']*', at offset [0-9]+ \(in bits\)\$" \
    -e '^  ([0-9]+|one) impacted interfaces?:?$' "$work/report" >"$work/unexpected" || {
    echo "programs built for the last release would break:"
    cat "$work/unexpected"
    exit 1
}
