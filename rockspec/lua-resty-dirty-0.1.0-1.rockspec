rockspec_format = "3.0"
package = "lua-resty-dirty"
version = "0.1.0-1"

source = {
   url = "lua-dirty-0.1.0.tar.gz", -- made by `make dist`
   dir = "lua-dirty-0.1.0",
}

description = {
   summary = "OpenResty client of lua-dirty's workers, in pure Lua",
   detailed = [[
Calls Lua actions in the worker processes of a lua-dirty runtime without blocking nginx: values,
streams and typed errors over cosockets, with keepalive. Pure Lua, for machines without a
compiler. The rock lua-dirty has it too, beside the runtime.]],
   license = "MIT",
   labels = { "openresty", "cosocket", "worker" },
}

-- 5.1: nginx embeds LuaJIT, whose modules are those of Lua 5.1. lua-cjson is no dependency: its rock
-- is C and needs a compiler, and LuaRocks does not see the module that OpenResty has or that Debian
-- packs. The client says so where it needs the module and does not find it.
dependencies = {
   "lua >= 5.1, < 5.2",
}

-- The files are listed under `install`: the build type "builtin" would copy all of lua/ besides.
build = {
   type = "none",
   install = {
      lua = {
         ["dirty.init"] = "lua/dirty/init.lua",
         ["dirty.client.base"] = "lua/dirty/client/base.lua",
         ["dirty.client.options"] = "lua/dirty/client/options.lua",
         ["dirty.client.outcome"] = "lua/dirty/client/outcome.lua",
         ["dirty.errors"] = "lua/dirty/errors.lua",
         ["dirty.fault"] = "lua/dirty/fault.lua",
         ["dirty.json"] = "lua/dirty/json.lua",
         ["dirty.json_exact"] = "lua/dirty/json_exact.lua",
         ["dirty.json_fit"] = "lua/dirty/json_fit.lua",
         ["dirty.json_flaw"] = "lua/dirty/json_flaw.lua",
         ["dirty.outside"] = "lua/dirty/outside.lua",
         ["dirty.suggest"] = "lua/dirty/suggest.lua",
         ["dirty.values"] = "lua/dirty/values.lua",
         ["dirty.wire"] = "lua/dirty/wire.lua",
         ["dirty.wire.decode"] = "lua/dirty/wire/decode.lua",
         ["dirty.wire.encode"] = "lua/dirty/wire/encode.lua",
         ["dirty.wire.pack"] = "lua/dirty/wire/pack.lua",
         ["dirty.wire.reader"] = "lua/dirty/wire/reader.lua",
         ["dirty.wire.constants"] = "lua/dirty/wire/constants.lua",
         ["resty.dirty"] = "lua/resty/dirty.lua",
         ["resty.dirty.body"] = "lua/resty/dirty/body.lua",
         ["resty.dirty.connection"] = "lua/resty/dirty/connection.lua",
         ["resty.dirty.exchange"] = "lua/resty/dirty/exchange.lua",
         ["resty.dirty.facts"] = "lua/resty/dirty/facts.lua",
         ["resty.dirty.messages"] = "lua/resty/dirty/messages.lua",
         ["resty.dirty.stream"] = "lua/resty/dirty/stream.lua",
      },
   },
}
