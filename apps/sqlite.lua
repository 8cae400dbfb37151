--- Notes in an SQLite database, to copy for any database: one connection per lane, made in init,
-- prepared statements that are kept, and a new connection after an error of the database.
--
--     apps = { notes = { module = "apps.sqlite", options = { path = "/var/lib/myapp/notes.db" } } }
--
--     client:execute("notes", "add", "buy milk")        -- its id
--     client:execute("notes", "get", 1)                 -- { id = 1, text = "buy milk", at = … }
--     client:execute("notes", "search", "milk", 10)     -- a list, the latest first
--     client:execute("notes", "import", { "a", "b" })   -- all of them or none
--     client:stream("notes", "all")                     -- each note
--
-- Lanes share nothing but the file: SQLite makes writers wait for one another, readers never
-- (journal_mode = WAL). Don't open a connection at the top of a module: processes that only look at
-- the app load it too.
--
-- It needs LuaDBI with its driver for SQLite (Debian: lua-dbi-sqlite3).

local DBI = require "DBI"
local dirty = require "dirty"

local Notes = dirty.app { timeout = 10 }

-- How long a statement waits for another lane that writes.
local BUSY_MS = 2000

local SCHEMA = {
    "PRAGMA busy_timeout = " .. BUSY_MS,
    [[CREATE TABLE IF NOT EXISTS notes (
        id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, at INTEGER NOT NULL)]],
}

local SQL = {
    add = "INSERT INTO notes (text, at) VALUES (?, ?)",
    get = "SELECT id, text, at FROM notes WHERE id = ?",
    remove = "DELETE FROM notes WHERE id = ?",
    search = [[SELECT id, text, at FROM notes WHERE instr(text, ?) > 0
        ORDER BY id DESC LIMIT ?]],
    all = "SELECT id, text, at FROM notes ORDER BY id",
    last_id = "SELECT last_insert_rowid() AS id",
}

-- -- The connection ---------------------------------------------------------------------------

-- Forget connection and statements. The next use connects anew.
local function disconnect(self)
    for _, statement in pairs(self.statements or {}) do
        pcall(statement.close, statement) -- open ones would keep the connection open
    end
    if self.connection then
        pcall(self.connection.close, self.connection)
    end
    self.connection, self.statements = nil, nil
end

-- Run a statement once, and drop what it gives. DBI.Do leaves a statement open that gives rows, and
-- its lock with it. Returns true; or nil, err.
local function run_once(connection, sql)
    local statement, err = connection:prepare(sql)
    if not statement then
        return nil, err
    end
    local ok, why = statement:execute()
    while ok and statement:fetch() do end
    statement:close()
    return ok or nil, why
end

-- Get the connection; make one if there is none. Raises if the database can't be opened.
local function connect(self)
    if self.connection then
        return self.connection
    end
    local connection, err = DBI.Connect("SQLite3", self.path)
    if not connection then
        error(("%s: %s"):format(self.path, err), 0)
    end
    connection:autocommit(true) -- else the driver begins a transaction with each statement
    self.connection, self.statements = connection, {}
    for _, sql in ipairs(SCHEMA) do
        local done, why = run_once(connection, sql)
        if not done then
            disconnect(self)
            error(("%s: %s"):format(self.path, why), 0)
        end
    end
    -- The file remembers it. It fails while another lane does the same, which is as good.
    run_once(connection, "PRAGMA journal_mode = WAL")
    return connection
end

-- Run a statement by its name in SQL. Raises if it fails.
local function execute(self, name, ...)
    local connection = connect(self)
    local statement = self.statements[name]
    if not statement then
        local err
        statement, err = connection:prepare(SQL[name])
        if not statement then
            error(err, 0)
        end
        self.statements[name] = statement
    end
    local ok, err = statement:execute(...)
    if not ok then
        self.statements[name] = nil -- a statement that has failed repeats its error
        error(err, 0)
    end
    return statement
end

-- Whether the error says that the data is refused, and the connection is as good as before.
local function is_refusal(err)
    return type(err) == "string" and err:find("constraint failed", 1, true) ~= nil
end

-- Run work(self, …). After an error of the database the next call gets a new connection; work
-- that changes nothing (`again`) gets it at once, and a second try.
local function with_database(self, again, work, ...)
    local ok, result = pcall(work, self, ...)
    if ok then
        return result
    elseif is_refusal(result) then
        return nil, result:gsub("^Execute failed ", "")
    end
    local had_connection = self.connection ~= nil
    disconnect(self)
    if again and had_connection and type(result) == "string" then
        dirty.log.warn("the database failed: connecting anew", { path = self.path, error = result })
        return work(self, ...)
    end
    error(result, 0) -- a table when the deadline has passed: let it go on
end

-- The only row, by names. Reads to the end: a statement that is half read holds a lock.
local function row_of(statement)
    local row = statement:fetch(true)
    if row then
        statement:fetch()
    end
    return row
end

local function rows_of(statement)
    local rows = {}
    for row in statement:rows(true) do
        rows[#rows + 1] = row
    end
    return rows
end

-- -- The app ----------------------------------------------------------------------------------

function Notes:init(options)
    if type(options.path) ~= "string" then
        error("options.path must be the path of the database", 0)
    end
    self.path = options.path
    connect(self) -- fail at the start, not at the first call
end

local function check_text(action, text)
    if type(text) ~= "string" or text == "" or text:find("\0", 1, true) then
        error(("%s: a note must be a text without NUL"):format(action), 0)
    end
end

local function check_number(action, what, n)
    if type(n) ~= "number" or n % 1 ~= 0 then
        error(("%s: the %s must be a whole number"):format(action, what), 0)
    end
end

local function add(self, text)
    execute(self, "add", text, os.time())
    return row_of(execute(self, "last_id")).id
end

--- Add a note. Returns its id; or nil, err if there is one with this text.
function Notes:add(text)
    check_text("add", text)
    return with_database(self, false, add, text)
end

--- Get a note: a table with id, text and at (seconds since 1970), nil if there is none.
function Notes:get(id)
    check_number("get", "id", id)
    return with_database(self, true, function()
        return row_of(execute(self, "get", id))
    end)
end

--- Remove a note. Returns whether there was one.
function Notes:remove(id)
    check_number("remove", "id", id)
    return with_database(self, false, function()
        return execute(self, "remove", id):affected() > 0
    end)
end

--- Find notes with a word in them, the latest first.
function Notes:search(word, limit)
    check_text("search", word)
    check_number("search", "limit", limit or 100)
    return with_database(self, true, function()
        return rows_of(execute(self, "search", word, limit or 100))
    end)
end

-- Run work in a transaction, which an error or the deadline rolls back.
local function in_transaction(self, work)
    local connection = connect(self)
    assert(run_once(connection, "BEGIN IMMEDIATE"))
    local ok, result = pcall(work)
    if ok then
        assert(run_once(connection, "COMMIT"))
        return result
    end
    run_once(connection, "ROLLBACK")
    error(result, 0)
end

--- Add all notes of a list, or none. Returns how many; or nil, err.
function Notes:import(texts)
    for _, text in ipairs(texts) do
        check_text("import", text)
    end
    return with_database(self, false, in_transaction, function()
        for _, text in ipairs(texts) do
            execute(self, "add", text, os.time())
        end
        return #texts
    end)
end

--- Stream all notes.
function Notes:all()
    -- a statement of its own: a caller that leaves must not find it half read at the next call
    local statement = assert(connect(self):prepare(SQL.all))
    assert(statement:execute())
    return function()
        local row = statement:fetch(true)
        if not row then
            statement:close()
        end
        return row
    end
end

function Notes:close()
    disconnect(self)
end

return Notes
