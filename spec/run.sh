#!/bin/bash
# Run the tests and say how many passed.
#
#   spec/run.sh c BINARY…       the C tests, a cmocka program each
#   spec/run.sh lua [ARG…]      the Lua specs: of these files, or all; every other ARG goes to
#                               busted (--filter=…)
#   spec/run.sh all BINARY…     both
#
# C programs and files of specs run beside one another, those first that took longest the last
# time. The last line of the output is "N passed, N failed". Exit status: 0 nothing failed and
# something passed, else 1. A program that crashes, runs longer than its time limit or leaves
# processes behind counts as one failed test more. What failing files said is repeated before
# that line, so that it is found at the end of a long log.
#
# Environment: DIRTY_BUILD, where the outputs are (build); DIRTY_SPECS, the files that `all`
# runs (all of them); TEST_SECONDS, the limit of one C program (120); SPEC_SECONDS, the limit
# of one file of specs (600); SPEC_JOBS, how many run at a time (two for each CPU: most of
# their time they wait); LUA, the interpreter of the specs (luajit); DIRTY_CORE, where that
# finds our C module ($DIRTY_BUILD/lua): not in a build with sanitizers, which a plain
# interpreter can't load; TEST_FAILURES, a file to which the words of failing files are
# appended too.

DIRTY_BUILD=${DIRTY_BUILD:-build}
LUA_PATH="./lua/?.lua;./lua/?/init.lua;./spec/?.lua;${LUA_PATH:-;}"
LUA_CPATH="${DIRTY_CORE:-$DIRTY_BUILD/lua}/?.so;${LUA_CPATH:-;}"
export DIRTY_BUILD LUA_PATH LUA_CPATH
# a make that a spec runs is its own, not a part of the one that runs the specs, whose
# variables make puts into the environment too
unset MAKEFLAGS MFLAGS MAKELEVEL BUILD SANITIZE SPEC

# busted by the interpreter itself, where that finds it: the command starts another first
busted="${LUA:-luajit} spec/support/busted.lua --ignore-lua"
${LUA:-luajit} -e 'require "busted.runner"' 2>/dev/null || busted="busted --lua=${LUA:-luajit}"

out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT

say_how_it_ended() { # status, what ran
    case $1 in
    124) echo "[  FAILED  ] $2: over its time limit" ;;
    137) echo "[  FAILED  ] $2: killed, perhaps for its time limit" ;;
    *) echo "[  FAILED  ] $2: ended with status $1" ;;
    esac
}

# A runner and all that it starts have DIRTY_TEST_RUN=$run.NAME in their environment: a mark.
run=$$.$(date +%s)

# Starting a process costs more than most of what these functions do. So they read files
# themselves, and leave what they found in variables.

# What is left of them once the runner has ended is given time to end too; then it is told (in
# `words`), killed, and counts as a failure.
end_what_is_left() { # what ran
    local left pid tries=0
    while left=$(exec grep -lzsxF "DIRTY_TEST_RUN=$run.$1" /proc/[0-9]*/environ); [ -n "$left" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 50 ] || break
        sleep 0.1
    done
    left=${left//\/environ/}
    for pid in ${left//\/proc\//}; do
        words+="[  FAILED  ] $1 left process $pid: $(cat "/proc/$pid/comm" 2>/dev/null)"$'\n'
        kill -KILL "$pid" 2>/dev/null
    done
    [ -z "$left" ]
}

# -- one file, in a process of its own -----------------------------------------------------
# What it counted (`ok`, `bad`, `skip`) goes to a file, which is summed at the end; its words are
# shown together.
tell() { # what ran
    local name=${1#/}
    name=${name//\//.}
    echo "$ok $bad $skip $((SECONDS - begun)) $1" >"$out/$name.counts"
    [ "$bad" -eq 0 ] || printf %s "$words" >"$out/$name.failures"
    {
        flock 9
        printf '== %s: %d passed, %d failed, %d s\n%s' "$1" "$ok" "$bad" $((SECONDS - begun)) \
            "$words"
    } 9>"$out/lock"
}

# The words of every file that failed, at most so many lines each.
repeat_failures() {
    local file
    for file in "$out"/*.failures; do
        echo "== failed: $(basename "$file" .failures)"
        grep -avE '^\[ +(OK|SKIPPED) +\]' "$file" | head -n 60
    done
}

# cmocka says one line a test on stdout and the reasons of failures on stderr.
run_c() { # binary
    local name=${1##*/} begun=$SECONDS status=0 ok=0 bad=0 skip=0 words='' seed='' test='' line
    DIRTY_TEST_RUN=$run.$name timeout -k 5 "${TEST_SECONDS:-120}" "$1" \
        >"$out/$name.stdout" 2>"$out/$name.stderr" </dev/null || status=$?
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        '[       OK ]'*) ok=$((ok + 1)) ;;
        '[  FAILED  ]'*) bad=$((bad + 1)) ;;
        '[  SKIPPED ]'*) skip=$((skip + 1)) ;;
        '[ RUN      ] '*) test=${line#*] } && continue ;;
        seed:*) seed+=$line$'\n' && continue ;;
        *) continue ;;
        esac
        words+=$line$'\n'
    done <"$out/$name.stdout"
    if [ "$status" -ne 0 ]; then
        if [ "$bad" -eq 0 ]; then
            bad=1
            words+=$(say_how_it_ended "$status" "$test")$'\n'
        fi
        seed+=$(tr -d "\0" <"$out/$name.stderr")
        words+=${seed:+$seed$'\n'}
    fi
    end_what_is_left "$name" || bad=$((bad + 1))
    tell "$name"
}

run_spec() { # file, busted's other arguments
    local file=$1 begun=$SECONDS status=0 ok=0 bad=0 skip=0 words='' line
    local said=$out/${1//\//.}
    local sum='^([0-9]+) success(es)? / ([0-9]+) failures? / ([0-9]+) errors? / ([0-9]+) pending'
    shift
    # shellcheck disable=SC2086  # a command and its first arguments
    DIRTY_TEST_RUN=$run.$file timeout -k 5 "${SPEC_SECONDS:-600}" $busted \
        --output=plainTerminal "$@" "$file" >"$said" 2>&1 </dev/null || status=$?
    while IFS= read -r line || [ -n "$line" ]; do
        if [[ $line =~ $sum ]]; then
            ok=${BASH_REMATCH[1]} skip=${BASH_REMATCH[5]}
            bad=$((BASH_REMATCH[3] + BASH_REMATCH[4]))
        elif [[ $line == *[^-+.~*]* ]]; then # more than the dots of its progress
            words+=$line$'\n'
        fi
    done <"$said"
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
        words+=$(say_how_it_ended "$status" "$file")$'\n'
    fi
    end_what_is_left "$file" || bad=$((bad + 1))
    tell "$file"
}

# -- many files beside one another ---------------------------------------------------------
run_file() { # file, busted's other arguments
    case $1 in
    *_spec.lua) run_spec "$@" ;;
    *) run_c "$1" ;;
    esac
}

export -f end_what_is_left run_c run_file run_spec say_how_it_ended tell
export out run busted

# How many seconds each file took when it last ran: "SECONDS NAME" lines.
took=$DIRTY_BUILD/test-seconds

# Nothing is to run alone at the end. What has not run yet is guessed by its size: a kilobyte of
# specs a second, and C programs in little time.
longest_first() { # stdin, stdout: a file a line
    xargs -d '\n' stat -c '%s %n' | awk -v took="$took" '
        BEGIN { while ((getline <took) > 0) seconds[$2] = $1 }
        {
            name = $2
            if (name !~ /_spec\.lua$/) { sub(/.*\//, "", name); $1 = 0 }
            print name in seconds ? seconds[name] : $1 / 1000, $2
        }' | sort -srn | cut -d ' ' -f 2
}

run_files() { # busted's other arguments; stdin: a file a line
    # shellcheck disable=SC2016 # for the shell in there
    longest_first | xargs -d '\n' -P "${SPEC_JOBS:-$((2 * $(nproc)))}" -I{} \
        bash -c 'run_file "$@"' run_file {} "$@"
}

# Keep what files took, for the next run.
keep_seconds() {
    local kept
    kept=$(awk '!($NF in seen) { seen[$NF] = 1; print $(NF - 1), $NF }' \
        "$out"/*.counts "$took" 2>/dev/null)
    echo "$kept" >"$took"
}

mode=$1
[ $# -gt 0 ] && shift
files=() rest=()
case $mode in
c) files=("$@") ;;
lua)
    for word; do
        if [ -e "$word" ]; then files+=("$word"); else rest+=("$word"); fi
    done
    ;;
all)
    # shellcheck disable=SC2206  # a list of files
    files=("$@" $DIRTY_SPECS)
    ;;
*)
    echo "usage: spec/run.sh c|lua|all [ARG…]" >&2
    exit 2
    ;;
esac
if [ "$mode" = lua ] && [ ${#files[@]} -eq 0 ] || [ "$mode$DIRTY_SPECS" = all ]; then
    mapfile -t -O ${#files[@]} files < <(find spec -name '*_spec.lua')
fi
[ ${#files[@]} -eq 0 ] || printf '%s\n' "${files[@]}" | run_files "${rest[@]}"

shopt -s nullglob
passed=0 failed=0 skipped=0
for counts in "$out"/*.counts; do
    read -r ok bad skip _ <"$counts" || continue
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
done
[ ${#rest[@]} -gt 0 ] || keep_seconds # not of a file whose tests were chosen
repeat_failures | tee -a "${TEST_FAILURES:-/dev/null}"
[ "$skipped" -eq 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
