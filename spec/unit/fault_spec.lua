local fault = require "dirty.fault"

describe("fault", function()
    it("is an error with a code, a message and more", function()
        local ok, err = pcall(fault.raise, "TIMEOUT", "too late", { phase = "run" })
        assert.is_false(ok)
        assert.is_true(fault.is(err))
        assert.equal("TIMEOUT", err.code)
        assert.equal("too late", err.message)
        assert.equal("run", err.phase)
        assert.equal("TIMEOUT: too late", tostring(err))
    end)

    it("can be distinguished from other errors", function()
        assert.is_false(fault.is("TIMEOUT: too late"))
        assert.is_false(fault.is({ code = "TIMEOUT", message = "too late" }))
        assert.is_false(fault.is(nil))
    end)
end)
