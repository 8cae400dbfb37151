#!/bin/sh
# Run the tests and say how many passed.
#
#   spec/run.sh c BINARY…       the C tests, a cmocka program each
#   spec/run.sh lua [ARG…]      the Lua specs; every ARG goes to busted (a file, --filter=…)
#   spec/run.sh all BINARY…     both
#
# The last line of the output is "N passed, N failed". Exit status: 0 nothing failed and
# something passed, else 1. A program that crashes, runs longer than its time limit or leaves
# processes behind counts as one failed test more.
#
# Environment: DIRTY_BUILD, where the outputs are (build); DIRTY_SPECS, the files that `all`
# runs (all of them); TEST_SECONDS, the limit of one C program (120); SPEC_SECONDS, the limit
# of all specs together (900); LUA, the interpreter of the specs (luajit); DIRTY_CORE, where
# that finds our C module ($DIRTY_BUILD/lua): not in a build with sanitizers, which a plain
# interpreter can't load.

DIRTY_BUILD=${DIRTY_BUILD:-build}
LUA_PATH="./lua/?.lua;./lua/?/init.lua;./spec/?.lua;${LUA_PATH:-;}"
LUA_CPATH="${DIRTY_CORE:-$DIRTY_BUILD/lua}/?.so;${LUA_CPATH:-;}"
export DIRTY_BUILD LUA_PATH LUA_CPATH
# a make that a spec runs is its own, not a part of the one that runs the specs, whose
# variables make puts into the environment too
unset MAKEFLAGS MFLAGS MAKELEVEL BUILD SANITIZE SPEC

passed=0 failed=0 skipped=0
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT

say_how_it_ended() { # status, what ran
    case $1 in
    124) echo "[  FAILED  ] $2: over its time limit" ;;
    137) echo "[  FAILED  ] $2: killed, perhaps for its time limit" ;;
    *) echo "[  FAILED  ] $2: ended with status $1" ;;
    esac
}

# A runner and all that it starts have RUN in their environment. What is left of them once the
# runner has ended is given time to end too; then it is told, killed, and counts as a failure.
RUN="DIRTY_TEST_RUN=$$.$(date +%s)"

end_what_is_left() { # what ran
    tries=0
    while left=$(grep -lzsxF "$RUN" /proc/[0-9]*/environ | cut -d / -f 3) && [ -n "$left" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 50 ] || break
        sleep 0.1
    done
    for pid in $left; do
        echo "[  FAILED  ] $1 left process $pid: $(cat "/proc/$pid/comm" 2>/dev/null)"
        kill -KILL "$pid" 2>/dev/null
    done
    [ -z "$left" ]
}

# cmocka says one line a test on stdout and the reasons of failures on stderr.
run_c() { # binary
    echo "== $(basename "$1")"
    env "$RUN" timeout -k 5 "${TEST_SECONDS:-120}" "$1" >"$out/stdout" 2>"$out/stderr" </dev/null
    status=$?
    grep -aE '^\[ +(OK|FAILED|SKIPPED) +\]' "$out/stdout"
    ok=$(grep -ac '^\[       OK \]' "$out/stdout")
    bad=$(grep -ac '^\[  FAILED  \]' "$out/stdout")
    skip=$(grep -ac '^\[  SKIPPED \]' "$out/stdout")
    if [ "$status" -ne 0 ]; then
        if [ "$bad" -eq 0 ]; then
            bad=1
            say_how_it_ended "$status" "$(sed -n 's/^\[ RUN      \] //p' "$out/stdout" |
                tail -n 1)"
        fi
        grep -a '^seed:' "$out/stdout"
        cat "$out/stderr"
    fi
    end_what_is_left "$(basename "$1")" || bad=$((bad + 1))
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
}

# The number before a word of busted's own summary line.
counted() { # word
    sed -nE "s,.*\b([0-9]+) $1.*,\1,p" "$out/summary"
}

run_lua() { # busted's arguments
    echo "== busted"
    {
        env "$RUN" timeout -k 5 "${SPEC_SECONDS:-900}" busted --lua="${LUA:-luajit}" \
            --output=plainTerminal "$@" 2>&1 </dev/null
        echo $? >"$out/status"
    } | tee "$out/stdout"
    grep -aE '^[0-9]+ success(es)? / ' "$out/stdout" | tail -n 1 >"$out/summary"
    status=$(cat "$out/status")
    ok=$(counted success) bad=$(counted failure) err=$(counted error)
    skip=$(counted pending)
    bad=$((${bad:-0} + ${err:-0}))
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
        say_how_it_ended "$status" busted
    fi
    end_what_is_left busted || bad=$((bad + 1))
    passed=$((passed + ${ok:-0})) failed=$((failed + bad))
    skipped=$((skipped + ${skip:-0}))
}

mode=$1
[ $# -gt 0 ] && shift
case $mode in
c) for binary; do run_c "$binary"; done ;;
lua) run_lua "$@" ;;
all)
    for binary; do run_c "$binary"; done
    # shellcheck disable=SC2086  # a list of files
    run_lua $DIRTY_SPECS
    ;;
*)
    echo "usage: spec/run.sh c|lua|all [ARG…]" >&2
    exit 2
    ;;
esac

[ "$skipped" -eq 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
