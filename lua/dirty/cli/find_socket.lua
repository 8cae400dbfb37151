--- Finds the socket for the commands that ask a running runtime.
--
-- In this order: --socket, $DIRTY_SOCKET, the option `socket` of the configuration file (--config,
-- $DIRTY_CONFIG, ./dirty.conf.lua), the default socket. A configuration is code. So a file that
-- nobody named is run only if nobody but root and the caller can change it.
-- @module dirty.cli.find_socket

local config = require "dirty.config"
local config_command = require "dirty.cli.config"
local options = require "dirty.config.options"
local say = require "dirty.cli.say"
local socket_path = require "dirty.socket_path"
local sys = require "dirty.sys"

local _M = {}

-- Milliseconds that the file may take to run, as at a start.
local RUN_MS = options.by_name.boot_timeout.default * 1000

local function variable(name)
    local text = os.getenv(name)
    return text ~= "" and text or nil
end

-- Run the file in a child, which may end, change its directory, or never finish. The line that
-- it returns begins with S (a path follows), N (the file sets no socket) or E (what is wrong).
local function run(path)
    local ok, found, err = pcall(config.load, sys, { config = path })
    if not ok or not found then
        return "E" .. tostring(ok and err or found)
    elseif not tostring(found.from.socket):find("^file ") then
        return "N"
    end
    local socket = found.values.socket
    return "S" .. (socket:sub(1, 1) == "/" and socket or found.cwd .. "/" .. socket)
end

-- The socket that the file sets: nil if it sets none; nil and what is wrong.
local function socket_of(path)
    local line, lost = sys.aside(function()
        return run(path):gsub("\nstack traceback:.*", ""):gsub("%s*\n%s*", " ") .. "\n"
    end, RUN_MS)
    local kind, text = (line or ""):match("^(%u)(.*)\n$")
    if kind == "S" then
        return text
    elseif kind == "N" then
        return nil
    end
    return nil, ("the configuration %s: %s; --socket PATH does without it"):format(path,
        kind and text or lost or "it can't be run")
end

-- Whether to run the file that nobody named. Says why not.
local function is_trusted(parsed)
    if not sys.stat(config.FILE) then
        return false
    end
    local hand, err = sys.strange_hand(config.FILE)
    if hand then
        err = ("others can change or replace it: the %s %s (mode %04o, owner %d, group %d)"):format(
            hand.is_directory and "directory" or "file", hand.path, hand.mode, hand.uid, hand.gid)
    end
    if err then
        say.err("dirty %s: ./%s is not used, %s; --config %s uses it\n", parsed.command,
            config.FILE, err, config.FILE)
    end
    return not err
end

-- The file to ask; nil: none. Or nil and what is wrong with it.
local function file_of(parsed)
    local named = parsed.config or variable(config.FILE_VARIABLE)
    if named then
        local wrong = config_command.strangers(named)
        return not wrong and named, wrong
    end
    return is_trusted(parsed) and config.FILE or nil
end

--- Find the socket, once: later calls return the same.
-- @tparam table parsed the command line
-- @treturn string|nil path
-- @treturn nil|string what is wrong
function _M.find(parsed)
    local path, err = parsed.socket or variable(options.by_name.socket.env), nil
    local file
    if not path then
        file, err = file_of(parsed)
    end
    if file then
        path, err = socket_of(file)
    end
    if err then
        return nil, err
    end
    path = path or (socket_path.default(sys))
    local fault = socket_path.fault(path)
    if fault then
        return nil, ("socket %q: %s"):format(path, fault)
    end
    parsed.socket = path
    return path
end

return _M
