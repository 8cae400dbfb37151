rockspec_format = "3.0"
package = "lua-dirty"
version = "0.1.0-1"

source = {
   url = "lua-dirty-0.1.0.tar.gz", -- made by `make dist`
   dir = "lua-dirty-0.1.0",
}

description = {
   summary = "Workers that run blocking Lua for OpenResty and C servers",
   detailed = [[
lua-dirty runs blocking work (images, password hashing, inference, blocking drivers) in a tree
of LuaJIT worker processes beside a server that must not block. Apps are Lua modules that are
loaded once and stay warm; callers get a value, a stream or a typed error within their
deadline. This rock holds the runtime and its command `dirty`, the C module, and the clients
for plain Lua and OpenResty. Linux only.]],
   license = "MIT",
   labels = { "openresty", "worker", "ipc", "luajit", "linux" },
}

supported_platforms = { "linux" }

-- 5.1: the runtime embeds LuaJIT, whose modules are those of Lua 5.1.
dependencies = {
   "lua >= 5.1, < 5.2",
   "lua-cjson >= 2.1.0",
   "argparse >= 0.7.0",
}

external_dependencies = {
   LUAJIT = { header = "luajit-2.1/luajit.h" }, -- Debian 12: libluajit2-5.1-dev, 13: libluajit-5.1-dev
   UV = { header = "uv.h" },                    -- Debian: libuv1-dev
   UTHASH = { header = "uthash.h" },            -- Debian: uthash-dev
}

build = {
   type = "make",
   build_target = "rock",
   build_variables = { BUILD = "build", CFLAGS = "$(CFLAGS)" },
   install_target = "install-rock",
   install_variables = {
      BUILD = "build",
      ROCK_BINDIR = "$(BINDIR)",
      ROCK_LUADIR = "$(LUADIR)",
      ROCK_LIBDIR = "$(LIBDIR)",
   },
   copy_directories = { "docs", "examples" },
}

test_dependencies = { "busted" }

test = { type = "busted" }
