-- The runtime of this example: dirty serve --config dirty.conf.lua
socket = "run/dirty.sock"
-- Here one user runs both. Where they serve, the runtime has a user of its own, and nginx's group
-- may call:
--   user = "dirty"  socket_group = "www-data"  socket_mode = "0660"  admin_users = { "root" }
workers = 4
timeout = 10

-- apps.image comes with the runtime, which finds it by itself; writer.lua and words.txt are
-- found in this directory
apps = {
    images = { module = "apps.image", max_queue = 64, options = { max_pixels = 50e6 } },
    -- a stream keeps its worker for as long as it lasts: never more than two of four
    writer = { module = "writer", workers = 2, timeout = 60,
        options = { text = "words.txt", pause_ms = 50 } },
}
