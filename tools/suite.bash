# Sourced by tools/test and tools/test-pythons: one suite of tests, with one more try of a few.

MAX_SECOND_TRIES=8
MAX_RUN_S=7200 # beside much other work a whole run takes more than an hour
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
output="$folder/output"
[[ -t 1 ]] && colour=yes || colour=no

run() { # the options of pytest: one run of what has not passed yet; its last line is the summary
    local command=(python -m pytest --color="$colour" "$@") status=0
    echo "== ${command[*]}"
    timeout --signal=INT --kill-after=60 "$MAX_RUN_S" "${command[@]}" 2>&1 | tee "$output" || status=$?
    summary="$(tail -n 1 "$output")"
    if ((status == 124)); then
        echo "== ended after $MAX_RUN_S s, before all tests had their turn"
    fi
    return "$status"
}
failures() { sed 's/\x1b\[[0-9;]*m//g' "$output" | grep -E '^(FAILED|ERROR) '; }

# Most of the time tests wait for timers and for other programs: four workers share the cores well.
# The tests of one file stay together, which keeps their fixtures, in the order of the conftests.
# The core is watched in its own tests only (tests/conftest.py).
parallel=(-n "${TEST_WORKERS:-4}" --dist loadfile --no-loadscope-reorder --max-worker-restart=0)

# Tests that run real programs share the machine with three others here. A few that fail so are run
# once more, in view, with those that did not come to their turn because a worker was lost: what
# fails then has failed. More than a few are no accident.
suite() { # a name, then the options of pytest
    local passed="$folder/passed-$1" status=0 failed first left again
    shift
    run --passed-file="$passed" "${parallel[@]}" "$@" || status=$?
    failed="$(failures | wc -l)" || true
    if ((status != 0 && failed > 0 && failed <= MAX_SECOND_TRIES)); then
        echo "== once more:"
        failures
        first="$failed" status=0
        left="$(python -m pytest --passed-file="$passed" "$@" --collect-only -q | grep -c ::)" || true
        if ((left > 20)); then again=("${parallel[@]}"); else again=(-v); fi
        run --passed-file="$passed" "${again[@]}" "$@" || status=$?
        ((status)) || summary="$(sort -u "$passed" | wc -l) passed, $first of them on the second try"
    fi
    return "$status"
}
