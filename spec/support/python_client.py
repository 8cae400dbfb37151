"""Checks of the Python client, examples/python/dirty.py.

    python3 spec/support/python_client.py SOCKET HOSTILE

SOCKET is a runtime with apps.echo in one worker, HOSTILE a support.hostile. dirty.py is on the
path. Prints a line a check, and raises where one fails.
"""
import socket
import sys
import threading
import time

import dirty

RUNTIME, HOSTILE = sys.argv[1:3]


def fails(expected, function, *args, **options):
    """The error that a call ends with: "CODE started"."""
    try:
        values = function(*args, **options)
    except dirty.DirtyError as e:
        assert f"{e.code} {e.started}" == expected, f"{e} ({e.started}), not {expected}"
        return e
    raise AssertionError(f"{values}, not {expected}")


def values_come_back():
    client = dirty.Client(RUNTIME)
    every_byte = bytes(range(256))
    sent = [every_byte, b"", None, True, 2 ** 53, 0.1, {"list": [1, None, "\u00e4"]}, [[], {}]]
    got = client.call("apps.echo", "echo", *sent)
    assert got[:6] == sent[:6], got
    assert got[6] == {"list": [1, None, "\u00e4"]}, got
    assert client.call("apps.echo", "echo", "\u00e4") == ["\u00e4".encode()]
    assert client.call("apps.echo", "echo") == []
    assert client.call("apps.echo", "length", b"x" * 10_000_000) == [10_000_000]
    for wrong in float("nan"), float("inf"), {"f": print}:
        try:
            client.call("apps.echo", "echo", wrong)
        except (ValueError, TypeError):
            continue
        raise AssertionError(f"{wrong} was sent")
    assert client.call("apps.echo", "length", b"abc") == [3]
    nested = ["[{" * 2000]                     # brackets of strings don't count as nesting
    for _ in range(500):
        nested = [nested]
    assert client.call("apps.echo", "echo", nested) == [nested]


def streams_end_are_left_and_fail():
    client = dirty.Client(RUNTIME)
    assert list(client.stream("apps.echo", "count", 1000)) == [[i] for i in range(1, 1001)]
    kept = client.sock
    assert list(client.stream("apps.echo", "echo", 7)) == [[7]]
    assert client.sock is kept
    for values in client.stream("apps.echo", "count", 10 ** 9):
        assert values == [1]
        break
    assert client.sock is None
    assert client.call("apps.echo", "echo", 1) == [1]      # the lane is free again
    stream = client.stream("apps.echo", "count", 10 ** 9)
    next(stream)
    assert client.call("apps.echo", "echo", 2) == [2]
    fails("CONNECTION unknown", next, stream)
    assert client.call("apps.echo", "echo", 3) == [3]
    fails("PROTOCOL yes", client.call, "apps.echo", "count", 3)
    fails("ACTION_NOT_FOUND no", list, client.stream("apps.echo", "nothing"))


def errors_are_typed():
    client = dirty.Client(RUNTIME)
    assert fails("APP yes", client.call, "apps.echo", "fail", "oops").traceback
    assert isinstance(fails("APP yes", client.call, "apps.echo", "fail", "x"), dirty.AppError)
    kept = client.sock
    fails("APP_NOT_FOUND no", client.call, "nothing", "at_all")
    fails("ACTION_NOT_FOUND no", client.call, "apps.echo", "nothing")
    assert client.sock is kept and kept
    fails("WORKER_LOST yes", client.call, "apps.echo", "crash")
    error = fails("CONNECTION no", dirty.Client(RUNTIME + ".none").call, "a", "b")
    assert isinstance(error, dirty.ConnectionLost)


def the_runtime_is_asked_by_a_method_of_its_own():
    client = dirty.Client(RUNTIME)
    assert client.arbiter("ping") == [client.arbiter("status")[0]["arbiter"]["pid"]]
    client.close()
    for app in "@arbiter", "@", "@other":
        fails("DENIED no", client.call, app, "stop")
        fails("DENIED no", list, client.stream(app, "stop"))
    assert client.sock is None                 # nothing was sent
    fails("DENIED no", dirty.Client(RUNTIME + ".none").call, "@arbiter", "stop")


def deadlines_hold():
    client = dirty.Client(RUNTIME)
    begun = time.monotonic()
    error = fails("TIMEOUT yes", client.call, "apps.echo", "spin", 60000, timeout=0.2)
    assert isinstance(error, dirty.CallTimeout) and error.details["phase"] == "run", error.details
    other = threading.Thread(target=dirty.Client(RUNTIME).call, args=("apps.echo", "sleep", 1500))
    other.start()
    while dirty.Client(RUNTIME).arbiter("status")[0]["workers"][0]["lanes"][0].get(
            "action") != "sleep":
        assert time.monotonic() < begun + 10
    error = fails("TIMEOUT no", client.call, "apps.echo", "noop", timeout=0.05)
    assert error.details["phase"] == "queue", error.details
    other.join()
    assert client.call("apps.echo", "echo", 1, priority=0, metadata="a trace id") == [1]


def a_request_carries_its_deadline():
    """What reaches the runtime after that does not run, however long its budget is."""
    listener, taken = socket.socket(socket.AF_UNIX), []
    listener.bind(HOSTILE + ".keeper")
    listener.listen()

    def take():
        peer, _ = listener.accept()
        taken.append(peer.recv(65536))
        peer.close()

    keeper = threading.Thread(target=take)
    keeper.start()
    begun, client = time.monotonic(), dirty.Client(HOSTILE + ".keeper")
    fails("CONNECTION unknown", client.call, "apps.echo", "noop", timeout=0.2, metadata="a trace")
    keeper.join()
    while time.monotonic() < begun + 1:
        time.sleep(0.01)
    with socket.socket(socket.AF_UNIX) as late:
        late.settimeout(10)
        late.connect(RUNTIME)
        late.sendall(taken[0])
        answer = late.recv(65536)
    assert answer[3] == dirty.ERROR and b"its deadline had passed" in answer, answer


def a_connection_that_went_away_is_made_again():
    client = dirty.Client(RUNTIME)
    client.call("apps.echo", "noop")
    client.sock.shutdown(socket.SHUT_RDWR)
    assert client.call("apps.echo", "echo", 5) == [5]


def drain(stream):
    begun = time.monotonic()
    for _ in stream:
        assert time.monotonic() < begun + 10, "the stream has no end"


# By way of support.hostile: what a call and a stream say.
CALLS = {
    "PROTOCOL unknown": """garbled http another_version another_type a_request oversized
        oversized_error another_id id_zero no_count empty more_than_counted less_than_counted
        longer_than_payload another_tag bad_json deep_json details_no_object error_cut
        end_with_payload""",
    "PROTOCOL yes": "a_chunk an_end response_after_chunk endless_chunks",
    "CONNECTION unknown": "close half_a_header half_a_payload half_of_large",
    "TIMEOUT unknown": "one_byte trickle large_trickle hold",
}
STREAMS = {
    "PROTOCOL unknown": "garbled end_with_payload",
    "PROTOCOL yes": "response_after_chunk",
    "CONNECTION unknown": "close half_of_large",
}


def servers_that_break_the_rules():
    dirty.MARGIN = 0.1
    client = dirty.Client(HOSTILE, timeout=0.3)
    for expected, ways in CALLS.items():
        for way in ways.split():
            fails(expected, client.call, "app", way)
            assert client.sock is None, way
            assert client.call("app", "fine") == [b"fine"], way
    for expected, ways in STREAMS.items():
        for way in ways.split():
            fails(expected, list, client.stream("app", way))
            assert client.sock is None, way
    fails("TIMEOUT unknown", list, client.stream("app", "a_chunk"))
    for way in "endless_chunks", "empty_chunks", "slow_chunks", "slow_empty_chunks":
        fails("TIMEOUT unknown", drain, client.stream("app", way))
        assert client.sock is None, way
    dirty.GRACE = 10.0                         # for a machine that is slow
    late = client.stream("app", "response_after_chunk")
    next(late)
    time.sleep(0.5)                            # what is here already can still be read
    fails("PROTOCOL yes", next, late)
    assert client.call("app", "twice") == [b"once"]
    fails("PROTOCOL unknown", client.call, "app", "fine")
    fails("OVERLOADED no", client.call, "app", "fine", b"x" * (8 << 20), timeout=10)
    fails("CONNECTION no", dirty.Client(HOSTILE + ".deaf").call, "app", "fine", b"x" * (8 << 20),
          timeout=10)


for check in (values_come_back, streams_end_are_left_and_fail, errors_are_typed,
              the_runtime_is_asked_by_a_method_of_its_own, deadlines_hold,
              a_request_carries_its_deadline, a_connection_that_went_away_is_made_again,
              servers_that_break_the_rules):
    check()
    print(check.__name__.replace("_", " "))
