#!/bin/bash
# Run the tests and say how many passed.
#
#   spec/run.sh c BINARY…       the C tests, a cmocka program each
#   spec/run.sh lua [ARG…]      the Lua specs: of these files, or all; every other ARG goes to
#                               busted (--filter=…)
#   spec/run.sh all BINARY…     both
#
# Files of specs run beside one another, a busted each. The last line of the output is
# "N passed, N failed". Exit status: 0 nothing failed and something passed, else 1. A program
# that crashes, runs longer than its time limit or leaves processes behind counts as one failed
# test more.
#
# Environment: DIRTY_BUILD, where the outputs are (build); DIRTY_SPECS, the files that `all`
# runs (all of them); TEST_SECONDS, the limit of one C program (120); SPEC_SECONDS, the limit
# of one file of specs (600); SPEC_JOBS, how many files run at a time (the number of CPUs); LUA,
# the interpreter of the specs (luajit); DIRTY_CORE, where that finds our C module
# ($DIRTY_BUILD/lua): not in a build with sanitizers, which a plain interpreter can't load.

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

# A runner and all that it starts have this mark in their environment.
mark_of() { # what runs
    echo "DIRTY_TEST_RUN=$run.$1"
}
run=$$.$(date +%s)

# What is left of them once the runner has ended is given time to end too; then it is told,
# killed, and counts as a failure.
end_what_is_left() { # what ran
    local mark left pid tries=0
    mark=$(mark_of "$1")
    while left=$(grep -lzsxF "$mark" /proc/[0-9]*/environ | cut -d / -f 3) && [ -n "$left" ]; do
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

# -- the C tests -------------------------------------------------------------------------
# cmocka says one line a test on stdout and the reasons of failures on stderr.
run_c() { # binary
    local name status ok bad skip
    name=$(basename "$1")
    echo "== $name"
    env "$(mark_of "$name")" timeout -k 5 "${TEST_SECONDS:-120}" "$1" \
        >"$out/stdout" 2>"$out/stderr" </dev/null
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
    end_what_is_left "$name" || bad=$((bad + 1))
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
}

# -- the Lua specs -----------------------------------------------------------------------
# The number before a word of busted's own summary line; 0 where there is no such line.
counted() { # word, busted's output
    local number
    number=$(grep -aE '^[0-9]+ success(es)? / ' "$2" | tail -n 1 |
        sed -nE "s,.*\b([0-9]+) $1.*,\1,p")
    echo "${number:-0}"
}

# One file, in a busted of its own. What it counted goes to a file: `run_lua` sums them.
run_spec() { # file, busted's other arguments
    local file=$1 name=${1//\//.} status=0 begun=$SECONDS log ok bad skip
    log=$out/$name.log
    shift
    env "$(mark_of "$file")" timeout -k 5 "${SPEC_SECONDS:-600}" busted \
        --lua="${LUA:-luajit}" --output=plainTerminal "$@" "$file" >"$log" 2>&1 </dev/null ||
        status=$?
    ok=$(counted success "$log") skip=$(counted pending "$log")
    bad=$(($(counted failure "$log") + $(counted error "$log")))
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
        say_how_it_ended "$status" "$file" >>"$log"
    fi
    end_what_is_left "$file" >>"$log" || bad=$((bad + 1))
    echo "$ok $bad $skip" >"$out/$name.counts"
    {
        flock 9 # the lines of a file stay together
        echo "== $file: $ok passed, $bad failed, $((SECONDS - begun)) s"
        grep -avE '^[-+.~*]*$|^[0-9]+ success(es)? / ' "$log"
    } 9>"$out/lock"
}

run_lua() { # files, busted's other arguments
    local files=() rest=() counts word ok bad skip
    for word; do
        if [ -e "$word" ]; then files+=("$word"); else rest+=("$word"); fi
    done
    if [ ${#files[@]} -eq 0 ]; then
        mapfile -t files < <(find spec -name '*_spec.lua')
    fi
    export -f counted end_what_is_left mark_of run_spec say_how_it_ended
    export out run
    # large files first: they tend to take longest, and nothing is to run alone at the end
    find "${files[@]}" -maxdepth 0 -printf '%s\t%p\n' | sort -rn | cut -f 2 |
        xargs -d '\n' -P "${SPEC_JOBS:-$(nproc)}" -I{} bash -c 'run_spec "$@"' - {} "${rest[@]}"
    for counts in "$out"/*.counts; do
        read -r ok bad skip <"$counts"
        passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
    done
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
