#!/bin/bash
# Build the images of examples/docker without a container engine, run them side by side with a
# directory for their sockets' volume, and have nginx make a thumbnail by the runtime.
#
# Needs root, buildah, mmdebstrap and curl; takes some minutes. The base image, debian:13-slim,
# is made of Debian's packages, so no registry is asked. Everything is in a directory of its
# own, removed at the end.
set -eu
cd "$(dirname "$0")/.."

photo=/usr/share/backgrounds/Kleiber_by_Lukas_Baubkus.jpg
dir=$(mktemp -d)
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot

buildah_here() { command buildah --root "$dir/root" --runroot "$dir/run" "$@"; }

# All processes below one, the last first: those in a container are below their buildah.
below() { # pid
    local pid
    for pid in $(pgrep -P "$1"); do
        below "$pid"
        echo "$pid"
    done
}

clean_up() {
    local pid
    for pid in $(below $$); do kill "$pid" 2>/dev/null || true; done
    wait
    buildah_here rm -a >/dev/null 2>&1 || true
    umount "$dir"/root/overlay 2>/dev/null || true
    rm -rf "$dir"
}
trap clean_up EXIT

fail() {
    echo "images: $1" >&2
    tail -n 20 "$dir"/*.log >&2
    exit 1
}

wait_for() { # what, command…
    local what=$1
    shift
    for _ in $(seq 1 300); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    fail "not in 30 s: $what"
}

[ "$(id -u)" -eq 0 ] || fail "needs root"
mkdir "$dir/root" "$dir/run" "$dir/socket"

echo "making debian:13-slim"
mmdebstrap --quiet --variant=minbase trixie "$dir/base.tar" >"$dir/base.log" 2>&1 ||
    fail "mmdebstrap failed"
container=$(buildah_here from scratch)
buildah_here add --quiet "$container" "$dir/base.tar" / >/dev/null
buildah_here commit --quiet "$container" docker.io/library/debian:13-slim >/dev/null

for target in dirty web; do
    echo "building $target"
    buildah_here bud --pull=never --network=host --layers --format docker --target $target \
        -f examples/docker/Dockerfile -t $target . >"$dir/$target.log" 2>&1 ||
        fail "$target can't be built"
done

echo "running them"
dirty=$(buildah_here from --pull=never localhost/dirty)
web=$(buildah_here from --pull=never localhost/web)
# as a new volume takes them from the image
owner=$(buildah_here run "$dirty" -- stat -c %u:%g /run/dirty)
chown "$owner" "$dir/socket" && chmod 0750 "$dir/socket"
in_dirty() { buildah_here run -v "$dir/socket:/run/dirty" "$dirty" -- "$@"; }
in_dirty dirty serve --config /etc/dirty.conf.lua >"$dir/serve.log" 2>&1 &
wait_for "a healthy runtime" in_dirty dirty status --ready
buildah_here run -v "$dir/socket:/run/dirty:ro" "$web" -- nginx -e stderr -g "daemon off;" \
    >"$dir/nginx.log" 2>&1 &
wait_for "nginx" bash -c 'echo >/dev/tcp/127.0.0.1/8080'
curl -sS --fail-with-body --data-binary @$photo http://127.0.0.1:8080/thumbnail \
    -o "$dir/small.jpg" 2>"$dir/curl.log" ||
    fail "no thumbnail: $(cat "$dir/curl.log"; head -c 300 "$dir/small.jpg")"
[ "$(head -c 3 "$dir/small.jpg" | od -An -tx1 | tr -d ' ')" = ffd8ff ] || fail "no JPEG"
in_web() { buildah_here run -v "$dir/socket:/run/dirty:ro" "$web" -- "$@"; }
[ "$(in_web id -u)" != "${owner%:*}" ] || fail "nginx runs as the socket's owner"
in_dirty dirty stop --wait || fail "no stop"
echo "images: built, run, one thumbnail of $(wc -c <"$dir/small.jpg") bytes made"
