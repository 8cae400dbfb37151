#!/bin/bash
# Search the model of the fast path for errors, and see that each mistake is found in it.
#
#   spec/model/run.sh
#
# A search that finds an error leaves the steps to it in the output. The last line is
# "N passed, N failed".
set -u
cd "$(dirname "$0")/../.." || exit 1
model=$PWD/spec/model/ready_lanes.pml
passed=0 failed=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Search the model with these definitions. Prints what was found, and how much was searched.
search() { # definition…
    local run
    (cd "$dir" && rm -f ./*.trail && spin -a "$@" "$model" &&
        "${CC:-gcc}" "$optimize" -w -DSAFETY -DCOLLAPSE -DMEMLIM=3000 -o pan pan.c) >"$dir/log" 2>&1 ||
        { cat "$dir/log" && return 1; }
    run=$(cd "$dir" && timeout "${MODEL_SECONDS:-120}" ./pan -E -m100000 2>&1)
    grep -E 'pan:1:|errors:|states, stored$|elapsed|reached|too small' <<<"$run" |
        grep -v '^unreached' | tr -s ' \n' ' '
}

check() { # errors that it must find (0 or 1), name, definition…
    local expected=$1 name=$2 found
    shift 2
    # Mistakes are found at once: compiling takes longer than the search.
    local optimize=-O$((2 - 2 * expected))
    found=$(search "$@")
    # A search that was cut short says nothing about errors.
    if [[ $found == *"errors: $expected "* && $found != *"too small"* ]]; then
        passed=$((passed + 1))
        echo "[  OK  ] $name: $found"
    else
        failed=$((failed + 1))
        echo "[FAILED] $name: must find $expected errors: $found"
        [ ! -f "$dir/ready_lanes.pml.trail" ] ||
            (cd "$dir" && spin -k ready_lanes.pml.trail -t -p -g "$@" "$model" | tail -n 200)
    fi
}

# All at once is too much to search: parts of it, each searched completely.
nothing=(-DEXTRA=0 -DDEATHS=0 -DADOPTS=0 -DTAKEOVERS=0 -DTAKE_BACKS=0)
part() { # definition… in place of those in `nothing`
    local all=("${nothing[@]}") define i
    for define; do
        for i in "${!all[@]}"; do
            [[ ${all[i]%=*} != "${define%=*}" ]] || unset "all[i]"
        done
        all+=("$define")
    done
    options=("${all[@]}")
}
sound() { # name, definition…
    local name=$1
    shift
    part "$@"
    check 0 "$name" "${options[@]}"
}
mistake() { # macro, definition…
    part "${@:2}"
    check 1 "$1" "-D$1" "${options[@]}"
}

sound 'a death' -DREQUESTS=2 -DDEATHS=1
sound 'adoption' -DREQUESTS=2 -DADOPTS=1
sound 'a death, two connections' -DREQUESTS=1 -DDEATHS=1 -DEXTRA=1
sound 'adoption, takeover, a connection taken back' -DREQUESTS=1 -DADOPTS=1 -DTAKEOVERS=1 \
    -DTAKE_BACKS=1
sound 'adoption, takeover, a death' -DREQUESTS=1 -DADOPTS=1 -DTAKEOVERS=1 -DDEATHS=1
for macro in MORE_BY_STORE MORE_IGNORED NO_ARM ARM_FREE_ONLY PAGE_LATE ZERO_LATE; do
    mistake $macro -DREQUESTS=2 -DDEATHS=1
done
mistake HEAD_LATE -DREQUESTS=2 -DADOPTS=1
mistake WANTED_EARLY -DREQUESTS=1 -DEXTRA=1
mistake SLEEP_UNSAID -DREQUESTS=1 -DEXTRA=1

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
