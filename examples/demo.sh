#!/bin/sh
# The runtime at work: start it with the image app, have it make a thumbnail of a real
# photograph, look at its status, stop it.
#
#   examples/demo.sh [PHOTO]        (make demo builds first and brings a photograph)
#
# Environment: DIRTY_BUILD, where the outputs are (build); DEMO_DIR, where the thumbnail is
# put ($DIRTY_BUILD/demo), which takes the place of the one before. Exit status: 0 if all went well,
# else 1 with the reason. Whatever it started has ended when it ends.
set -eu

cd "$(dirname "$0")/.."
build=${DIRTY_BUILD:-build}
dirty=$build/dirty
photo=${1:-/usr/share/backgrounds/Kleiber_by_Lukas_Baubkus.jpg}
out=${DEMO_DIR:-$build/demo}
thumbnail=$out/thumbnail.jpg
width=512

dir=$(mktemp -d)
socket=$dir/dirty.sock
server=

fail() {
    echo "demo: $*" >&2
    exit 1
}

now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

running() { # pid of a child of this shell; a zombie has ended
    state=$(sed 's/.*) \(.\).*/\1/' "/proc/$1/stat" 2>/dev/null) || return 1
    [ "$state" != Z ]
}

# Wait until a command succeeds, for at most so many seconds.
wait_until() { # seconds, command…
    deadline=$(($(now_ms) + $1 * 1000))
    shift
    until "$@"; do
        [ "$(now_ms)" -lt "$deadline" ] || return 1
        sleep 0.02
    done
}

ended() {
    ! running "$server"
}

clean_up() {
    status=$?
    trap - EXIT INT TERM
    if [ -n "$server" ] && running "$server"; then
        kill -QUIT "$server"
        wait_until 5 ended || kill -KILL "$server"
    fi
    if [ "$status" -ne 0 ] && [ -s "$dir/log" ]; then
        echo "demo: the log of the runtime:" >&2
        cat "$dir/log" >&2
    fi
    rm -rf "$dir"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

ready_or_ended() {
    grep -q ready "$dir/log" || ended
}

# The numbers behind these keys of the JSON on stdin, in their order: "key number" lines.
numbers() { # regular expression of keys
    grep -oE "\"($1)\":[0-9]+" | tr -d '"' | tr ':' ' '
}

workers_part() { # of the status on stdin
    sed 's/.*"workers":\[//; s/"apps":{.*//'
}

number() { # key, JSON
    echo "$2" | numbers "$1" | head -n 1 | cut -d ' ' -f 2
}

say() { # heading, words…
    printf "%-9s " "$1"
    shift
    echo "$*"
}

[ -x "$dirty" ] || fail "$dirty is not built: run make"
[ -r "$photo" ] || fail "no photograph $photo: make demo installs the one that it needs"
mkdir -p "$out"
rm -f "$thumbnail"

# -- start ------------------------------------------------------------------------------
started=$(now_ms)
: >"$dir/log" # there before the first look at it
"$dirty" serve --socket "$socket" --app apps.image --workers 2 >"$dir/log" 2>&1 &
server=$!
wait_until 60 ready_or_ended || fail "the runtime was not ready within 60 s"
ended && fail "the runtime ended at its start"
ready=$(($(now_ms) - started))
status=$("$dirty" status --json --socket "$socket") || fail "no status"
arbiter=$(echo "$status" | sed 's/.*"arbiter"://' | numbers pid | sed -n '1s/pid //p')
workers=$(echo "$status" | workers_part | numbers pid | sed 's/pid //' | paste -sd ' ')
say started "dirty serve --app apps.image --workers 2"
say "" "ready after $ready ms: process $arbiter is the arbiter, which dispatches; processes"
say "" "$workers are workers, each has LuaJIT and apps/image.lua loaded"

# -- send the photograph ----------------------------------------------------------------
sent=$(now_ms)
answer=$("$dirty" call --socket "$socket" --output "$thumbnail" apps.image thumbnail \
    "@$photo" "{\"width\":$width}") || fail "the call failed"
took=$(($(now_ms) - sent))
[ "$(number width "$answer")" = "$width" ] || fail "asked for width $width, got: $answer"
[ -s "$thumbnail" ] || fail "no thumbnail in $thumbnail"

# Who did it: the worker that has served a call by now.
who_served() {
    "$dirty" status --json --socket "$socket" | workers_part | numbers 'pid|served' |
        awk '$1 == "pid" { pid = $2 } $1 == "served" && $2 > 0 { print pid }'
}
served() {
    worker=$(who_served)
    [ -n "$worker" ]
}
wait_until 5 served || fail "no worker says that it served the call"

before=$("$dirty" call --socket "$socket" apps.image info "@$photo") || fail "no info"
after=$("$dirty" call --socket "$socket" apps.image info "@$thumbnail") || fail "no info"
w=$(number width "$before") h=$(number height "$before")
megapixels=$(awk "BEGIN { printf \"%.1f\", $w * $h / 1e6 }")
say sent "$(basename "$photo"): $w x $h, $megapixels megapixels, $(wc -c <"$photo") bytes"
say "" "dirty call apps.image thumbnail @$(basename "$photo") '{\"width\":$width}'"
say answered "by worker $worker in $took ms (the start of the command included):" \
    "a JPEG of $(number width "$after") x $(number height "$after"), $(wc -c <"$thumbnail") bytes"
say "" "the arbiter passed the connection on; worker and caller had it to themselves"

# -- status -----------------------------------------------------------------------------
say status "dirty status says:"
"$dirty" status --socket "$socket" | sed 's/^/          /'

# -- stop -------------------------------------------------------------------------------
kill -TERM "$server"
wait_until 30 ended || fail "the runtime did not stop within 30 s"
code=0
wait "$server" || code=$?
server=
[ "$code" -eq 0 ] || fail "the runtime ended with status $code"
[ ! -e "$socket" ] || fail "the socket is still there"
say stopped "in good order"
echo
echo "The thumbnail is in $thumbnail"
