#!/bin/sh
# The examples in C and C++ and the C++ tests of owners under memcheck, and built with AddressSanitizer (leaks included) and
# UndefinedBehaviorSanitizer, with gcc and with clang.
#
#     tests/sanitize.sh [WAY...]      of: valgrind g++ clang++
#
# BUILT is the folder with libcloze.so (target/release). The library itself is as it was built: its heap is watched, its own
# accesses only by memcheck. A way whose tool is not here is left out loudly; CLOZE_REQUIRE=valgrind,clang++ makes that a
# failure. Any finding is a failure.
set -eu
cd "$(dirname "$0")/.."
built=$(cd "${BUILT:-target/release}" && pwd)
golden=tests/golden
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
BUILT=$built TO=$folder sh packaging/package.sh link
export CLOZE_ROOT=.

# One step touches all that hundreds do.
sed 's/options.epochs = 60;/options.epochs = 1;/' examples/intents.c >"$folder/intents.c"
sed 's/options.max_steps = 400;/options.max_steps = 2;/' examples/pretrain.c >"$folder/pretrain.c"
for name in intents pretrain; do
    if cmp -s "examples/$name.c" "$folder/$name.c"; then echo "$name.c has other options" >&2 && exit 1; fi
done
for i in 1 2 3 4; do
    printf 'The cat drinks milk. The dog eats meat. The horse likes hay. The bird wants seeds %d.\n\n' $i
done >"$folder/text.txt"

# build CC CXX FLAG...: every program, into $folder/bin
build() {
    cc=$1 cxx=$2
    shift 2
    rm -rf "$folder/bin"
    mkdir "$folder/bin"
    for source in examples/*.c; do
        name=$(basename "$source" .c)
        if [ -e "$folder/$name.c" ]; then source=$folder/$name.c; fi
        $cc -std=c99 -g -O1 "$@" -Iinclude -o "$folder/bin/$name" "$source" -L"$folder" -lcloze -lm \
            -Wl,-rpath,"$folder"
    done
    for source in bindings/cpp/examples/*.cpp bindings/cpp/tests/owners.cpp; do
        $cxx -std=c++17 -g -O1 "$@" -Iinclude -Ibindings/cpp -o "$folder/bin/$(basename "$source" .cpp)" "$source" \
            -L"$folder" -lcloze -pthread -Wl,-rpath,"$folder"
    done
}

# check LINE PROGRAM ARGUMENT...: runs it with the words of $under before it; a line of its output has to be LINE, a
# basic regular expression. $input is what it reads.
input=/dev/null
check() {
    line=$1 program=$2
    shift 2
    status=0
    $under "$folder/bin/$program" "$@" <"$input" >"$folder/out" 2>"$folder/err" || status=$?
    if [ $status -ne 0 ] || ! grep -q "^$line\$" "$folder/out"; then
        echo "FAILED $way: $program, status $status, expected a line $line" >&2
        cat "$folder/out" "$folder/err" >&2
        failed="$failed $way:$program"
    fi
    ran="$ran $program"
}

programs() {
    rm -rf "$folder/taught" "$folder/language" "$folder/notes"
    ran=
    check ' *1\.000 .*  the cat sees the bird' embed $golden/sentence "the cat sees the bird" "Anna walks."
    check '0\.[0-9]* .*' fill $golden/pretraining "the cat [MASK] the bird."
    check 'likelier: .*' score $golden/pretraining "the cat sees the bird" "Anna walks."
    check '[0-9]* tokens, log-probability .*' generate $golden/causal "the cat"
    check '.* play some jazz' intents $golden/bare "$folder/taught" "play some jazz"
    check '[0-9.]* .*' pretrain "$folder/text.txt" "$folder/language" "The horse likes [MASK]."
    printf 'the cat sees the bird\n\nAnna walks to the river.\n' >"$folder/in"
    input=$folder/in
    check '[^ ]* [0-9.]*  .*' serve $golden/sequence $golden/token
    printf 'the cat sees\na\nthe dog walks\nb\nthe bird\n2\nthe river\n\n\n' >"$folder/in"
    check 'note:   1 [ab] [0-9]* %  2 [ab] [0-9]* %' notes $golden/bare "$folder/notes"
    check 'note:   1 [ab] [0-9]* %  2 [ab] [0-9]* %' notes $golden/bare "$folder/notes"
    input=/dev/null
    check '[0-9]* tests, 0 failures' owners
    for program in "$folder"/bin/*; do
        case "$ran " in
            *" $(basename "$program") "*) ;;
            *) failed="$failed $way:$(basename "$program")-was-not-run" ;;
        esac
    done
}

# Whether a planted leak and a planted overflow are found: 1 if not, 2 where the compiler has no sanitizers.
works() {
    printf '%s\n' '#include <stdlib.h>' 'int main(int count, char **arguments) {' \
        '    char *volatile block = malloc(8);' '    if (count > 1) return block[8] + (arguments == NULL);' \
        '    block = NULL;' '    return block != NULL;' '}' >"$folder/wrong.c"
    $1 -g "$2" "$folder/wrong.c" -o "$folder/wrong" 2>/dev/null || return 2
    ! $under "$folder/wrong" >/dev/null 2>&1 && ! $under "$folder/wrong" overflow >/dev/null 2>&1
}

if [ $# -eq 0 ]; then set -- valgrind g++ clang++; fi
failed=
for way in "$@"; do
    printf '\n== %s\n' "$way"
    under=
    case $way in
        valgrind)
            # fair: a thread that waits for another in a loop would not let it run
            under="valgrind --quiet --fair-sched=yes --error-exitcode=9 --leak-check=full --show-leak-kinds=definite"
            under="$under --errors-for-leak-kinds=definite"
            cc=cc cxx=c++ flags=-g
            ;;
        g++) cc=gcc cxx=g++ flags=-fsanitize=address,undefined ;;
        clang++) cc=clang cxx=clang++ flags=-fsanitize=address,undefined ;;
        *) echo "$way: expected valgrind, g++ or clang++" >&2 && exit 2 ;;
    esac
    status=0
    sh bindings/present.sh "$way" || status=$?
    if [ $status -eq 1 ]; then failed="$failed $way"; fi
    if [ $status -ne 0 ]; then continue; fi
    works $cc $flags || status=$?
    if [ $status -eq 1 ]; then
        echo "FAILED $way: it does not find a planted leak and a planted overflow" >&2
        failed="$failed $way"
    elif [ $status -eq 2 ]; then
        case ,${CLOZE_REQUIRE-}, in
            *,"$way",*) failed="$failed $way" && echo "CLOZE_REQUIRE=$CLOZE_REQUIRE: $cc $flags does not build" >&2 ;;
            *) echo "SKIPPED ($way): $cc $flags does not build" >&2 ;;
        esac
    fi
    if [ $status -ne 0 ]; then continue; fi
    if [ $way = valgrind ]; then build $cc $cxx; else build $cc $cxx $flags -fno-sanitize-recover=all; fi
    programs
    echo "$way:$ran"
done
if [ -n "$failed" ]; then
    echo "FAILED:$failed" >&2
    exit 1
fi
