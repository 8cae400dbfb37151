#!/bin/sh
# Install the Debian packages named as arguments that are missing.
#
#   build-aux/deps.sh PACKAGE… NAME/OTHER-NAME…
#
# Names joined by slashes are those of one thing in several releases of Debian. The first that is
# there, installed or for apt to install, is the one to have: a later one may exist beside it and
# be something else.
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

# Which of several names is the one to have, as far as apt knows by now: of names that it does not
# know the first, for it to refuse.
choose() { # names
    (
        IFS=/
        for name in $1; do
            if installed "$name" || installable "$name"; then
                echo "$name"
                exit
            fi
        done
        echo "${1%%/*}"
    )
}

missing=
for names; do
    installed "${names%%/*}" || installed "$(choose "$names")" || missing="$missing $names"
done
[ -n "$missing" ] || exit 0

chosen() { # of all that are missing
    for names in $missing; do
        printf ' %s' "$(choose "$names")"
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
