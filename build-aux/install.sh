#!/bin/sh
# Install what has been built, or remove what an install put there: one list for both.
#
#   build-aux/install.sh install|uninstall|rock
#
# `rock` puts only the command, the modules and the apps, where LuaRocks wants them: ROCK_BINDIR,
# ROCK_LUADIR, ROCK_LIBDIR. The apps go below the modules: LuaRocks' place for other files has
# the rock's version in its path, which the command could not find.
#
# Environment, from the Makefile: BUILD, PREFIX, DESTDIR, VERSION, BINDIR, LIBDIR, INCDIR,
# SYSCONFDIR.
# The command finds its Lua modules by its own place (bin/../share/lua/5.1), so a tree can be
# moved as a whole.
set -eu

action=$1
lua51=share/lua/5.1 lua54=share/lua/5.4
share=$PREFIX/share/lua-dirty doc=$PREFIX/share/doc/lua-dirty
libdirty=libdirty.so.$VERSION
soname=libdirty.so.0 # counts the incompatible changes of the C interface

put() { # mode, file, its place
    if [ "$action" = install ]; then
        install -D -m "$1" "$2" "$DESTDIR$3"
    else
        rm -f "$DESTDIR$3"
    fi
}

put_link() { # what it points to, its place
    if [ "$action" = install ]; then
        ln -sf "$1" "$DESTDIR$2"
    else
        rm -f "$DESTDIR$2"
    fi
}

# A process for each directory, not for each file: an install is two hundred files.
put_tree() { # directory here, its place, what the files are called
    here=$1 place=$DESTDIR$2 called=$3
    if [ "$action" = install ]; then
        find "$here" -type d | while read -r dir; do
            set --
            for file in "$dir"/$called; do
                [ ! -f "$file" ] || set -- "$@" "$file"
            done
            [ $# -eq 0 ] || install -D -m 644 -t "$place${dir#"$here"}" "$@"
        done
    elif [ -d "$place" ]; then
        (cd "$here" && find . -type f -name "$called" -print0) | (cd "$place" && xargs -0 rm -f)
    fi
}

if [ "$action" = rock ]; then
    action=install DESTDIR=
    put 755 "$BUILD/dirty" "$ROCK_BINDIR/dirty"
    put 755 "$BUILD/lua/dirty/core.so" "$ROCK_LIBDIR/dirty/core.so"
    put_tree lua "$ROCK_LUADIR" '*.lua'
    put_tree apps "$ROCK_LUADIR/lua-dirty/apps" '*'
    exit
fi

pc=$(mktemp) service=$(mktemp)
trap 'rm -f "$pc" "$service"' EXIT
relative() { # path; by ${prefix} where it is below, so that pkg-config can move the tree
    case $1 in
    "$PREFIX"/*) printf '%s' "\${prefix}${1#"$PREFIX"}" ;;
    *) printf '%s' "$1" ;;
    esac
}
sed "s,@PREFIX@,$PREFIX,; s,@LIBDIR@,$(relative "$LIBDIR"),; s,@INCDIR@,$(relative "$INCDIR"),
    s,@VERSION@,$VERSION," \
    runtime/client/dirty.pc.in >"$pc"

put 755 "$BUILD/dirty" "$BINDIR/dirty"
put_tree lua "$PREFIX/$lua51" '*.lua'
put 755 "$BUILD/lua/dirty/core.so" "$PREFIX/lib/lua/5.1/dirty/core.so"

put 755 "$BUILD/libdirty.so" "$LIBDIR/$libdirty"
put_link "$libdirty" "$LIBDIR/$soname"
put_link "$soname" "$LIBDIR/libdirty.so"
put 644 "$BUILD/libdirty.a" "$LIBDIR/libdirty.a"
put 644 "$pc" "$LIBDIR/pkgconfig/dirty.pc"
for header in dirty.h dirty_errors.h dirty_uv.h; do
    put 644 runtime/include/$header "$INCDIR/$header"
done

# The module for Lua 5.4 where it was built (make lua54).
if [ "$action" = uninstall ] || [ -e "$BUILD/lua5.4/dirty/core.so" ]; then
    put_tree lua "$PREFIX/$lua54" '*.lua'
    put 755 "$BUILD/lua5.4/dirty/core.so" "$PREFIX/lib/lua/5.4/dirty/core.so"
fi

put 644 "$BUILD/dirty.1" "$PREFIX/share/man/man1/dirty.1"
put 644 "$BUILD/dirty.conf.5" "$PREFIX/share/man/man5/dirty.conf.5"
put 644 "$BUILD/dirty.3" "$PREFIX/share/man/man3/dirty.3"
put 644 "$BUILD/completion.bash" "$PREFIX/share/bash-completion/completions/dirty"
put 644 "$BUILD/completion.zsh" "$PREFIX/share/zsh/site-functions/_dirty"
put 644 "$BUILD/completion.fish" "$PREFIX/share/fish/vendor_completions.d/dirty.fish"
put_tree apps "$share/apps" '*'
put_tree examples "$share/examples" '*'
put_tree types "$share/types" '*'
put_tree docs "$doc/docs" '*'
# Where systemd and its helpers look, which know /usr/local too.
put_service() { # file here, its place; with the command of this install
    sed "s,/usr/local/bin/,$BINDIR/,g" "examples/systemd/$1" >"$service"
    put 644 "$service" "$2"
}
put_service dirty.service "$PREFIX/lib/systemd/system/dirty.service"
put_service dirty.sysusers "$PREFIX/lib/sysusers.d/dirty.conf"
put_service dirty.tmpfiles "$PREFIX/lib/tmpfiles.d/dirty.conf"
put_service dirty.logrotate "$SYSCONFDIR/logrotate.d/dirty"
for file in README.md CHANGELOG.md LICENSE; do
    put 644 $file "$doc/$file"
done

if [ "$action" = uninstall ]; then
    for dir in "$PREFIX/$lua51" "$PREFIX/$lua54" "$PREFIX/lib/lua/5.1" "$PREFIX/lib/lua/5.4"; do
        for ours in dirty resty; do
            [ ! -d "$DESTDIR$dir/$ours" ] ||
                find "$DESTDIR$dir/$ours" -depth -type d -empty -delete
        done
    done
    for dir in "$share" "$doc"; do
        [ ! -d "$DESTDIR$dir" ] || find "$DESTDIR$dir" -depth -type d -empty -delete
    done
elif [ -z "$DESTDIR" ] && [ "$(id -u)" -eq 0 ]; then
    PATH=$PATH:/usr/sbin:/sbin # where ldconfig is; root by `su` is without them
    ldconfig
    ldconfig -p | grep -qF "=> $LIBDIR/$soname" ||
        echo "$LIBDIR is no directory of the linker's: for programs to find $soname," \
            "echo $LIBDIR >/etc/ld.so.conf.d/dirty.conf, then ldconfig"
else
    echo "for programs to find $soname, run ldconfig as root, where it is installed"
fi
