#!/bin/sh
# Install the Debian packages named as arguments that are missing.
#
#   build-aux/deps.sh PACKAGE… NAME/OTHER-NAME…
#
# Of several names joined by slashes one has to be installed: a package that has another name in
# another release of Debian. Where none is, the first that apt can install is.
#
# Says nothing when none is missing. Needs root or sudo where one is. On a system without
# dpkg it says what to install by other means and goes on, so that a build with packages of
# another kind is not in the way.
set -eu

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is not a Debian system; these of its packages have to be there in" \
        "their own form: $*" >&2
    exit 0
fi

installed() { # package
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

installable() { # package; a name that other packages only provide is not
    case $(LC_ALL=C apt-cache policy "$1" 2>/dev/null) in
    *"Candidate: (none)"*) return 1 ;;
    *"Candidate: "*) return 0 ;;
    *) return 1 ;;
    esac
}

# The first of several names joined by slashes that is so.
first() { # installed|installable, names
    (
        IFS=/
        for name in $2; do
            if "$1" "$name"; then
                echo "$name"
                exit
            fi
        done
        exit 1
    )
}

missing=
for names; do
    first installed "$names" >/dev/null || missing="$missing $names"
done
[ -n "$missing" ] || exit 0

# What to install for the missing names, as far as apt knows by now; of names unknown to it the
# first, for apt to refuse.
chosen() {
    for names in $missing; do
        printf ' %s' "$(first installable "$names" || echo "${names%%/*}")"
    done
}

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null; then
    as_root=sudo
else
    echo "deps: Debian packages are missing, and this is neither root nor is there sudo." >&2
    echo "deps: run as root: apt-get install$(chosen)" >&2
    exit 1
fi

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 \
        -o Acquire::Retries=3 "$@" </dev/null
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# An update that fails leaves the old lists, which may do.
apt update >"$log" 2>&1 || cat "$log" >&2
packages=$(chosen)
echo "deps: installing$packages"
# shellcheck disable=SC2086 # a list of words
if ! apt install -y --no-install-recommends $packages >"$log" 2>&1; then
    cat "$log" >&2
    echo "deps: apt-get install failed:$packages" >&2
    exit 1
fi
