--- Passwords: hash and verify by the system's libcrypt, the classic blocker of event loops.
--
--     client:execute("apps.password", "hash", "secret")
--     client:execute("apps.password", "verify", "secret", hash)
--
-- Hashes are what /etc/shadow holds ("$y$…" yescrypt, "$2b$…" bcrypt, "$6$…" SHA-512), so
-- other programs can check them. Options of init: `method` ("yescrypt", the default,
-- "bcrypt", "sha512") and `cost` (the method's own scale; nil: its default).
--
-- It needs libcrypt.so.1 of libxcrypt (Debian: libcrypt1, always installed).

local dirty = require "dirty"
local ffi = require "ffi"
local hint = require("dirty.suggest").hint

local Password = dirty.app { timeout = 10 }

ffi.cdef [[
char *crypt_gensalt_rn(const char *prefix, unsigned long count, const char *rbytes, int nrbytes,
    char *output, int output_size);
char *crypt_rn(const char *phrase, const char *setting, void *data, int size);
]]

local PREFIX = { yescrypt = "$y$", bcrypt = "$2b$", sha512 = "$6$" }
local SALT_SIZE = 192   -- CRYPT_GENSALT_OUTPUT_SIZE of crypt.h
local DATA_SIZE = 32768 -- sizeof(struct crypt_data)
local PHRASE_MAX = 512  -- CRYPT_MAX_PASSPHRASE_SIZE; bcrypt itself looks at 72 bytes

local function fail(text, ...)
    error(text:format(...), 0)
end

-- What init may be given: each says whether a value is right, and what would be.
local OPTIONS = {
    method = function(value)
        return PREFIX[value] ~= nil, "yescrypt, bcrypt or sha512"
    end,
    cost = function(value)
        return type(value) == "number" and value % 1 == 0 and value >= 0 and value < 2 ^ 32,
            "a whole number, 0 for the method's default"
    end,
}

function Password:init(options)
    for name, value in pairs(options or {}) do
        if not OPTIONS[name] then
            local near = hint(tostring(name), { "method", "cost" })
            fail("unknown option '%s'%s", tostring(name), near)
        end
        local ok, wanted = OPTIONS[name](value)
        if not ok then
            fail("%s must be %s, not '%s'", name, wanted, tostring(value))
        end
    end
    self.method = options and options.method or "yescrypt"
    self.prefix = PREFIX[self.method]
    self.cost = options and options.cost or 0
    local ok, crypt = pcall(ffi.load, "libcrypt.so.1")
    if not ok then
        fail("libcrypt.so.1 can't be loaded (Debian: apt-get install libcrypt1): %s", crypt)
    end
    self.crypt = crypt
    self.data = ffi.new("char[?]", DATA_SIZE)
    self:hash("a first hash shows that method and cost work")
end

-- The words never show the password: they end up in logs.
local function check_password(action, password)
    if type(password) ~= "string" then
        fail("%s: the password must be a string, not a %s", action, type(password))
    elseif password:find("\0", 1, true) or #password >= PHRASE_MAX then
        fail("%s: a password must have no NUL and at most %d bytes", action, PHRASE_MAX - 1)
    end
end

-- crypt(3) with its state in memory of ours, wiped after use.
function Password:_crypt(phrase, setting)
    ffi.fill(self.data, DATA_SIZE)
    local hash = self.crypt.crypt_rn(phrase, setting, self.data, DATA_SIZE)
    local text = hash ~= nil and ffi.string(hash) or nil
    ffi.fill(self.data, DATA_SIZE)
    return text
end

--- Hash a password with a fresh salt.
-- @tparam string password at most 511 bytes, no NUL
-- @treturn string the hash, with method, cost and salt in it
function Password:hash(password)
    check_password("hash", password)
    local salt = ffi.new("char[?]", SALT_SIZE)
    -- no random bytes given: libxcrypt takes them from the kernel
    if self.crypt.crypt_gensalt_rn(self.prefix, self.cost, nil, 0, salt, SALT_SIZE) == nil then
        fail("cost %s is not supported by %s", self.cost, self.method)
    end
    local hash = self:_crypt(password, ffi.string(salt))
    if not hash then
        fail("libcrypt refuses its own salt %s", ffi.string(salt))
    end
    return hash
end

-- Compare without telling by its time where two strings differ.
local function equal(a, b)
    if #a ~= #b then
        return false
    end
    local difference = 0
    for i = 1, #a do
        difference = bit.bor(difference, bit.bxor(a:byte(i), b:byte(i)))
    end
    return difference == 0
end

--- Does the password belong to the hash?
-- @treturn boolean false too for a hash of a kind that libcrypt does not know
function Password:verify(password, hash)
    check_password("verify", password)
    if type(hash) ~= "string" or hash:find("\0", 1, true) then
        fail("verify: the hash, its second argument, must be a string without NUL, not %s",
            type(hash) == "string" and "one with it" or "a " .. type(hash))
    end
    local again = self:_crypt(password, hash)
    -- "*0" and "*1" are how libcrypt says that it can't
    return again ~= nil and again:sub(1, 1) ~= "*" and equal(again, hash)
end

return Password
