#!/bin/bash
# Make the Debian packages, have lintian read them, and try them in an empty system of the same
# release: install, serve, call, a C program, removal. Runs in a fresh Debian (make check-deb), as
# root, because it makes that system beside itself.
#
#   build-aux/check-deb.sh BUILD
#
# The last line is "N passed, N failed" (.ci/run).
# shellcheck disable=SC2317 # `check` calls the functions
set -u
cd "$(dirname "$0")/.." || exit 1

place=$1/deb
passed=0 failed=0

check() { # name, command…
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        echo "ok: $name"
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
    fi
}

sum_up() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}

# -- the packages --------------------------------------------------------------------------
make_packages() {
    make deb >"$1/deb.log" 2>&1 || { tail -n 60 "$1/deb.log" && return 1; }
}

# Errors and warnings, but those of packages that go to Debian's archive: these don't, so there is
# no report of a bug that asks for them, and the maintainer has no address there.
read_by_lintian() {
    lintian --allow-root --fail-on error,warning --suppress-tags \
        bogus-mail-host,bogus-mail-host-in-debian-changelog,initial-upload-closes-no-bugs \
        "$place"/*.changes
}

mkdir -p "$1"
check "the packages are made" make_packages "$1"
[ "$failed" -eq 0 ] || sum_up
check "lintian finds nothing" read_by_lintian
linted=$failed failed=0

# -- an empty system -----------------------------------------------------------------------
root=$(mktemp -d)
# shellcheck disable=SC1091 # of the system
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")

make_system() {
    mmdebstrap --quiet --mode=root --variant=minbase "$suite" "$root" ${MIRROR:+"$MIRROR"} &&
        mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" &&
        cp /etc/resolv.conf /etc/hosts "$root/etc/" &&
        printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" &&
        chmod 755 "$root/usr/sbin/policy-rc.d" &&
        mkdir "$root/debs" && cp "$place"/*.deb "$root/debs/" && rm -f "$root"/debs/*dbgsym*
}

inside() { # command…
    chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
        ${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} "$@"
}

# The client's rock by the command of docs/openresty.md, with Debian's lua-cjson and no compiler.
install_rock() {
    local line
    line=$(grep -m 1 '^luarocks .*lua-resty-dirty' docs/openresty.md) &&
        apt_get update && apt_get install --no-install-recommends luarocks lua-cjson luajit &&
        mkdir "$root/src" && tar -c lua rockspec docs | tar -x -C "$root/src" &&
        inside sh -euc "
            ! command -v cc && ! command -v gcc
            cd /src
            $line >/dev/null
            cd /
            luajit -e 'print(require(\"dirty.json\").new().encode { 1 },
                package.searchpath(\"resty.dirty\", package.path) ~= nil)'
        " >"$root/tmp/rock" && grep -q '^\[1\].true$' "$root/tmp/rock" &&
        inside luarocks --lua-version=5.1 remove lua-resty-dirty >/dev/null && rm -r "$root/src"
}

# All files but those that every apt leaves behind.
list_files() {
    inside find / -xdev \( -path /proc -o -path /dev -o -path /debs -o -path /var/lib/apt \
        -o -path /var/cache -o -path /var/lib/dpkg -o -path /var/log -o -path /tmp \) -prune -o -print |
        sort
}

apt_get() { inside apt-get -q -y -o DPkg::Lock::Timeout=60 "$@" >"$root/tmp/apt.log" 2>&1 ||
    { tail -n 40 "$root/tmp/apt.log" && return 1; }; }

install_them() {
    apt_get update && # systemd is for the service, and leaves files of its own
        apt_get install --no-install-recommends gcc libc6-dev pkg-config systemd &&
        list_files >"$root/tmp/before" || return 1
    local debs=("$root"/debs/*.deb)
    apt_get install --no-install-recommends "${debs[@]#"$root"}"
}

# The block of README.md whose first line names the file.
of_readme() { # file
    awk -v name="$1" '/^```/ { inside = !inside; first = inside; next }
        inside && first { first = 0; ours = index($0, name) }
        inside && ours' README.md
}

# Serve the app of README.md, call and reload it, and compile its program in C.
use_them() {
    mkdir -p "$root/srv/app" &&
        of_readme words.lua >"$root/srv/app/words.lua" &&
        of_readme call.c >"$root/srv/app/call.c"
    # shellcheck disable=SC2016 # for the shell in there
    inside sh -euc '
        cd /srv/app
        export DIRTY_SOCKET=/srv/app/s
        dirty check --app words
        dirty serve --app words --app apps.echo --workers 1 --pidfile /srv/app/pid >log 2>&1 &
        until dirty status --ready 2>/dev/null; do
            kill -0 $! || { cat log; exit 1; }
            sleep 0.2
        done
        [ "$(dirty call apps.echo length "four")" = 4 ]
        dirty reload --wait
        cc -Wall -Werror call.c -o call $(pkg-config --cflags --libs dirty)
        [ "$(./call)" = quick ]
        dirty stop --wait
        wait
    '
}

find_service() {
    # shellcheck disable=SC2016 # for the shell in there
    inside sh -euc '
        unit=$(dpkg -L lua-dirty | grep "/systemd/system/dirty.service$")
        grep -q "^ExecStart=/usr/bin/dirty serve " "$unit"
        getent passwd dirty | grep -q :/nonexistent:
        man=$(dpkg -L lua-dirty | grep "/dirty.1.gz$")
        [ -s "$man" ]
        dirty --version | grep -q "^dirty "
    '
}

purge_them() {
    apt_get purge lua-dirty lua-resty-dirty libdirty0 libdirty-dev || return 1
    apt_get autoremove --purge || return 1
    rm -rf "$root/srv/app"
    list_files >"$root/tmp/after"
    # of the packages that came along: databases of users have backups
    LC_ALL=C comm -13 "$root/tmp/before" "$root/tmp/after" |
        grep -vE '^/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$' >"$root/tmp/left"
    cat "$root/tmp/left"
    [ ! -s "$root/tmp/left" ]
}

no_process() {
    local link left=0
    for link in /proc/[0-9]*/exe; do
        case $(readlink "$link" 2>/dev/null) in
        */dirty | */dirty" (deleted)") echo "left: $link" && left=1 ;;
        esac
    done
    return "$left"
}

check "an empty system of $suite is made" make_system
[ "$failed" -eq 0 ] || sum_up
failed=$linted
check "the client's rock needs no compiler" install_rock
check "they are installed" install_them
check "the service, its user and the manual page are there" find_service
check "a runtime serves an app, a C program calls it" use_them
check "no process is left" no_process
check "a purge leaves no file" purge_them
sum_up
