#!/bin/sh
# Install the Debian packages named as arguments that are missing.
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

missing=
for package; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || status=
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null; then
    as_root=sudo
else
    echo "deps: Debian packages are missing, and this is neither root nor is there sudo." >&2
    echo "deps: run as root: apt-get install$missing" >&2
    exit 1
fi

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 \
        -o Acquire::Retries=3 "$@" </dev/null
}

echo "deps: installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# An update that fails leaves the old lists, which may do.
apt update >"$log" 2>&1 || cat "$log" >&2
# shellcheck disable=SC2086 # a list of words
if ! apt install -y --no-install-recommends $missing >"$log" 2>&1; then
    cat "$log" >&2
    echo "deps: apt-get install failed:$missing" >&2
    exit 1
fi
