#!/bin/sh
# Run fuzzers for a bounded time, one after the other.
#
#   spec/fuzz/run.sh SECONDS BINARY…
#
# Each BINARY keeps its corpus in BINARY.corpus, which begins with the messages of
# spec/fixtures and grows from run to run. An input that crashes, hangs or breaks an
# invariant is left in BINARY.found/. Exit status: 0 if nothing was found.

seconds=${1:?usage: spec/fuzz/run.sh SECONDS BINARY…}
shift
status=0
for binary; do
    name=$(basename "$binary")
    mkdir -p "$binary.corpus" "$binary.found"
    "${LUA:-luajit}" spec/fuzz/seed.lua "$binary.corpus" || exit 1
    if "$binary" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=4096 \
        -use_value_profile=1 -print_final_stats=1 -artifact_prefix="$binary.found/" \
        "$binary.corpus" >"$binary.log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$binary.log")
        echo "$name: $runs runs in $seconds s, nothing found"
    else
        tail -n 40 "$binary.log"
        echo "$name: FAILED, see $binary.log and $binary.found/"
        status=1
    fi
done
exit $status
