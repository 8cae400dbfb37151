std = "luajit"
max_line_length = 100
exclude_files = { "build/", "types/" } -- types: annotations, functions without bodies
self = false -- a method may have no use for its object

files["spec/**/*_spec.lua"].std = "luajit+busted"
-- apps that misbehave: they fill tables that nobody reads
files["spec/apps/**"].ignore = { "241" }
files["lua/resty/**"].std = "luajit+ngx_lua"
files["examples/openresty/**"].std = "luajit+ngx_lua"
files["examples/**/dirty.conf.lua"].allow_defined_top = true
files["examples/**/dirty.conf.lua"].ignore = { "131" } -- the runtime reads them

-- a rockspec and the configuration files are tables of globals
files["rockspec/*.rockspec"].std = "+rockspec"
files["examples/**/*.conf.lua"].std = "luajit"
files["examples/**/*.conf.lua"].allow_defined_top = true
files["examples/**/*.conf.lua"].ignore = { "131" }
files[".busted"].std = "luajit"
