-- The runtime in a container. `workers` is left alone: it counts the CPUs that the
-- container's cpu limit gives. The log goes to stderr, where `docker logs` has it.
socket = "/run/dirty/dirty.sock"
-- nginx's group may call and nobody else may, and only the runtime's own user may change
-- things: `docker exec … dirty reload`
socket_group = "www-data"
socket_mode = "0660"
admin_users = { "dirty" }

-- apps of the image, and your own in the working directory, /srv
lua_path = "/usr/local/share/lua-dirty/?.lua"

-- docker gives stop_grace_period, in compose.yaml twice this and some more
graceful_timeout = 30

apps = {
    images = { module = "apps.image", timeout = 10 },
}
