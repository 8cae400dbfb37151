#!/bin/bash
# Make the Debian packages of this tree in BUILD/deb: lua-dirty, lua-resty-dirty, libdirty0,
# libdirty-dev. For the release of Debian that this runs on; `make check-deb` makes and tries them
# in those that are supported.
#
#   build-aux/deb.sh VERSION BUILD
#
# The version is that of the file VERSION; the changelog of the packages is made of it, so there is
# no second place to change. What is not committed is packed too.
set -eu
cd "$(dirname "$0")/.."

version=$1 place=$2/deb
tree=$place/lua-dirty-$version
rm -rf "$place"
mkdir -p "$tree"

# the files that git tracks or would, or all but outputs
if git rev-parse --verify -q HEAD >/dev/null 2>&1; then
    git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
        [ ! -e "$file" ] || printf '%s\0' "$file"
    done | tar -c --null -T - | tar -x -C "$tree"
    when=$(git log -1 --format=%cd --date=rfc2822)
else
    tar -c --exclude=./build . | tar -x -C "$tree"
    when=$(date -R -r VERSION)
fi

cp -R build-aux/debian "$tree/debian"
maintainer=$(sed -n 's/^Maintainer: //p' build-aux/debian/control)
cat >"$tree/debian/changelog" <<END
lua-dirty ($version-1) unstable; urgency=medium

  * Version $version: see CHANGELOG.md.

 -- $maintainer  $when
END

cd "$tree"
dpkg-buildpackage --build=binary --no-sign
cd ..
rm -rf "lua-dirty-$version"
ls ./*.deb
