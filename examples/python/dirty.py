# dirty.py: a client of the dirty runtime. A Client is for one thread, one call at a time.
import errno
import json
import os
import re
import socket
import stat
import struct
import time

HEADER = struct.Struct("!2sBBIQ")              # magic, version, type, payload length, id
REQUEST, RESPONSE, ERROR, CHUNK, END = 1, 2, 3, 4, 5
MESSAGE_MAX = 64 << 20                         # bytes of a payload
LIMITS = {RESPONSE: MESSAGE_MAX, CHUNK: MESSAGE_MAX, ERROR: 327694, END: 0}
DEPTH_MAX = 1000                               # of nested JSON
BRACKETS = re.compile(rb'"(?:\\.|[^"\\])*"|[][{}]')
MARGIN = 2.0                                   # s that we wait longer than the runtime
METADATA, EXTENSIONS = 1, 2                    # flags of a request
GRACE = 0.05                                   # s for what has come, where it is read later still
CODES = dict(enumerate((
    "TIMEOUT CONNECTION APP APP_NOT_FOUND ACTION_NOT_FOUND NO_WORKERS OVERLOADED WORKER_LOST "
    "CANCELLED SHUTDOWN PROTOCOL DENIED MEMORY").split(), 1))


class DirtyError(Exception):
    """A call failed: `code`, `message`, `started` (may the app have run: "no", "yes",
    "unknown"), and in `details` what else is known."""

    def __init__(self, code, message, details):
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.details = code, message, details
        self.started = details.get("started", "unknown")
        self.traceback = details.get("traceback")


class AppError(DirtyError):
    """The app raised an error, or returned nil, err."""


class CallTimeout(DirtyError):
    """The deadline has passed."""


class ConnectionLost(DirtyError):
    """Nobody listens, no permission, or the connection has ended."""


CLASSES = {"APP": AppError, "TIMEOUT": CallTimeout, "CONNECTION": ConnectionLost}


def failure(code, message, details):
    return CLASSES.get(code, DirtyError)(code, message, details)


def encode_json(value):
    text = json.dumps(value, allow_nan=False).encode()
    return struct.pack("!cI", b"j", len(text)) + text


def encode(value):
    """Bytes travel as they are, text as its UTF-8, all else as JSON."""
    data = value.encode() if isinstance(value, str) else value
    if isinstance(data, bytes):
        return struct.pack("!cI", b"b", len(data)) + data
    return encode_json(value)


def refuse(constant):
    raise ValueError(f"{constant} is no JSON")


def check_depth(data):
    """Python's own limit differs from version to version."""
    depth = 0
    if data.count(b"[") + data.count(b"{") > DEPTH_MAX:
        for token in BRACKETS.findall(data):
            depth += (token in b"[{") - (token in b"]}")
            if depth > DEPTH_MAX:
                raise ValueError("JSON is nested too deeply")


def decode(payload, at):
    """The value at an offset, and the offset behind it."""
    tag, size = struct.unpack_from("!cI", payload, at)
    data, end = payload[at + 5:at + 5 + size], at + 5 + size
    if len(data) != size or tag not in (b"b", b"j"):
        raise ValueError("a value is cut, or has an unknown tag")
    if tag == b"j":
        check_depth(data)
    value = data if tag == b"b" else json.loads(data.decode(), parse_constant=refuse)
    return (value.encode() if isinstance(value, str) else value), end


def decode_values(payload):
    (count,), at, values = struct.unpack_from("!H", payload), 2, []
    for _ in range(count):
        value, at = decode(payload, at)
        values.append(value)
    if at != len(payload):
        raise ValueError("there are bytes behind the last value")
    return values


def decode_error(payload):
    (number,) = struct.unpack_from("!H", payload)
    message, at = decode(payload, 4)
    details, _ = decode(payload, at)
    if not isinstance(details, dict):
        raise ValueError("the details are no object")
    return failure(CODES.get(number, str(number)), message.decode(errors="replace"), details)


def unreachable(path, error):
    """Why connect() failed: what there is, who asks, what helps."""
    if len(os.fsencode(path)) > 107:
        return (f"socket path of {len(os.fsencode(path))} bytes is too long, a unix socket's address "
                f"takes 107 at most; use a shorter one: {path}")
    if error.errno == errno.EACCES:
        steps = [path[:i] or "/" for i, c in enumerate(path) if c == "/"]
        closed = next((d for d in steps if not os.access(d, os.X_OK)), None)
        try:
            st = os.stat(closed or path)
            what = f"mode {stat.S_IMODE(st.st_mode):04o}, owner uid {st.st_uid}, group gid {st.st_gid}"
        except OSError as e:
            what = f"can't be examined: {e.strerror}"
        who = f"uid {os.geteuid()} gid {os.getegid()}"
        if closed:
            return (f"can't reach {path}: the directory {closed} is closed to the caller, {who} "
                    f"({what}); allow the caller to search it, or give the server another socket path")
        return (f"not allowed to use {path} ({what}): the caller is {who}; allow a group of the caller "
                f"by the server's options socket_group and socket_mode 0660, or change socket_user")
    if error.errno == errno.EPROTOTYPE:
        return f"{path} is a socket of another type: no runtime listens there"
    if error.errno not in (errno.ENOENT, errno.ECONNREFUSED):
        return f"can't connect to {path}: {error}"
    why = "its server has ended, or it is not a socket"
    if error.errno == errno.ENOENT:
        there = os.path.exists(os.path.dirname(path) or ".")
        why = f"there is no such {'socket' if there else 'directory'}"
    return f"nothing listens at {path}: {why}; start the runtime with: dirty serve --socket {path}"


class Client:
    """client.call("apps.echo", "echo", b"bytes", {"n": 1}) gives the action's values as a list,
    strings as bytes. timeout: seconds that a call may take, waiting included."""

    def __init__(self, path=None, timeout=30.0):
        self.path = path or os.environ.get("DIRTY_SOCKET") or "/run/dirty/dirty.sock"
        self.timeout, self.sock, self.id, self.busy = timeout, None, 0, False

    def call(self, app, action, *args, **options):
        """options: timeout, priority (0 first to 9 last), metadata (any JSON)."""
        return self._plain(app, action, args, options)

    def arbiter(self, action, *args, **options):
        """Ask the runtime itself, which call() and stream() do not reach: "status", "reload"."""
        return self._plain("@arbiter", action, args, options, own=True)

    def _plain(self, app, action, args, options, own=False):
        kind, values = self._begin(app, action, args, own=own, **options)
        if kind != RESPONSE:
            raise self._lost("PROTOCOL", "this action streams: call stream()", "yes")
        return values

    def stream(self, app, action, *args, **options):
        """The chunks of a streaming action, a list of values each, as they come. An error of the
        app is raised after its chunks; to leave the loop early is to cancel the call."""
        kind, values = self._begin(app, action, args, **options)
        call = self.id
        try:
            if kind == RESPONSE:               # the action doesn't stream: one chunk
                yield values
            while kind == CHUNK:
                yield values
                kind, values = self._answer(call)
                if kind == RESPONSE:
                    raise self._lost("PROTOCOL", "a plain answer inside a stream", "yes")
        finally:
            if call == self.id and self.busy:
                self.close()

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock, self.busy = None, False

    def _begin(self, app, action, args, timeout=None, priority=5, metadata=None, own=False):
        if app.startswith("@") and not own:    # it may come from an URL
            raise failure("DENIED", f"{app} belongs to the runtime: use arbiter()",
                          {"started": "no", "phase": "client"})
        self.budget = timeout = timeout or self.timeout
        self.deadline, self.late = time.monotonic() + timeout + MARGIN, False
        ends = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + int(timeout * 1e9)
        flags = EXTENSIONS | (0 if metadata is None else METADATA)
        head = struct.pack("!IBBHBB", max(1, int(timeout * 1000)), priority, flags, len(args),
                           len(app), len(action))
        deadline = struct.pack("!HBHQ", 11, 1, 8, ends)        # 11 bytes: type 1, 8 bytes
        values = [] if metadata is None else [encode_json(metadata)]
        payload = b"".join([head, app.encode("ascii"), action.encode("ascii"), deadline, *values,
                            *map(encode, args)])
        if len(payload) > MESSAGE_MAX:
            raise self._lost("PROTOCOL", "the request is too long", "no")
        for attempt in 1, 2:                   # again only where the runtime has read nothing
            try:
                return self._exchange(payload)
            except (BrokenPipeError, ConnectionResetError) as e:
                error = self._lost("CONNECTION", f"{self.path}: {e}", "no")
                if attempt == 2:
                    raise error from e

    def _exchange(self, payload):
        if self.busy:                          # the last answer was not read to its end
            self.close()
        if not self.sock:
            self._connect()
        self.id, self.busy, self.silent = self.id + 1, True, True
        try:
            self._patience()
            self.sock.sendall(HEADER.pack(b"DW", 1, REQUEST, len(payload), self.id) + payload)
        except socket.timeout as e:
            raise self._lost("TIMEOUT", "the request was not read in time") from e
        except OSError as e:                   # the reason may have come all the same
            try:
                return self._answer(self.id)
            except ConnectionLost:
                raise e
            finally:
                self.close()
        return self._answer(self.id)

    def _connect(self):
        while True:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._patience()
            try:
                return self.sock.connect(self.path)
            except BlockingIOError as e:       # the backlog is full
                error = self._lost("OVERLOADED", f"the listen queue of {self.path} stayed full for "
                                   f"the budget of {self.budget * 1000:.0f} ms; raise the server's "
                                   "option backlog, or make fewer calls", "no")
                if time.monotonic() > self.deadline - MARGIN:
                    raise error from e
                time.sleep(0.01)
            except OSError as e:
                raise self._lost("CONNECTION", unreachable(self.path, e), "no") from e

    def _answer(self, call):
        """The next frame: its type and its values. An ERROR is raised."""
        if call != self.id or not self.sock:
            details = {"started": "unknown", "phase": "client"}
            raise failure("CONNECTION", "another call or close() has ended this one", details)
        magic, version, kind, size, frame_id = HEADER.unpack(self._receive(HEADER.size))
        if (magic, version) != (b"DW", 1) or size > LIMITS.get(kind, -1):
            raise self._lost("PROTOCOL", "the answer is no frame of version 1, or too long")
        if frame_id != call and (kind, frame_id) != (ERROR, 0):
            raise self._lost("PROTOCOL", "the answer is to another request")
        payload = self._receive(size)
        try:
            values = {ERROR: decode_error, END: bytes}.get(kind, decode_values)(payload)
        except (ValueError, AttributeError, struct.error, RecursionError) as e:
            raise self._lost("PROTOCOL", f"the answer is broken: {e}") from e
        self.busy = kind == CHUNK
        if kind == ERROR:
            raise values
        return kind, values

    def _receive(self, size):
        data = bytearray()
        while len(data) < size:
            self._patience()
            try:
                piece = self.sock.recv(min(size - len(data), 1 << 20))
            except socket.timeout as e:
                raise self._lost("TIMEOUT", "no answer in time") from e
            except ConnectionResetError as e:
                if self.silent:
                    raise
                raise self._lost("CONNECTION", str(e)) from e
            if not piece:
                raise self._lost("CONNECTION", "the connection was ended")
            self.silent = False
            data += piece
        return bytes(data)

    def _patience(self):
        left = self.deadline - time.monotonic()
        if left <= 0 and self.late:
            raise self._lost("TIMEOUT", "the answer did not end in time")
        if left <= 0:                          # read late: what is here already, but once
            self.late, left, self.deadline = True, GRACE, time.monotonic() + GRACE
        self.sock.settimeout(left)

    def _lost(self, code, message, started="unknown"):
        self.close()                           # what comes late must not meet the next call
        return failure(code, message, {"started": started, "phase": "client"})
