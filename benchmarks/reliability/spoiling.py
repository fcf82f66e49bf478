"""Ways to spoil a file: bits, lengths, numbers, JSON's values, cells of tables, packed content.

Each takes a file's bytes and a generator of random numbers, so that a seed makes the same again.
"""

from __future__ import annotations

import gzip
import json
import re
import struct
import zlib
from copy import deepcopy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

EDGES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**29,
    2**30,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**64 - 1,
)
"""Numbers at which counts and places go over."""

MOST_PLACES = 10_000
"""Values of a file among which the spoiled ones are chosen."""

DEPTH = 100_000
"""Of a nested value that ends a parser's stack."""

HOSTILE: tuple[Any, ...] = (
    None,
    True,
    "",
    "\x00",
    "a" * 100_000,
    "../../../etc/passwd",
    "/etc/passwd",
    "nan",
    "-1",
    "😀\ud800",
    0,
    -1,
    1,
    2**31,
    2**63,
    10**400,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    [None],
    [1, "two", None],
    {"": ""},
    {"a": {"b": {"c": []}}},
    [0] * 10_000,
)
"""What may stand anywhere in JSON and is seldom meant."""

WORDS = (
    "",
    " ",
    "nan",
    "inf",
    "-1",
    "0",
    "1e999",
    "9" * 5000,
    "99999999999999999999",
    "true",
    "null",
    "\x00",
    '"',
    "'",
    '"""',
    "[[[[",
    "{}",
    "../../x",
    "/etc/passwd",
    "file:///etc/passwd",
    "a" * 200_000,
    "😀",
    "\ufeff",
    "[" * 20_000,
    "x = 1",
    "=",
    ",",
    ";",
    "\t",
    "\r",
)
"""What may stand in a cell, a line or a setting."""

_SPLIT = re.compile(r"([,;\t\n=:\[\]{}\" ])")


def bits(content: bytes, draw: Random) -> bytes:
    """Change, cut, repeat or take away some bytes; write numbers at edges among them."""
    spoiled = bytearray(content)
    for _change in range(draw.choice((1, 1, 1, 2, 4, 16))):
        if not spoiled:
            return bytes(spoiled)
        # Heads decide most: half of all changes lie in the first kilobytes.
        reach = len(spoiled) if draw.random() < 0.5 else min(len(spoiled), 2048)
        place = draw.randrange(reach)
        way = draw.randrange(7)
        if way == 0:
            spoiled[place] ^= 1 << draw.randrange(8)
        elif way == 1:
            spoiled[place] = draw.randrange(256)
        elif way == 2:
            _write_number(spoiled, place, draw)
        elif way == 3:
            del spoiled[place:]
        elif way == 4:
            del spoiled[place : place + draw.choice((1, 2, 4, 100, 5000))]
        elif way == 5:
            piece = spoiled[place : place + draw.choice((1, 4, 12, 500))]
            spoiled[place:place] = piece * draw.choice((1, 2, 50))
        else:
            end = place + draw.choice((1, 4, 64))
            spoiled[place:end] = draw.randbytes(len(spoiled[place:end]))
    return bytes(spoiled)


def _write_number(spoiled: bytearray, place: int, draw: Random) -> None:
    size = draw.choice((1, 2, 4, 8))
    number = draw.choice(EDGES) % 2 ** (8 * size)
    order = draw.choice(("little", "big"))
    spoiled[place : place + size] = number.to_bytes(size, "little" if order == "little" else "big")


def tree(content: bytes, draw: Random) -> bytes:
    """Put something else in one or some places of a JSON file; now and then spoil its bytes."""
    if draw.random() < 0.15:
        return bits(content, draw)
    whole: list[Any] = [json.loads(content)]
    for _change in range(draw.choice((1, 1, 1, 2, 5))):
        holder, key = draw.choice(list(_places(whole)))
        way = draw.randrange(6)
        if way == 0 and holder is not whole:
            del holder[key]
            continue
        if way == 1 and isinstance(holder, list) and holder is not whole:
            holder += [holder[key]] * draw.choice((1, 2, 100))
            continue
        if way == 2 and isinstance(holder, dict):
            holder[draw.choice(WORDS)[:1000]] = holder.pop(key)
            continue
        if way == 3:
            _other, elsewhere = draw.choice(list(_places(whole)))
            holder[key] = json.loads(json.dumps(_other[elsewhere]))
            continue
        holder[key] = deepcopy(draw.choice(HOSTILE))
    text = json.dumps(whole[0])
    if draw.random() < 0.02:
        text = text.replace("null", "[" * DEPTH, 1) if "null" in text else "[" * DEPTH
    return text.encode("utf-8", "surrogatepass")


def _places(whole: list[Any]) -> list[tuple[Any, Any]]:
    """Return every place of a value: what holds it, and under which key."""
    found: list[tuple[Any, Any]] = [(whole, 0)]
    for holder, key in found:
        if len(found) > MOST_PLACES:
            break
        value = holder[key]
        if isinstance(value, dict):
            found += [(value, each) for each in value]
        elif isinstance(value, list):
            found += [(value, index) for index in range(min(len(value), 200))]
    return found


def text(content: bytes, draw: Random) -> bytes:
    """Put other words into a text: cells, lines, settings; now and then spoil its bytes."""
    if draw.random() < 0.15:
        return bits(content, draw)
    parts = _SPLIT.split(content.decode("utf-8", "surrogateescape"))
    for _change in range(draw.choice((1, 1, 2, 5))):
        if not parts:
            break
        place, way = draw.randrange(len(parts)), draw.randrange(4)
        if way == 0:
            parts[place] = draw.choice(WORDS)
        elif way == 1:
            parts[place:place] = [draw.choice(WORDS)]
        elif way == 2:
            del parts[place : place + draw.choice((1, 2, 20))]
        else:
            parts[place:place] = parts[place : place + draw.choice((1, 20, 200))]
    return "".join(parts).encode("utf-8", "surrogateescape")


def packed(inner: Callable[[bytes, Random], bytes]) -> Callable[[bytes, Random], bytes]:
    """Return what spoils a gzipped file: its content, packed anew, or its own bytes."""

    def spoil(content: bytes, draw: Random) -> bytes:
        if draw.random() < 0.3:
            return bits(content, draw)
        if draw.random() < 0.01:
            return gzip.compress(bytes(200_000_000), 1)
        return gzip.compress(inner(gzip.decompress(content), draw), 1)

    return spoil


def png(content: bytes, draw: Random) -> bytes:
    """Spoil a chunk of a PNG and set its checksum right, so that it is looked into."""
    if draw.random() < 0.2:
        return bits(content, draw)
    chunks, place = [], 8
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    number = draw.randrange(len(chunks))
    kind, body = chunks[number]
    chunks[number] = kind, bits(body, draw) or b"\0"
    if draw.random() < 0.1:
        chunks.insert(number, draw.choice(chunks))
    return content[:8] + b"".join(_chunk(*each) for each in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def tags(content: bytes, draw: Random) -> bytes:
    """Spoil a tag of a classic little-endian TIFF: its number, type, count or value."""
    if content[:4] != b"II*\0" or draw.random() < 0.3:
        return bits(content, draw)
    spoiled, (place,) = bytearray(content), struct.unpack_from("<I", content, 4)
    directories: list[tuple[int, int]] = []
    while place and place + 2 <= len(content) and len(directories) < 16:
        (count,) = struct.unpack_from("<H", content, place)
        directories.append((place + 2, count))
        end = place + 2 + 12 * count
        place = struct.unpack_from("<I", content, end)[0] if end + 4 <= len(content) else 0
    for _change in range(draw.choice((1, 1, 2, 3))):
        start, count = draw.choice(directories)
        entry = start + 12 * draw.randrange(max(1, count))
        if entry + 12 > len(spoiled):
            continue
        field, size = draw.choice(((0, 2), (2, 2), (4, 4), (8, 4), (8, 4), (8, 4), (8, 2)))
        value = draw.choice((*EDGES, draw.randrange(600), draw.randrange(2**32))) % 2 ** (8 * size)
        spoiled[entry + field : entry + field + size] = value.to_bytes(size, "little")
    return bytes(spoiled)


def header_of_json(content: bytes, draw: Random) -> bytes:
    """Spoil the JSON of a safetensors file, its length set right, or its bytes."""
    if draw.random() < 0.3:
        return bits(content, draw)
    (length,) = struct.unpack_from("<Q", content)
    header = tree(content[8 : 8 + length], draw)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


SPOILERS: Mapping[str, Callable[[bytes, Random], bytes]] = {
    "bits": bits,
    "json": tree,
    "text": text,
    "png": png,
    "tiff": tags,
    "safetensors": header_of_json,
    "gzip": packed(bits),
    "gzipped json": packed(tree),
}
"""By what a door says its file is."""
