#!/bin/bash
# Check this tree in a fresh Debian: in a chroot with the base system of a release, make and nothing
# else. make installs what it needs there, as for somebody who has just unpacked the tree.
#
#   build-aux/fresh.sh SUITE TARGET…     (make check-trixie: trixie demo test)
#
# Needs root, mmdebstrap, and a mirror of Debian in reach. What is not committed is checked too.
# The last line is "N passed, N failed" (.ci/run). Environment: MIRROR, the mirror; TMPDIR, where
# the chroot is made (2 GB); SHORT, DIRTY_SPEC_SLOW, SPEC_SECONDS, TEST_SECONDS and the proxies are
# passed on.
#
# Processes and mounts are in namespaces of their own, which end with this script, however it
# ends: nothing runs on and nothing stays mounted. An end by SIGKILL leaves the directory.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "fresh: $*" >&2
    exit 1
}

# -- outside: a directory, namespaces, and their end ---------------------------------------
dir='' outer='' # the directory, and the process that waits for those in the namespaces

outside() { # suite, targets…
    [ "$(id -u)" -eq 0 ] || fail "needs root, to make a chroot and mount in it"
    command -v mmdebstrap >/dev/null || fail "needs the package mmdebstrap"
    dir=$(mktemp -d "${TMPDIR:-/tmp}/dirty-fresh-XXXXXX")
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    setpriv --pdeathsig KILL \
        unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
        bash "$0" --inside "$dir" "$@" </dev/null &
    outer=$!
    local status=0
    wait "$outer" || status=$?
    outer=''
    return "$status"
}

clean_up() {
    trap - EXIT INT TERM HUP
    end_inside
    if grep -qF " $dir/" /proc/self/mountinfo; then
        fail "$dir is left: something is mounted below it"
    fi
    rm -rf --one-file-system "$dir"
}

# With the first process of the namespace all others end, and the one that waits for it is
# told so when they have.
end_inside() {
    local first
    [ -n "$outer" ] || return 0
    first=$(pgrep -P "$outer") || first=$outer
    kill -KILL "$first" 2>/dev/null || true
    wait "$outer" 2>/dev/null || true
}

# -- inside: the chroot, the tree, and make ------------------------------------------------
inside() { # directory, suite, targets…
    local root=$1/root suite=$2
    echo "fresh: making a chroot of $suite"
    mmdebstrap --quiet --mode=root --variant=minbase --include=make "$suite" "$root" \
        ${MIRROR:+"$MIRROR"} >"$1/log" 2>&1 || { cat "$1/log" >&2 && fail "mmdebstrap failed"; }
    furnish "$root"
    copy_tree "$root/src"
    shift 2
    # shellcheck disable=SC2016 # for the shell in there
    passed_on chroot "$root" sh -c 'cd /src && exec "$@"' sh .ci/run "$@"
}

# What a machine has and a chroot has not.
furnish() { # root
    local node
    mount -t proc proc "$1/proc"
    mount --rbind /sys "$1/sys"
    mount -t tmpfs -o mode=755 tmpfs "$1/dev"
    mkdir "$1/dev/pts" "$1/dev/shm"
    mount -t devpts -o newinstance,mode=620,ptmxmode=666 devpts "$1/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
    for node in null zero full random urandom tty; do
        : >"$1/dev/$node"
        mount --bind "/dev/$node" "$1/dev/$node"
    done
    ln -s pts/ptmx "$1/dev/ptmx"
    ln -s /proc/self/fd "$1/dev/fd"
    ln -s /proc/self/fd/0 "$1/dev/stdin"
    ln -s /proc/self/fd/1 "$1/dev/stdout"
    ln -s /proc/self/fd/2 "$1/dev/stderr"
    cp /etc/resolv.conf /etc/hosts "$1/etc/"
    echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/fresh" # nobody needs it after a crash
    # packages of servers are not to start them
    printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"
    chmod 755 "$1/usr/sbin/policy-rc.d"
}

# The files that git tracks or would, as a checkout of one commit; without git all but outputs.
copy_tree() { # its place
    local file files=()
    umask 022
    mkdir "$1"
    if ! git rev-parse --verify -q HEAD >/dev/null 2>&1; then
        tar -c --exclude=./build . | tar -x --no-same-owner -C "$1"
        return
    fi
    while IFS= read -r -d '' file; do
        [ ! -e "$file" ] || files+=("$file")
    done < <(git ls-files -z --cached --others --exclude-standard)
    tar -c -- "${files[@]}" | tar -x --no-same-owner -C "$1"
    git -C "$1" init -q
    git -C "$1" add -A
    git -C "$1" -c user.name=fresh -c user.email=fresh@localhost commit -q -m "The tree as it is"
}

passed_on() { # command…
    local name words=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
    for name in SHORT DIRTY_SPEC_SLOW SPEC_SECONDS TEST_SECONDS http_proxy https_proxy no_proxy; do
        [ -z "${!name-}" ] || words+=("$name=${!name}")
    done
    env -i "${words[@]}" "$@"
}

if [ "${1-}" = --inside ]; then
    shift
    inside "$@"
else
    [ $# -ge 2 ] || fail "usage: build-aux/fresh.sh SUITE TARGET…"
    outside "$@"
fi
