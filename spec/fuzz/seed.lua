-- Write the messages of spec/fixtures as a fuzzer's first inputs, a file each.
--
--     luajit spec/fuzz/seed.lua DIRECTORY      (from the repository's root)
package.path = "./spec/?.lua;" .. package.path

local fixtures = require "support.fixtures"

local LARGEST = 4096 -- long inputs only make the fuzzer slow

local directory = assert(arg[1], "usage: seed.lua DIRECTORY")

local function write(name, bytes)
    local file = assert(io.open(directory .. "/" .. name, "wb"))
    file:write(bytes)
    file:close()
end

for _, kind in ipairs { "valid", "invalid" } do
    for _, f in ipairs(fixtures.load(kind)) do
        if #f.frame <= LARGEST then
            write(kind .. "_" .. f.name, f.frame)
            if f.details then
                write(kind .. "_" .. f.name .. "_details", f.details)
            end
            for i, value in ipairs(f.values) do
                if value.tag == "j" then
                    write(("%s_%s_value_%d"):format(kind, f.name, i), value.bytes)
                end
            end
        end
    end
end
