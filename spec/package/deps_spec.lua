-- The script that installs missing packages, with stand-ins for dpkg-query, apt-get and sudo.
local process = require "support.process"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"

local SCRIPT = unistd.getcwd() .. "/build-aux/deps.sh"

-- Tools that the script may use, by name: a shell script each, or true for the real one.
local REAL = { "sh", "env", "mktemp", "rm", "cat" }

describe("build-aux/deps.sh", function()
    local dir
    local places = {} -- of the real ones, by name

    setup(function()
        local r = process.run { "sh", "-c", ("for name in %s; do command -v $name; done"):format(
            table.concat(REAL, " ")) }
        for path in r.stdout:gmatch "%S+" do
            places[path:match "[^/]+$"] = path
        end
    end)

    before_each(function()
        dir = tempdir.new()
    end)

    after_each(function()
        tempdir.remove(dir)
    end)

    local function tool(name, text)
        tempdir.write(dir .. "/bin/" .. name, "#!/bin/sh\n" .. text .. "\n")
        assert(stat.chmod(dir .. "/bin/" .. name, tonumber("755", 8)))
    end

    -- Run with these tools alone; what apt-get and sudo were given is in the file "asked".
    local function run(tools, ...)
        stat.mkdir(dir .. "/bin") -- that of an earlier run stays
        for name, path in pairs(places) do
            unistd.link(path, dir .. "/bin/" .. name, true)
        end
        for name, text in pairs(tools) do
            tool(name, text)
        end
        local r = process.run({ SCRIPT, ... }, { env = { PATH = dir .. "/bin" } })
        r.asked = tempdir.read(dir .. "/asked") or ""
        return r
    end

    local function installed(...)
        return ([[case "$3" in
            %s) printf installed ;;
            rest) printf config-files ;;
            *) exit 1 ;;
            esac]]):format(table.concat({ ... }, "|"))
    end

    local function noting(name, text)
        return ('echo "%s $*" >>%s/asked\n%s'):format(name, dir, text or "")
    end

    it("does nothing where nothing is missing", function()
        local r = run({ ["dpkg-query"] = installed("one", "two"), id = "echo 0",
            ["apt-get"] = noting("apt-get") }, "one", "two")
        assert.same({ 0, "", "", "" }, { r.exit, r.stdout, r.stderr, r.asked })
    end)

    it("installs what is missing, and only that", function()
        local r = run({ ["dpkg-query"] = installed("one"), id = "echo 0",
            ["apt-get"] = noting("apt-get", 'echo "$DEBIAN_FRONTEND" >>' .. dir .. "/asked") },
            "one", "two", "rest")
        assert.equal(0, r.exit)
        assert.equal("deps: installing two rest\n", r.stdout)
        assert.matches("apt%-get [^\n]*update\nnoninteractive\n", r.asked)
        assert.matches("apt%-get [^\n]*install %-y %-%-no%-install%-recommends two rest\n", r.asked)
    end)

    -- Answers as apt-cache policy does: these have a candidate.
    local function known(...)
        return ([[for name; do case "$name" in
            policy) ;;
            %s) printf '%%s:\n  Installed: (none)\n  Candidate: 1.0\n' "$name" ;;
            *) printf '%%s:\n  Installed: (none)\n  Candidate: (none)\n' "$name" ;;
            esac; done]]):format(table.concat({ ... }, "|"))
    end

    it("is content with the first of several names that the system has", function()
        for _, there in ipairs { known("second", "third"), known "" } do -- by apt, or not at all
            local r = run({ ["dpkg-query"] = installed("one", "second"), id = "echo 0",
                ["apt-get"] = noting("apt-get"), ["apt-cache"] = there },
                "one", "first/second/third")
            assert.same({ 0, "", "", "" }, { r.exit, r.stdout, r.stderr, r.asked })
        end
    end)

    it("wants the first of several names though a later one is installed", function()
        local r = run({ ["dpkg-query"] = installed("one", "second"), id = "echo 0",
            ["apt-get"] = noting("apt-get"), ["apt-cache"] = known("first", "second") },
            "one", "first/second")
        assert.equal("deps: installing first\n", r.stdout)
    end)

    it("installs the first of several names that the system has", function()
        local r = run({ ["dpkg-query"] = installed("one"), id = "echo 0",
            ["apt-get"] = noting("apt-get"), ["apt-cache"] = known("second", "third") },
            "one", "first/second/third")
        assert.same({ 0, "deps: installing second\n" }, { r.exit, r.stdout })
        assert.matches("update\n.*install [^\n]*recommends second\n$", r.asked)
    end)

    it("looks for the names after apt-get has learned what there is", function()
        local r = run({ ["dpkg-query"] = installed("one"), id = "echo 0",
            ["apt-get"] = noting("apt-get"),
            ["apt-cache"] = "[ -e " .. dir .. "/asked ] || exit 0\n" .. known "second" },
            "first/second")
        assert.equal("deps: installing second\n", r.stdout)
    end)

    it("names the first of several where the system has none of them", function()
        local r = run({ ["dpkg-query"] = installed("one"), id = "echo 0",
            ["apt-get"] = noting("apt-get"), ["apt-cache"] = known("one") }, "first/second")
        assert.equal("deps: installing first\n", r.stdout)
    end)

    it("takes sudo where it is not root", function()
        local r = run({ ["dpkg-query"] = installed("one"), id = "echo 1000",
            ["apt-get"] = noting("apt-get"), sudo = noting("sudo", '"$@"') }, "two")
        assert.equal(0, r.exit)
        assert.matches("sudo env DEBIAN_FRONTEND=noninteractive apt%-get [^\n]* two\n", r.asked)
    end)

    it("says what to run where it is neither root nor has sudo", function()
        local r = run({ ["dpkg-query"] = installed("one"), id = "echo 1000",
            ["apt-get"] = noting("apt-get") }, "one", "two")
        assert.equal(1, r.exit)
        assert.matches("run as root: apt%-get install two\n", r.stderr)
        assert.equal("", r.asked)
        r = run({ ["apt-cache"] = known "second" }, "two", "first/second")
        assert.matches("run as root: apt%-get install two second\n", r.stderr)
    end)

    it("shows apt-get's words when it fails", function()
        local r = run({ ["dpkg-query"] = installed("one"), id = "echo 0",
            ["apt-get"] = 'case "$*" in *install*) echo "E: no such package"; exit 100;; esac' },
            "two")
        assert.equal(1, r.exit)
        assert.matches("E: no such package\n.*apt%-get install failed: two", r.stderr)
    end)

    it("says what is needed on another system, and goes on", function()
        local r = run({ id = "echo 0" }, "one", "two")
        assert.equal(0, r.exit)
        assert.matches("not a Debian system.*: one two\n", r.stderr)
    end)
end)
