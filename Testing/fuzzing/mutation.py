"""Damage the content of a file as broken disks, careless programs and attackers do."""

from __future__ import annotations

import copy
import json
import random
import re
import struct
from collections.abc import Iterator
from typing import Any

HEAD_BYTES = 600  # headers are at the beginning, and matter most
MOST_CHANGES = 4

_WORDS = b"""0 -1 1 2 3 7 8 100 1000 65536 2147483647 2147483648 4294967296 18446744073709551616 -2147483649
1e400 -1e400 nan inf 0.0 1e-320 0x10 True False none LIST LOCAL - . .. ../x /etc/passwd /dev/zero /dev/stdin
%s %s%s%n %03d %99999999d ( ) (1,0,0) {} [] null"""
_LONG = [b"9" * 30, b"9" * 5000, b"(" * 3000, b"x" * 1500, b"1 " * 999]
WORDS = [*_WORDS.split(), b"", b"\0", b"\xff\xfe", b"\\n", *_LONG]
NUMBERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
FLOATS = (0.0, -1.0, 1.0, 1e-40, 1e38, 352.5, float("inf"), float("-inf"), float("nan"))

VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 3, 0.5, 2**31, 2**63, 10**400, 1e308, float("nan"), "", "x", "1", "\ud800", "../x"),
    *("a" * 3000, [], {}, [[]], [None], [1, 2, 3], ["x"], {"": None}, {"a": {"a": 1}}),
)

_TOKEN = re.compile(rb"[^\s=:,(){}\[\]\"]+")


def mutated(content: bytes, chance: random.Random) -> bytes:
    """The content after one to four changes, of its bytes or of the values in its JSON."""
    if chance.random() < 0.5 and (changed := _with_other_values(content, chance)) is not None:
        return changed
    data = bytearray(content)
    for _ in range(chance.randint(1, MOST_CHANGES)):
        chance.choice(_CHANGES)(data, chance)
    return bytes(data)


def _with_other_values(content: bytes, chance: random.Random) -> bytes | None:
    """The content, whose JSON has some values of other types; None if it has no JSON, also below headers."""
    head, gap, body = content.rpartition(b"\n\n")
    try:
        document = [json.loads(body)]
    except ValueError:
        return None
    for _ in range(chance.randint(1, 3)):
        parent, key = chance.choice(list(_values(document)))
        kind = chance.randrange(6)
        if kind == 0 and parent is not document:
            del parent[key]
        elif kind == 1:
            parent[key] = [parent[key]]
        elif kind == 2:  # that of another field
            other, name = chance.choice(list(_values(document)))
            parent[key] = copy.deepcopy(other[name])
        else:
            parent[key] = copy.deepcopy(chance.choice(VALUES))
    return head + gap + json.dumps(document[0]).encode()


def _values(holder: list[Any] | dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Each value below a list or an object, as the place that has it and its key there."""
    for key in holder if isinstance(holder, dict) else range(len(holder)):
        yield holder, key
        if isinstance(holder[key], list | dict):  # type: ignore[index]
            yield from _values(holder[key])  # type: ignore[index]


def _place(data: bytearray, chance: random.Random) -> int:
    """A random place, mostly in the header."""
    end = min(len(data), HEAD_BYTES) if chance.random() < 0.75 else len(data)
    return chance.randrange(max(end, 1))


def _flip(data: bytearray, chance: random.Random) -> None:
    if data:
        data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _number(data: bytearray, chance: random.Random) -> None:
    """Write an extreme number, in a width and byte order of binary headers."""
    form = chance.choice(("<b", "<h", ">h", "<i", ">i", "<q", ">q", "<f", ">f", "<d", ">d"))
    size = struct.calcsize(form)
    if len(data) < size:
        return
    place = min(_place(data, chance), len(data) - size)
    place -= place % min(size, 4) if chance.random() < 0.8 else 0
    if form[1] in "fd":
        value = struct.pack(form, chance.choice(FLOATS))
    else:
        number = chance.choice(NUMBERS) * chance.choice((1, -1))
        value = (number % 2 ** (8 * size)).to_bytes(size, "little" if form[0] == "<" else "big")
    data[place : place + size] = value


def _word(data: bytearray, chance: random.Random) -> None:
    """Replace a word of a text by another one."""
    words = list(_TOKEN.finditer(data[: HEAD_BYTES * 4]))
    if words:
        word = chance.choice(words)
        data[word.start() : word.end()] = chance.choice(WORDS)


def _line(data: bytearray, chance: random.Random) -> None:
    """Remove a line, repeat it, or make it very long."""
    lines = bytes(data[: HEAD_BYTES * 4]).split(b"\n")
    rest = data[HEAD_BYTES * 4 :]
    place = chance.randrange(len(lines))
    kind = chance.randrange(4)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(chance.randrange(len(lines)), lines[place])
    elif kind == 2:
        lines[place] += b" x" * chance.choice((100, 1000, 50_000))
    else:
        other = chance.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    data[:] = b"\n".join(lines) + rest


def _shorter(data: bytearray, chance: random.Random) -> None:
    del data[_place(data, chance) :]


def _longer(data: bytearray, chance: random.Random) -> None:
    data += chance.randbytes(chance.choice((1, 16, 1000)))


def _cut(data: bytearray, chance: random.Random) -> None:
    place = _place(data, chance)
    del data[place : place + chance.choice((1, 2, 4, 30))]


def _insert(data: bytearray, chance: random.Random) -> None:
    place = _place(data, chance)
    data[place:place] = chance.choice((chance.choice(WORDS), chance.randbytes(4)))


_CHANGES = (_flip, _number, _number, _word, _word, _word, _line, _shorter, _longer, _cut, _insert)
