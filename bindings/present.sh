#!/bin/sh
# Whether a tool is here: present.sh TOOL. If not, says so loudly and ends with 2, or with 1 where the list CLOZE_REQUIRE,
# "go,python3", names it.
command -v "$1" >/dev/null && exit 0
case ,${CLOZE_REQUIRE-}, in
    *,"$1",*)
        echo "CLOZE_REQUIRE=$CLOZE_REQUIRE: $1 is not here" >&2
        exit 1
        ;;
esac
echo "SKIPPED ($1): it is not here" >&2
exit 2
