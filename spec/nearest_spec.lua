local nearest = require "dirty.nearest"

describe("nearest.nearest", function()
    local words = { "socket", "timeout", "priority", "metadata", "max_message" }

    it("finds the word a typist meant", function()
        assert.equal("timeout", nearest.nearest("timout", words))
        assert.equal("socket", nearest.nearest("scoket", words))
        assert.equal("metadata", nearest.nearest("meta_data", words))
        assert.equal("max_message", nearest.nearest("max-message", words))
        assert.equal("priority", nearest.nearest("PRIORITY", words))
    end)

    it("finds a word that is right already", function()
        assert.equal("socket", nearest.nearest("socket", words))
    end)

    it("finds nothing far away", function()
        assert.is_nil(nearest.nearest("colour", words))
        assert.is_nil(nearest.nearest("", words))
        assert.is_nil(nearest.nearest("x", {}))
    end)

    it("takes the first by alphabet of equals, whatever the order", function()
        assert.equal("cat", nearest.nearest("bat", { "hat", "cat" }))
        assert.equal("cat", nearest.nearest("bat", { "cat", "hat" }))
    end)

    it("bears long words and other types in the list", function()
        assert.is_nil(nearest.nearest(("a"):rep(1e6), { "b", 1, true, "timeout" }))
    end)
end)

describe("nearest.hint", function()
    it("is a phrase, or empty", function()
        assert.equal(" (did you mean 'socket'?)", nearest.hint("soket", { "socket" }))
        assert.equal("", nearest.hint("colour", { "socket" }))
    end)
end)
