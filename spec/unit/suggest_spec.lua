local suggest = require "dirty.suggest"

describe("suggest.nearest", function()
    local words = { "socket", "timeout", "priority", "metadata", "max_message" }

    it("finds the word a typist meant", function()
        assert.equal("timeout", suggest.nearest("timout", words))
        assert.equal("socket", suggest.nearest("scoket", words))
        assert.equal("metadata", suggest.nearest("meta_data", words))
        assert.equal("max_message", suggest.nearest("max-message", words))
        assert.equal("priority", suggest.nearest("PRIORITY", words))
    end)

    it("finds a word that is right already", function()
        assert.equal("socket", suggest.nearest("socket", words))
    end)

    it("finds nothing far away", function()
        assert.is_nil(suggest.nearest("colour", words))
        assert.is_nil(suggest.nearest("", words))
        assert.is_nil(suggest.nearest("x", {}))
    end)

    it("takes the first by alphabet of equals, whatever the order", function()
        assert.equal("cat", suggest.nearest("bat", { "hat", "cat" }))
        assert.equal("cat", suggest.nearest("bat", { "cat", "hat" }))
    end)

    it("accepts long words and other types in the list", function()
        assert.is_nil(suggest.nearest(("a"):rep(1e6), { "b", 1, true, "timeout" }))
    end)
end)

describe("suggest.hint", function()
    it("is a phrase, or empty", function()
        assert.equal(" (did you mean 'socket'?)", suggest.hint("soket", { "socket" }))
        assert.equal("", suggest.hint("colour", { "socket" }))
    end)
end)
