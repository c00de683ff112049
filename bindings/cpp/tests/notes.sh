#!/bin/sh
# The example learns from what it is told: notes.sh PROGRAM MODEL
set -eu
program=$1
model=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
    echo "FAILED notes: $*" >&2
    cat "$folder/out" >&2
    exit 1
}
# Types the lines of standard input; an empty one ends a session.
notes() { "$program" "$model" "$folder/notes" >"$folder/out" 2>"$folder/err" || fail "$(cat "$folder/err")"; }

# Three folders are named, two guesses are put right by their second choice; Enter takes the others.
notes <<'END'
buy milk and eggs
shopping
the roses need water
garden
bread, butter, cheese

a poem in which the sea answers
ideas
plant the tulip bulbs in autumn
2
a story about a lighthouse keeper who hears voices

six apples and a bag of flour

the tomatoes want more sun
2
a letter that arrives forty years late

tea, sugar, and lemons

cut back the apple tree in winter


END
# The next start knows at once. A note that is not UTF-8 is refused and the next one is asked for.
printf 'coffee and a tin of biscuits\n\ncaf\351\nrake the leaves from the lawn\n\n' >"$folder/in"
notes <"$folder/in"
grep -q 'UTF-8' "$folder/err" || fail "nothing about the byte that is not UTF-8"

cat >"$folder/expected" <<'END'
buy milk and eggs	shopping
the roses need water	garden
bread, butter, cheese	shopping
a poem in which the sea answers	ideas
plant the tulip bulbs in autumn	garden
a story about a lighthouse keeper who hears voices	ideas
six apples and a bag of flour	shopping
the tomatoes want more sun	garden
a letter that arrives forty years late	ideas
tea, sugar, and lemons	shopping
cut back the apple tree in winter	garden
coffee and a tin of biscuits	shopping
rake the leaves from the lawn	garden
END
diff "$folder/expected" "$folder/notes" >&2 || fail "guesses differ"

# refused STATUS MESSAGE ARGUMENT...
refused() {
    expected=$1 message=$2
    shift 2
    status=0
    "$program" "$@" </dev/null >"$folder/out" 2>"$folder/err" || status=$?
    [ "$status" -eq "$expected" ] || fail "status $status, expected $expected"
    grep -qF "$message" "$folder/err" || fail "$(cat "$folder/err"), expected \"$message\""
}
refused 2 'usage: notes MODEL FILE' "$model"
refused 1 'notes: nowhere: ' nowhere "$folder/notes"
refused 1 "$folder/none/notes cannot be written" "$model" "$folder/none/notes"
echo 'no folder' >>"$folder/notes"
refused 1 "$folder/notes:14: expected a note, a tab, a folder" "$model" "$folder/notes"
echo "ok     notes"
