-- What `make install` puts where, and that it works there; `make uninstall` takes it back.
local process = require "support.process"
local readme = require "support.readme"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"

-- The plain build: a sanitized module or library can't be loaded into plain programs.
local BUILD = (os.getenv "DIRTY_CORE" or process.BUILD .. "/lua"):gsub("/lua$", "")
local PREFIX = "/opt/dirty"

describe("make install", function()
    local dest, root

    -- make, as if nobody's make ran around it
    local function make(target)
        local r = process.run({ "make", "--silent", target, "BUILD=" .. BUILD,
            "DESTDIR=" .. dest, "PREFIX=" .. PREFIX },
            { seconds = 120, env = { MAKEFLAGS = false, MAKELEVEL = false, MFLAGS = false } })
        assert.equal(0, r.exit, r.stderr)
        return r.stdout
    end

    -- Install below a directory as if that were the system, with a command `id` that says who
    -- does it, and an `ldconfig` that knows of libraries. What it prints, and what was asked.
    local function install(uid, known)
        local system, commands = tempdir.new(), tempdir.new()
        finally(function()
            tempdir.remove(system)
            tempdir.remove(commands)
        end)
        tempdir.write(commands .. "/id", "#!/bin/sh\necho " .. uid .. "\n")
        tempdir.write(commands .. "/ldconfig", ("#!/bin/sh\necho \"ldconfig $*\" >>%s/asked\n"
            .. "[ \"$1\" != -p ] || echo '%s'\n"):format(commands, known:gsub("@", system)))
        process.run { "chmod", "755", commands .. "/id", commands .. "/ldconfig" }
        local r = process.run({ "make", "--silent", "install", "BUILD=" .. BUILD, "DESTDIR=",
            "PREFIX=" .. system }, { seconds = 120, env = { MAKEFLAGS = false,
            MAKELEVEL = false, MFLAGS = false, PATH = commands .. ":" .. os.getenv "PATH" } })
        assert.same({ 0, "" }, { r.exit, r.stderr })
        local said = r.stdout:gsub(system:gsub("%p", "%%%0"), "@")
        return said, tempdir.read(commands .. "/asked")
    end

    setup(function()
        dest = tempdir.new()
        root = dest .. PREFIX
        tempdir.write(dest .. "/words.lua", readme.file("lua", "words.lua"))
        tempdir.write(dest .. "/call.c", readme.file("c", "call.c"))
        tempdir.write(dest .. "/call.lua", readme.file("lua", "call.lua"))
        make "install"
    end)

    teardown(function()
        tempdir.remove(dest)
    end)

    local function find(...)
        return process.run({ "find", root, ... }).stdout
    end

    -- The installed command serves an app of its directory, which is no checkout, and one of
    -- those that are installed with it.
    local function serve()
        local launched = process.dirty
        process.dirty = function()
            return root .. "/bin/dirty"
        end
        finally(function()
            process.dirty = launched
        end)
        return runtime.start { apps = { "words", "apps.echo" }, cwd = dest,
            args = { "--workers", "1" }, env = { LUA_PATH = false, LUA_CPATH = false } }
    end

    it("installs a manual page that groff reads, of every command", function()
        local page = root .. "/share/man/man1/dirty.1"
        local r = process.run { "groff", "-t", "-man", "-Tutf8", "-k", "-ww", "-P-c", page }
        assert.same({ 0, "" }, { r.exit, r.stderr })
        local text = r.stdout:gsub(".\b", "") -- letters that are printed twice to be bold
        assert.matches("^DIRTY%(1%)", text)
        local commands = 0
        for name in process.run_dirty({ "--help" }).stdout:match "Commands:\n(.-)\n\n"
            :gmatch "\n? +(%S+) [^\n]+" do
            assert.truthy(text:find("\n%s*dirty " .. name:gsub("%p", "%%%0") .. "%f[%s]")
                or text:find("\n%s*DIRTY " .. name:upper():gsub("%p", "%%%0") .. "\n"), name)
            commands = commands + 1
        end
        assert.equal(19, commands)
    end)

    it("installs manual pages of the configuration and the library", function()
        for page, title in pairs { ["man5/dirty.conf.5"] = "DIRTY.CONF%(5%)",
            ["man3/dirty.3"] = "DIRTY%(3%)" } do
            local r = process.run { "groff", "-t", "-man", "-Tutf8", "-k", "-P-c",
                root .. "/share/man/" .. page }
            assert.equal(0, r.exit, r.stderr) -- it warns of tables that are too wide
            assert.matches("^" .. title, (r.stdout:gsub(".\b", "")))
        end
    end)

    it("installs completions that the shells read", function()
        local bash = root .. "/share/bash-completion/completions/dirty"
        local r = process.run { "bash", "-c", ". " .. bash .. "\n" .. [[
            COMP_WORDS=(dirty relo) COMP_CWORD=1 COMP_LINE="dirty relo" COMP_POINT=10
            words=("${COMP_WORDS[@]}") cword=1 cur=relo prev=dirty
            _init_completion() { :; }
            _dirty; echo "${COMPREPLY[@]}"]] }
        assert.same({ 0, "reload\n" }, { r.exit, r.stdout }, r.stderr)
        assert.matches("^#compdef dirty", tempdir.read(root .. "/share/zsh/site-functions/_dirty"))
        assert.matches("complete %-c dirty",
            tempdir.read(root .. "/share/fish/vendor_completions.d/dirty.fish"))
    end)

    it("installs the files for systemd and logrotate with its own paths", function()
        local unit = tempdir.read(root .. "/lib/systemd/system/dirty.service")
        assert.truthy(unit:find("\nExecStart=" .. PREFIX .. "/bin/dirty serve ", 1, true), unit)
        assert.truthy(unit:find("\nExecReload=" .. PREFIX .. "/bin/dirty reload ", 1, true), unit)
        assert.is_nil(unit:find("/usr/local", 1, true))
        local rotate = tempdir.read(root .. "/etc/logrotate.d/dirty")
        assert.truthy(rotate:find(" " .. PREFIX .. "/bin/dirty reopen-logs ", 1, true), rotate)
        assert.matches("\nu dirty ", tempdir.read(root .. "/lib/sysusers.d/dirty.conf"))
        assert.matches("\nd /run/dirty ", tempdir.read(root .. "/lib/tmpfiles.d/dirty.conf"))
    end)

    it("installs a command that finds its own modules", function()
        local r = process.run({ root .. "/bin/dirty", "--version" }, { cwd = "/",
            env = { LUA_PATH = false, LUA_CPATH = false } })
        assert.equal("", r.stderr)
        assert.equal(0, r.exit)
        assert.matches("^dirty " .. tempdir.read("VERSION"):match("%S+"):gsub("%p", "%%%0"),
            r.stdout)
    end)

    it("installs the Lua client, the library and what a compiler needs for it", function()
        local rt = serve()
        local env = { DIRTY_SOCKET = rt.socket, LD_LIBRARY_PATH = root .. "/lib",
            LUA_PATH = root .. "/share/lua/5.1/?.lua;" .. root .. "/share/lua/5.1/?/init.lua;;",
            LUA_CPATH = root .. "/lib/lua/5.1/?.so;;",
            PKG_CONFIG_PATH = root .. "/lib/pkgconfig", PKG_CONFIG_SYSROOT_DIR = dest }
        local lua = process.run({ process.LUAJIT, dest .. "/call.lua" }, { env = env })
        local cc = process.run({ "sh", "-c", "cc " .. dest .. "/call.c -o " .. dest ..
            "/call $(pkg-config --cflags --libs dirty)" }, { env = env, seconds = 60 })
        local c = process.run({ dest .. "/call" }, { env = env })
        rt:close()
        assert.same({ "", "quick\t5\n" }, { lua.stderr, lua.stdout })
        assert.equal("", cc.stderr)
        assert.same({ "", "quick\n" }, { c.stderr, c.stdout })
    end)

    it("has the linker know the library, or says what is missing for that", function()
        local line = "\tlibdirty.so.0 (libc6,x86-64) => @/lib/libdirty.so.0"
        local said, asked = install(0, line)
        assert.same({ "", "ldconfig \nldconfig -p\n" }, { said, asked })
        said = install(0, "")
        assert.equal("@/lib is no directory of the linker's: for programs to find libdirty.so.0, "
            .. "echo @/lib >/etc/ld.so.conf.d/dirty.conf, then ldconfig\n", said)
        said, asked = install(1000, line)
        assert.equal("for programs to find libdirty.so.0, run ldconfig as root, where it is "
            .. "installed\n", said)
        assert.is_nil(asked)
        assert.equal(said, make "install") -- by DESTDIR
    end)

    it("says the version to pkg-config", function()
        local r = process.run({ "pkg-config", "--modversion", "dirty" },
            { env = { PKG_CONFIG_PATH = root .. "/lib/pkgconfig" } })
        assert.equal(tempdir.read "VERSION", r.stdout)
    end)

    it("installs all Lua modules, the apps and the documents", function()
        local there = find("-name", "*.lua")
        local modules = process.run({ "sh", "-c", "cd lua && find . -name '*.lua'" }).stdout
        for module in modules:gmatch "%./(%S+)" do
            assert.truthy(there:find(root .. "/share/lua/5.1/" .. module .. "\n", 1, true), module)
        end
        assert.truthy(there:find("/share/lua-dirty/apps/image.lua\n", 1, true))
        assert.truthy(tempdir.read(root .. "/share/doc/lua-dirty/docs/protocol.md"))
    end)

    it("installs an example whose runtime starts in a copy of it", function()
        local copy = dest .. "/copy"
        process.run { "cp", "-r", root .. "/share/lua-dirty/examples/openresty", copy }
        process.run { "mkdir", copy .. "/run" } -- as its README says
        local r = process.run({ root .. "/bin/dirty", "check", "--config", "dirty.conf.lua" },
            { cwd = copy, env = { LUA_PATH = false, LUA_CPATH = false } })
        assert.same({ 0, "" }, { r.exit, r.stderr }, r.stdout)
        assert.matches("\napp images %(.-: ok,", r.stdout)
        assert.matches("\napp writer %(.-: ok,", r.stdout)
    end)

    it("leaves nothing behind after uninstall but what others may use", function()
        make "uninstall"
        assert.equal("", find("-not", "-type", "d"))
        assert.equal("", find("-name", "*dirty*", "-not", "-path", root))
        make "install"
    end)
end)
