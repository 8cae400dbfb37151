--- The grammar and help of the command line.
-- @module dirty.cli.parser

local argparse = require "argparse"
local suggest = require "dirty.suggest"
local operator = require "dirty.cli.operator"
local options = require "dirty.config.options"

local _M = {}

local EPILOG = [[
Examples:
   dirty serve --app apps.image:2 --app apps.echo
   dirty call apps.image thumbnail @photo.jpg '{"width":200}' --output small.jpg
   dirty status

Times are in seconds (fractions allowed). Help for a command: dirty COMMAND --help]]

local SERVE_EPILOG = [[
An app SPEC is module[:Object][:N]: the Lua module, the field of its table that is the app
(default: the module itself), and the number of workers that host it (default: all). Modules are
searched for in ./?.lua;./?/init.lua, then in --lua-path, then in Lua's default path.

All options but --config can be set in dirty.conf.lua, with _ instead of - in their names. The file
has more options (see docs/configuration.md and `dirty config`). Flags override variables of the
environment (DIRTY_WORKERS for workers, DIRTY_CONFIG, DIRTY_APPS), which override the file.

Signals: TERM and INT stop gracefully; a second one, and QUIT, stop at once; HUP reloads; USR1
reopens the log file; TTIN and TTOU add and remove a worker. `dirty reload` and other commands do
the same.
Exit status: 0 normal stop; 2 wrong flag or configuration; 3 the socket can't be used; 4 an app
failed to load or init; 5 out of memory, descriptors or processes; 70 internal error.

Examples:
   dirty serve --app apps.echo
   dirty serve --app myapp --dev
   dirty serve --config /etc/dirty.conf.lua --workers 4 --log-level debug
   dirty serve --app myapp.images:2 --timeout 5 --socket /run/myapp/dirty.sock]]

local CHECK_EPILOG = [[
Reads the configuration, tries whether log file, pidfile and socket can be made, and boots every app
(load, new, init, close) in a temporary child process. It does not touch a running runtime: one that
serves on the socket is only noted. It leaves no file and no process behind.
Exit status: 0 all is well; 2 wrong flag or configuration, or a file can't be written; 3 the socket
can't be made; 4 an app failed; 70 internal error.

Example:
   dirty check --config /etc/dirty.conf.lua && systemctl restart dirty]]

local CALL_EPILOG = [[
ARG: @FILE is the bytes of that file, @- the bytes of stdin. What parses as JSON is that value;
anything else is a string. With --string every ARG except @FILE and @- is a string. To pass a string
that begins with @, write it as JSON: '"@home"'. Options end at --.

Output: a string is printed raw, every other value as JSON, nil as null. Several values are printed
one per line. With --output the first value that is a string (the bytes of a picture, for example)
is written to FILE, or the first value if there is no string; the others are printed to stdout. If
FILE can't be opened, nothing is called. An action that returns a function streams its result: it
needs --stream, which prints each value on a line when it arrives, or writes all strings to FILE,
one after the other. On a terminal, control characters are printed as escapes (\x1b), and bytes that
would garble it are refused; files and pipes get every byte unchanged.
Errors are printed to stderr: the code, the message, and the traceback if there is one.

Exit status: 0 a value; 2 usage; 3 the app failed (APP, APP_NOT_FOUND, ACTION_NOT_FOUND,
MEMORY); 4 TIMEOUT; 5 CONNECTION; 1 any other error (OVERLOADED, WORKER_LOST, ...);
70 internal error.

Examples:
   dirty call apps.echo echo 42 hello '{"a":[1,2]}'
   dirty call apps.image thumbnail @photo.jpg '{"width":200}' --output small.jpg
   dirty call --timeout 2.5 apps.echo length @- < photo.jpg
   dirty call --stream apps.echo count 3]]

local CONFIG_EPILOG = [[
Prints what `dirty serve` with the same flags would use, and where each value comes from. The
text is Lua and can be used as a configuration file; hooks are named in comments.
Exit status: 0; 2 wrong flag or configuration.

Example:
   dirty config --workers 4 > dirty.conf.lua]]

local COMPLETION_EPILOG = [[
`make install` puts these scripts where the shells look for them. Without it:
   bash: dirty completion bash > ~/.local/share/bash-completion/completions/dirty
   zsh:  dirty completion zsh > DIRECTORY/_dirty, with a DIRECTORY of $fpath
   fish: dirty completion fish > ~/.config/fish/completions/dirty.fish]]

local function has_config_options(command)
    return command == "serve" or command == "check" or command == "config"
end

local function option_names(parser)
    local names = {}
    for _, option in ipairs(parser._options) do
        for _, alias in ipairs(option._aliases) do
            names[#names + 1] = alias
        end
    end
    return names
end

-- Whether one of the commands has this option.
local function is_of_commands(root, word)
    for _, command in ipairs(root._commands) do
        for _, name in ipairs(option_names(command)) do
            if name == word then
                return true
            end
        end
    end
    return false
end

-- The message for an option that a command, or the line before it, does not have.
local function unknown_option(parser, word)
    if parser._commands[1] and is_of_commands(parser, word) then
        return ("option '%s' must follow the command: dirty COMMAND %s …"):format(word, word)
    end
    local name = word:gsub("^%-+", ""):gsub("%-", "_")
    local option = has_config_options(parser._name) and options.by_name[name]
    local in_file = option and not option.flag
    return ("unknown option '%s'%s"):format(word, in_file
        and (": %s has no flag, it is set in dirty.conf.lua"):format(name)
        or suggest.hint(word, option_names(parser)))
end

--- Raise an error for a wrong command line: a table {text=, command=}.
local function usage_error(parser, message)
    message = message:gsub("\nDid you mean.*$", "")
    local kind, word = message:match("^unknown (%a+) '(.-)'$")
    if kind == "option" then
        message = unknown_option(parser, word)
    elseif kind == "command" then
        message = message .. suggest.hint(word, _M.COMMANDS)
    end
    error({ text = message, command = parser._name }, 0)
end

-- Refuse surplus arguments by name. argparse would not name them.
local function refuse_surplus(root, parsed)
    local word, command = parsed.surplus and parsed.surplus[1], nil
    for _, each in ipairs(root._commands) do
        command = each._name == parsed.command and each or command
    end
    if word then
        local flag, hint = "--" .. word, ""
        if suggest.nearest(flag, option_names(command)) == flag then
            hint = (" (did you mean '%s'?)"):format(flag)
        elseif has_config_options(parsed.command) then
            hint = "; use --app " .. word
        end
        usage_error(command, ("too many arguments: %q%s"):format(word, hint))
    end
end

_M.COMMANDS = { "help", "version", "completion", "serve", "check", "call", "config",
    unpack(operator.NAMES) }

local function default_text(option)
    local default = option.default
    if default == nil or type(default) == "function" then
        return ""
    end
    return " Default: " .. (option.format and option.format(default):gsub('"', "")
        or tostring(default)) .. "."
end

local DEFAULTS_IN_WORDS = {
    socket = " Default: $DIRTY_SOCKET, else that of the configuration, else "
        .. "$XDG_RUNTIME_DIR/dirty.sock, else "
        .. "/run/dirty/dirty.sock for root, /tmp/dirty-UID/dirty.sock for others.",
    workers = " Default: the number of usable CPUs.",
}

local function add_config_options(command)
    command:option("-c --config", "Configuration file (Lua). Default: dirty.conf.lua, if it "
        .. "exists; $DIRTY_CONFIG names another."):argname("FILE")
    command:option("-a --app", "Serve this app; can be repeated. Replaces the apps of the "
        .. "file."):argname("SPEC"):count("*"):target("apps")
    for _, option in ipairs(options.list) do
        if option.flag then
            local names = option.short and option.short .. " " .. option.flag or option.flag
            command:option(names, option.help
                .. (DEFAULTS_IN_WORDS[option.name] or default_text(option)))
                :argname(option.argname):target(option.name)
        end
    end
end

local function add_socket_options(command, default_timeout)
    command:option("-s --socket", "Unix socket of the runtime." .. DEFAULTS_IN_WORDS.socket)
        :argname("PATH")
    command:option("-c --config", "Configuration file with the socket. Default: $DIRTY_CONFIG, "
        .. "else ./dirty.conf.lua, if only root and you can change it."):argname("FILE")
    command:option("-t --timeout", ("Maximum seconds to wait for the answer. Default: %s.")
        :format(default_timeout)):argname("S")
end

local function new_command(root, name, summary, epilog)
    local command = root:command(name):summary(summary):description(summary)
    if epilog then
        command:epilog(epilog)
    end
    command._name = name
    return command
end

local function add_call(root)
    local call = new_command(root, "call", "Call an action of an app and print what it returns.",
        CALL_EPILOG)
    add_socket_options(call, 30)
    call:option("-o --output", "Write the returned bytes to this file; -: stdout.")
        :argname("FILE")
    call:flag("--stream", "Print a streamed result as it arrives, one value per line.")
    call:flag("--string", "Treat every ARG as a string.")
    call:option("--priority", "Priority among waiting calls, 0 (first) to 9 (last). Default: 5.")
        :argname("N")
    call:option("--metadata", "A JSON value for the app: its dirty.request.metadata.")
        :argname("JSON")
    call:argument("app", "The app's name: its spec without :N, or its name in the file.")
    call:argument("action", "The action.")
    call:argument("args", "Arguments of the action."):args("*"):argname("ARG")
end

--- Build the parser.
-- @treturn table an argparse parser; its `parse` raises a table `{text=, command=}` for a wrong
--   command line
function _M.new()
    local root = argparse("dirty",
        "Run blocking work of servers in Lua, in separate processes.", EPILOG)
    root.error = usage_error
    root:help_max_width(100):usage_max_width(90)
    root:command_target("command"):require_command(true)
    root:flag("-V --version", "Print the versions of dirty and its libraries.")
    local serve = new_command(root, "serve", "Run the runtime in the foreground.", SERVE_EPILOG)
    add_config_options(serve)
    serve:flag("--dev", "For development: reload when code is saved, one worker, a log for people "
        .. "with the tracebacks of failed calls.")
    local check = new_command(root, "check", "Check the configuration and boot every app once.",
        CHECK_EPILOG)
    add_config_options(check)
    add_call(root)
    operator.add(root, new_command, add_socket_options)
    local config = new_command(root, "config", "Print the effective configuration.",
        CONFIG_EPILOG)
    add_config_options(config)
    config:flag("-j --json", "Print the configuration as JSON.")
    new_command(root, "help", "Show help for a command.", "Example:\n   dirty help call")
        :argument("topic", "The command; without one: all commands."):args("?"):argname("COMMAND")
    new_command(root, "version", "Print the versions of dirty and its libraries.")
    new_command(root, "completion", "Print a script that completes commands and options.",
        COMPLETION_EPILOG):argument("shell", "bash, zsh or fish."):choices { "bash", "zsh", "fish" }
        :argname("SHELL")
    for _, command in ipairs(root._commands) do
        if command._name ~= "call" then -- `call` takes any number of arguments
            command:argument("surplus", ""):args("*"):hidden(true)
        end
    end
    return root
end

-- Put a NUL before negative numbers while argparse runs: it takes "-5" for a group of options.
-- No argument can contain a NUL.
local function hide_numbers(args)
    local out = {}
    for i, arg in ipairs(args) do
        out[i] = arg:match("^%-%.?%d") and "\0" .. arg or arg
    end
    return out
end

local function show_numbers(value)
    if type(value) == "string" then
        return (value:gsub("^%z", ""))
    elseif type(value) == "table" then
        for key, item in pairs(value) do
            value[key] = show_numbers(item)
        end
    end
    return value
end

--- Parse a command line.
-- @tparam {string,...} args without the program's name
-- @treturn table|nil the result: `command` and the command's options and arguments
-- @treturn nil|table `{text=, command=}`: what is wrong
function _M.parse(args)
    for _, arg in ipairs(args) do -- --version needs no command
        if arg == "--version" or arg == "-V" then
            return { command = "version" }
        elseif arg:sub(1, 1) ~= "-" then
            break
        end
    end
    if args[1] == "help" and args[2] ~= "--help" and args[2] ~= "-h" then
        args = { args[2] or "--help", args[2] and "--help" }
    end
    local ok, result = pcall(function()
        local root = _M.new()
        local parsed = show_numbers(root:parse(hide_numbers(args)))
        refuse_surplus(root, parsed)
        return parsed
    end)
    if ok then
        return result
    elseif type(result) == "table" and result.text then
        return nil, result
    end
    error(result, 0)
end

return _M
