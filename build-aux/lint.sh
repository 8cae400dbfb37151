#!/bin/bash
# Check the sources: format, static analysis, headers, layers, versions, shell scripts.
#
#   build-aux/lint.sh [CHECK…]     all checks, or those named
#
# The last line is "N passed, N failed". Exit status: 0 if no check failed. Environment: CC,
# CXX, LINT_CFLAGS (of the build: includes and defines), LINT_WARN (its warnings), LLVM, the
# version of clang-format and clang-tidy (19, which Debian 12 and 13 have; others judge otherwise).
set -u
cd "$(dirname "$0")/.." || exit 1

CC=${CC:-cc} CXX=${CXX:-c++} LLVM=${LLVM:-19}
read -ra cflags <<<"${LINT_CFLAGS:?run this by make lint}"
read -ra warn <<<"${LINT_WARN:-}"
jobs=$(nproc)

mapfile -t c_files < <(find bench examples runtime spec -name '*.c')
mapfile -t h_files < <(find bench examples runtime spec -name '*.h')
mapfile -t scripts < <(find .ci/run bench build-aux examples spec -name '*.sh' -o -name run)
mapfile -t runtime_c < <(find runtime -name '*.c')

check_format() { # as .clang-format says
    "clang-format-$LLVM" --dry-run -Werror "${c_files[@]}" "${h_files[@]}"
}

check_warnings() { # none from the compiler
    printf '%s\0' "${c_files[@]}" |
        xargs -0 -P "$jobs" -I{} "$CC" "${cflags[@]}" "${warn[@]}" -Werror -Ispec/c -fsyntax-only {}
}

check_tidy() { # clang-tidy, as .clang-tidy says; the path to a finding: clang-tidy-19 FILE -- …
    printf '%s\0' "${runtime_c[@]}" |
        xargs -0 -P "$jobs" -I{} "clang-tidy-$LLVM" --quiet --warnings-as-errors='*' {} -- \
            "${cflags[@]}" 2>/dev/null | grep -A 2 -E ': (error|warning):'
    return "$((PIPESTATUS[1] != 0))"
}

check_cppcheck() {
    cppcheck -j "$jobs" --quiet --error-exitcode=1 --std=c11 --inline-suppr \
        --enable=warning,performance,portability --suppress=missingIncludeSystem \
        --suppress=normalCheckLevelMaxBranches --library=build-aux/cppcheck.cfg \
        -DDIRTY_VERSION='"0"' -Iruntime -Iruntime/include runtime
}

check_luacheck() {
    luacheck --quiet .
}

check_headers() { # every header compiles alone, and says first what it is by its own name
    local header name
    for header in "${h_files[@]}"; do
        name=$(basename "$header" .h)
        if [[ $header == runtime/* ]] && ! head -n 1 "$header" | grep -qE "^/\* $name(\.h)?:"; then
            echo "$header: line 1 must begin with /* $name:" && return 1
        fi
        "$CC" "${cflags[@]}" "${warn[@]}" -Werror -Ispec/c -fsyntax-only -x c "$header" || return 1
    done
}

check_public() { # the public headers are strict C99 and C++
    local header
    for header in runtime/include/*.h; do
        strict "$CC" -std=c99 -x c "$header" && strict "$CXX" -std=c++11 -x c++ "$header" ||
            return 1
    done
}

strict() { # compiler, its options, header
    echo 'int dirty_not_empty;' |
        "${@:1:$#-1}" -pedantic-errors -Wall -Wextra -Werror -fsyntax-only -D_GNU_SOURCE \
            -Iruntime/include -include "${*: -1}" -
}

# A layer includes itself and the layers below it.
may_include() { # layer of the file, layer it includes
    case $1:$2 in
    "$2:$1" | *:base | *:include) return 0 ;;
    client:wire | arbiter:wire | worker:wire | wire:wire) return 0 ;;
    luabind:wire | luabind:client | cli:*) return 0 ;;
    esac
    return 1
}

check_layers() {
    local file from to line bad=0
    while IFS=: read -r file line; do
        from=${file#runtime/} from=${from%%/*}
        to=${line#*\"} to=${to%%/*}
        [ -d "runtime/$to" ] || continue
        if ! may_include "$from" "$to"; then
            echo "$file: $from must not include $to: $line"
            bad=1
        fi
    done < <(grep -E '^#include "' -r runtime --include='*.[ch]')
    outside 'lua|lualib|lauxlib|luajit' '^runtime/(worker/(lua_[a-z]*|interrupt)\.[ch]|luabind/|cli/)' ||
        bad=1
    outside 'uv' '^runtime/(arbiter/|cli/|include/dirty_uv\.h)' || bad=1
    return $bad
}

# Which file calls which, by the symbols of the compiled files: those of runtime/arbiter in the
# order of the picture in docs/design.md, all others without a circle.
check_order() {
    local dir bad=0
    dir=$(mktemp -d)
    # shellcheck disable=SC2016 # for the shell in there
    printf '%s\0' "${runtime_c[@]}" |
        xargs -0 -P "$jobs" -I{} sh -c '
            out=$0/$(echo "${1#runtime/}" | tr / :); shift; "$@" -c -o "$out"' \
            "$dir" {} "$CC" "${cflags[@]}" {} || bad=1
    # of each file that another one needs something of: its name, the symbol, the other
    (cd "$dir" && nm -A -- *.c) | awk '
        { file = $1; sub(/\.c:[^:]*$/, "", file); sub(/:/, "/", file); symbol = $NF }
        $(NF - 1) ~ /^[TDRBC]$/ { defined[symbol] = file }
        $(NF - 1) == "U" { uses[file, symbol] = 1 }
        END {
            for (use in uses) {
                split(use, part, SUBSEP)
                to = defined[part[2]]
                if (to != "" && to != part[1]) print part[1], part[2], to
            }
        }' >"$dir/calls"
    awk '!/arbiter\// { print $1, $3 }' "$dir/calls" | tsort >/dev/null 2>"$dir/circles"
    if [ -s "$dir/circles" ]; then
        echo "these files call each other in a circle:" && cat "$dir/circles"
        bad=1
    fi
    awk -v picture=docs/design.md '
        function complain(text) { print text; bad = 1 }
        BEGIN {
            while ((getline line <picture) > 0) {
                if (line == "```order of runtime/arbiter") inside = 1
                else if (line ~ /^```/) inside = 0
                else if (inside) {
                    row++
                    cells = split(line, cell, /  +/) # name, what it is, name, what it is
                    for (c = 1; c <= cells; c += 2) {
                        names = split(cell[c], name, / ↔ /)
                        for (n = 1; n <= names; n++) { at[name[n]] = row; joined[name[n]] = names > 1 }
                    }
                }
            }
            if (!row) complain(picture ": no picture of the order of runtime/arbiter")
        }
        FNR == NR { sub(/.*:/, ""); sub(/\.c$/, ""); seen[$0] = 1; next }
        $1 ~ /^arbiter\// && $3 ~ /^arbiter\// {
            from = substr($1, 9); to = substr($3, 9)
            if (at[from] > at[to] || at[from] == at[to] && !(joined[from] && joined[to]))
                complain("runtime/" $1 ".c must not call " $2 " of " to ".c: see " picture)
        }
        END {
            for (file in seen)
                if (!(file in at)) complain(picture ": the picture lacks " file)
            for (file in at)
                if (!(file in seen)) complain(picture ": runtime/arbiter has no " file)
            exit bad
        }' <(cd "$dir" && ls arbiter:*.c) "$dir/calls" || bad=1
    rm -rf "$dir"
    return $bad
}

# Whether a library's headers are included nowhere but in some files.
outside() { # header names, where they may be
    local found
    found=$(grep -lE "^#include [<\"]($1)\.h[>\"]" -r runtime --include='*.[ch]' |
        grep -vE "$2")
    [ -z "$found" ] || { echo "includes $1.h but must not: $found" && return 1; }
}

check_versions() { # every place says what VERSION says
    local version bad=0
    version=$(cat VERSION)
    grep -q "^## $version" CHANGELOG.md ||
        { echo "CHANGELOG.md has no section \"## $version\"" && bad=1; }
    grep -rnE '(^|[^A-Z])_VERSION *= *"' lua --include='*.lua' | grep -v "\"$version\"" &&
        { echo "not version $version" && bad=1; }
    return $bad
}

check_shell() {
    shellcheck "${scripts[@]}"
}

# The compose file against Compose's own schema, which needs no engine, and the Dockerfile's
# shell commands as scripts. spec/package/docker_spec.lua runs them.
check_docker() {
    local dir=examples/docker
    yamllint -s -d '{extends: default, rules: {line-length: {max: 100}}}' $dir/compose.yaml &&
        docker-compose -f $dir/compose.yaml config -q &&
        sed -e ':join' -e '/\\$/{N; s/\\\n//; b join' -e '}' $dir/Dockerfile |
        sed -n 's/^RUN //p' | shellcheck -s sh -
}

[ $# -gt 0 ] ||
    set -- format warnings tidy cppcheck luacheck headers public layers order versions shell docker
passed=0 failed=0
for check; do
    if output=$("check_$check" 2>&1); then
        echo "[  OK  ] $check"
        passed=$((passed + 1))
    else
        echo "[FAILED] $check"
        echo "$output"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
