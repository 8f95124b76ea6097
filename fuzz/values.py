"""Values that nobody expects, for requests and answers alike."""

import json
from random import Random

CANARY = "canary-of-a-peer"
"""What peers say about themselves: no log, page or answer may quote it."""

WORDS = (
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "é€😀",
    "\u202e\u2066",
    "\x1b[2J\x1b]0;title\x07",
    "\r\nX-Injected: 1",
    "../../etc/passwd",
    "'; DROP TABLE x; --",
    "%00%ff",
    "{{7*7}}",
    "<script>alert(1)</script>",
    "NaN",
    "x" * 101,
    "x" * 5000,
    CANARY,
)
_NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 1.5, -0.0, 1e308, float("inf"), float("nan"))


def value(generator: Random, depth: int = 0) -> object:
    """Any JSON value."""
    match generator.randrange(8 if depth < 3 else 5):
        case 0:
            return None
        case 1:
            return generator.random() < 0.5
        case 2:
            return generator.choice(_NUMBERS)
        case 3 | 4:
            return generator.choice(WORDS)
        case 5:
            return [value(generator, depth + 1) for _ in range(generator.randrange(4))]
        case 6:
            return {
                generator.choice(WORDS): value(generator, depth + 1) for _ in range(generator.randrange(4))
            }
        case _:
            deep: object = generator.choice(WORDS)
            for _ in range(generator.choice((5, 100, 600))):
                deep = [deep] if generator.random() < 0.5 else {"a": deep}
            return deep


def changed(generator: Random, data: object) -> object:
    """A value with one or more of its parts replaced, left out or added."""
    if isinstance(data, dict):
        fresh = dict(data)
        for _ in range(generator.randrange(1, 3)):
            name = generator.choice([*fresh, "another"])
            match generator.randrange(4):
                case 0:
                    fresh.pop(name, None)
                case 1 if isinstance(fresh.get(name), (dict, list)):
                    fresh[name] = changed(generator, fresh[name])
                case _:
                    fresh[name] = value(generator)
        return fresh
    if isinstance(data, list) and data:
        fresh_list = list(data)
        place = generator.randrange(len(fresh_list))
        fresh_list[place] = changed(generator, fresh_list[place])
        return fresh_list
    return value(generator)


def written(generator: Random, data: object) -> bytes:
    """JSON as somebody writes it who may not know how."""
    text = json.dumps(data, ensure_ascii=generator.random() < 0.7)
    match generator.randrange(12):
        case 0:
            return b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass")
        case 1:
            return text.encode("utf-16", "surrogatepass")
        case 2:
            return text.encode("latin-1", "replace")
        case 3:
            return text[: generator.randrange(len(text) + 1)].encode("utf-8", "surrogatepass")
        case _:
            return text.encode("utf-8", "surrogatepass")


def damaged(generator: Random, data: bytes) -> bytes:
    """Bytes with some of them changed, left out, put in or repeated."""
    fresh = bytearray(data)
    for _ in range(generator.randrange(1, 5)):
        place = generator.randrange(len(fresh) + 1)
        length = generator.choice((1, 1, 2, 8, 40))
        match generator.randrange(5):
            case 0:
                fresh[place : place + length] = generator.randbytes(length)
            case 1:
                del fresh[place : place + length]
            case 2:
                fresh[place:place] = generator.choice(
                    (b"\r\n", b"\0", b"\n", b":", b" ", b"\xff", b"\r\n\r\n")
                )
            case 3:
                fresh[place:place] = fresh[place : place + length]
            case _:
                del fresh[place:]
    return bytes(fresh)
