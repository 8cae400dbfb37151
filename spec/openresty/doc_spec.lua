-- docs/openresty.md says what is true: its configuration and its handlers are run in a real
-- nginx, its tables held against the sources and against what nginx does.
local nginx = require "support.nginx"
local process = require "support.process"
local readme = require "support.readme"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local DOC = "docs/openresty.md"
local PHOTO = "/usr/share/backgrounds/Kleiber_by_Lukas_Baubkus.jpg"

-- What is replaced in the nginx.conf: where things are, and that this may not be root.
local REPLACED = {
    { "user www-data;", "$user daemon off; pid $dir/nginx.pid; error_log $dir/error.log;" },
    { "worker_processes auto;", "worker_processes 1;" },
    { "http {", "http { access_log off; client_body_temp_path $dir/body; "
        .. "proxy_temp_path $dir/p; fastcgi_temp_path $dir/f; uwsgi_temp_path $dir/u; "
        .. "scgi_temp_path $dir/s;" },
    { "/usr/local/share/lua/5.1/?.lua;/usr/local/share/lua/5.1/?/init.lua",
        "$root/lua/?.lua;$root/lua/?/init.lua" },
    { "/run/dirty/dirty.sock", "$socket" },
    { "listen 80;", "listen unix:$dir/http.sock;" },
}

local function replace(text)
    for _, pair in ipairs(REPLACED) do
        local from, to = text:find(pair[1], 1, true)
        assert(from, pair[1])
        text = text:sub(1, from - 1) .. pair[2] .. text:sub(to + 1)
    end
    return text
end

-- The nginx blocks that say where they belong, and the whole configuration.
local function nginx_blocks()
    local fragments, whole = {}, nil
    for _, block in ipairs(readme.blocks("nginx", DOC)) do
        if block:find("^# nginx.conf\n") then
            whole = block
        else
            assert.matches("^# in a location\n", block)
            fragments[#fragments + 1] = block
        end
    end
    return assert(whole), fragments
end

-- The handlers, and the apps, by the names in their first lines.
local function lua_blocks()
    local handlers, apps = {}, {}
    for _, block in ipairs(readme.blocks("lua", DOC)) do
        local name, kind = block:match("^%-%- (%l+%.lua)([^\n]*)\n")
        local files = kind == ", an app" and apps or handlers
        files[assert(name, block)] = block
    end
    return handlers, apps
end

local WORDS = readme.file("lua", "words.lua")

describe("docs/openresty.md", function()
    local rt

    setup(function()
        local _, apps = lua_blocks()
        apps["words.lua"] = WORDS
        rt = runtime.start { apps = { "apps.echo", "apps.image", "words", "cached" },
            args = { "--workers", "2" }, files = apps }
    end)

    teardown(function() rt:close() end)

    describe("has a whole nginx.conf", function()
        local server

        setup(function()
            server = nginx.start { config = replace((nginx_blocks())),
                words = { socket = rt.socket } }
        end)

        teardown(function() server:close() end)

        it("that makes thumbnails", function()
            local r = server:request { uri = "/thumbnail", body = assert(tempdir.read(PHOTO)) }
            assert.same({ 200, "image/jpeg" }, { r.status, r.headers["content-type"] })
            assert.equal(200, rt:call("apps.image", "info", r.body).width)
        end)

        it("that logs what fails", function()
            assert.equal(500, server:request({ uri = "/thumbnail", body = "none" }).status)
            assert.truthy(server:log():find("APP: can't read this as an image", 1, true))
        end)
    end)

    describe("has handlers", function()
        local server

        setup(function()
            local files, blocks = (lua_blocks()), {}
            for name in pairs(files) do
                blocks[#blocks + 1] = ("location = /%s { content_by_lua_file $dir/%s; }"):format(
                    name:match("%l+"), name)
            end
            local _, fragments = nginx_blocks()
            for i, fragment in ipairs(fragments) do
                blocks[#blocks + 1] = ("location = /fragment%d {\n%s\n"
                    .. "content_by_lua_block { ngx.print('ok') } }"):format(i, fragment)
            end
            server = nginx.start { words = { socket = rt.socket }, files = files,
                level = "notice", server = table.concat(blocks, "\n"), http = [[
                    client_max_body_size 32m;
                    init_by_lua_block { require("dirty").get_client { socket = "$socket" } }
                ]] }
        end)

        teardown(function() server:close() end)

        local function get(uri)
            local r = server:request(uri)
            return r.status .. " " .. r.body
        end

        it("that work as described", function()
            assert.equal("200 quick 5\n", get "/with")
            assert.equal("200 600 ms of work, at the same time\n", get "/both", server:log())
            assert.equal("200 word\n", get "/again?text=a+word")
            assert.equal("200 data: 1\n\ndata: 2\n\ndata: 3\n\n", get "/count")
            assert.matches("^404 failed: ACTION_NOT_FOUND: .*\n$", get "/failed")
        end)

        it("that take uploads", function()
            local r = server:request { uri = "/upload", body = assert(tempdir.read(PHOTO)) }
            assert.matches("^jpeg of %d+ x %d+\n$", r.body)
            assert.matches("^APP: ", server:request({ uri = "/upload", body = "none" }).body)
        end)

        it("and directives that nginx takes", function()
            local _, fragments = nginx_blocks()
            for i in ipairs(fragments) do
                assert.equal("200 ok", get("/fragment" .. i))
            end
            wait.until_true(function()
                return server:log():find("told of /fragment%d")
            end, 10, function() return "the timer's call\n" .. server:log() end)
        end)
    end)

    it("has an app that needs no ngx", function()
        assert.equal("A KEY", rt:call("cached", "get", "a key"))
        assert.equal("A KEY", rt:call("cached", "get", "a key"))
    end)

    it("quotes messages as the client words them", function()
        local source = (assert(tempdir.read "lua/resty/dirty/messages.lua")
            .. assert(tempdir.read "lua/dirty/client/outcome.lua")):gsub('"%s*%.%. "', "")
        local quoted = 0
        for _, row in ipairs(readme.table_rows("Troubleshooting", DOC)) do
            local words = row[1]:match "^`%u+: ([^`]+)`$"
            for fragment in (words or ""):gsub("…", "\0"):gmatch "[^%z]+" do
                fragment = fragment:match "^[: ]*(.-)[: ]*$"
                assert.truthy(fragment == "" or source:find(fragment, 1, true), fragment)
                quoted = quoted + 1
            end
        end
        assert.is_true(quoted >= 2)
    end)

    it("has one command, which names a file that is there", function()
        local commands = readme.blocks("sh", DOC)
        assert.equal(1, #commands)
        assert.truthy(tempdir.read(commands[1]:match "(rockspec/%S+)"))
    end)
end)

-- -- Phases ------------------------------------------------------------------------------

local PHASES_HTTP = [[
    lua_shared_dict said 1m;
    init_by_lua_block {
        local client = require("dirty").get_client { socket = "$socket" }
        local said = ngx.shared.said
        -- what works here: calls, the body
        function try(phase)
            local function works(name, ...)
                local ok, err = pcall(client[name], client, ...)
                if not ok and not err:find("does not work in nginx's phase", 1, true) then
                    return err
                end
                return ok and "yes" or "no"
            end
            said:set(phase, works("execute", "apps.echo", "noop") .. " " .. works("body"))
        end
        try "init_by_lua*"
    }
    init_worker_by_lua_block { try "init_worker_by_lua*" }
    upstream balanced {
        server 0.0.0.1;
        balancer_by_lua_block { try "balancer_by_lua*" ngx.exit(500) }
    }
]]

local PHASES_SERVER = [[
    listen unix:$dir/tls.sock ssl;
    ssl_certificate $dir/cert.pem;
    ssl_certificate_key $dir/key.pem;
    ssl_certificate_by_lua_block { try "ssl_certificate_by_lua*" }
    server_rewrite_by_lua_block { try "server_rewrite_by_lua*" }
    location = /all {
        set_by_lua_block $$nothing { try "set_by_lua*" return "" }
        rewrite_by_lua_block { try "rewrite_by_lua*" }
        access_by_lua_block { try "access_by_lua*" }
        content_by_lua_block {
            try "content_by_lua*"
            ngx.timer.at(0, function() try "ngx.timer.at" end)
            ngx.timer.every(0.1, function() try "ngx.timer.every" end)
            ngx.print("body")
        }
        header_filter_by_lua_block { try "header_filter_by_lua*" }
        body_filter_by_lua_block { try "body_filter_by_lua*" }
        log_by_lua_block { try "log_by_lua*" }
    }
    location = /balanced { proxy_pass http://balanced; }
    location = /said {
        content_by_lua_block {
            ngx.print(ngx.shared.said:get(ngx.unescape_uri(ngx.var.arg_in)) or "")
        }
    }
]]

describe("the table of phases", function()
    local rt, server

    setup(function()
        rt = runtime.start { apps = { "apps.echo" }, args = { "--workers", "1" } }
        local dir = tempdir.new()
        local made = process.run { "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
            "-subj", "/CN=spec", "-days", "2", "-keyout", dir .. "/key.pem", "-out",
            dir .. "/cert.pem" }
        assert.equal(0, made.exit, made.stderr)
        server = nginx.start { dir = dir, words = { socket = rt.socket }, http = PHASES_HTTP,
            server = PHASES_SERVER }
    end)

    teardown(function()
        server:close()
        rt:close()
    end)

    it("is what nginx does", function()
        server:request("/all")
        server:request("/balanced")
        process.run({ "openssl", "s_client", "-unix", server.dir .. "/tls.sock", "-brief" },
            { seconds = 20 })
        local tried = 0
        for _, row in ipairs(readme.table_rows("Phases", DOC)) do
            -- those which only OpenResty has can't be tried in every nginx
            for phase in (row[2] == "OpenResty" and "" or row[1]):gmatch "`([^`]+)`" do
                local said = wait.until_true(function()
                    local text = server:request("/said?in=" .. phase).body
                    return text ~= "" and text
                end, 10, function() return phase .. "\n" .. server:log() end)
                assert.equal(row[2] .. " " .. row[3], said, phase)
                tried = tried + 1
            end
        end
        assert.equal(14, tried)
    end)
end)
