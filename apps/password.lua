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

function Password:init(options)
    options = options or {}
    self.method = options.method or "yescrypt"
    self.prefix = PREFIX[self.method]
    self.cost = options.cost or 0
    if not self.prefix then
        error(("method %q is not known: yescrypt, bcrypt or sha512"):format(self.method))
    end
    local ok, crypt = pcall(ffi.load, "libcrypt.so.1")
    if not ok then
        error("libcrypt.so.1 can't be loaded (Debian: apt-get install libcrypt1): " .. crypt)
    end
    self.crypt = crypt
    self.data = ffi.new("char[?]", DATA_SIZE)
    self:hash("a first hash shows that method and cost work")
end

-- crypt(3) with its state in memory of ours, wiped after use.
function Password:_crypt(phrase, setting)
    if phrase:find("\0", 1, true) or #phrase >= PHRASE_MAX then
        error(("a password has no NUL and at most %d bytes"):format(PHRASE_MAX - 1))
    end
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
    local salt = ffi.new("char[?]", SALT_SIZE)
    -- no random bytes given: libxcrypt takes them from the kernel
    if self.crypt.crypt_gensalt_rn(self.prefix, self.cost, nil, 0, salt, SALT_SIZE) == nil then
        error(("cost %s is nothing %s can do"):format(self.cost, self.method))
    end
    return assert(self:_crypt(password, ffi.string(salt)), "libcrypt refuses the salt")
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
    if type(hash) ~= "string" or hash:find("\0", 1, true) then
        error("the second argument is the hash, a string")
    end
    local again = self:_crypt(password, hash)
    -- "*0" and "*1" are how libcrypt says that it can't
    return again ~= nil and again:sub(1, 1) ~= "*" and equal(again, hash)
end

return Password
