"""Tell of each text whether Python's json takes it, which keeps RFC 8259 but for NaN and its like.

    python3 spec/support/json_verdicts.py FILE

FILE has a text a line, in hex. Prints a line of as many characters: 1 taken, 0 refused.
"""
import json
import sys


def refuse(constant):
    raise ValueError(constant)


def is_json(text):
    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        return False
    return True


with open(sys.argv[1], encoding="ascii") as file:
    # bytes from 0x80 up pass in strings, whatever they are
    print("".join("01"[is_json(bytes.fromhex(line).decode("latin-1"))] for line in file))
