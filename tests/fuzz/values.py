"""The values that break things, and ways to damage what is well-formed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from random import Random

NUMBERS = (0, 1, 2, 5, 255, 16383, 16384, 65535, 65536, 2**31, 2**32 - 1, 2**62, 2**62 + 1, 2**63 - 1, 2**63, 2**64 - 1)
NUMBER_TEXTS = (
    *(str(number) for number in NUMBERS),
    "-1",
    "+1",
    "007",
    "1_0",
    " 1",
    "1.5",
    "0x10",
    "abc",
    "",
    "²",
    "٣",
    "9" * 30,
    "9" * 5000,
)
HOSTS = (
    "10.0.0.7",
    "127.0.0.1",
    "::1",
    "fe80::1%eth0",
    "",
    "localhost",
    "db.example",
    "x" * 64,
    "a..b",
    ".",
    "-",
    "1" * 46,
    "10.1",
    "10.0.0.1:7000@17000",
)
TEXTS = (*HOSTS, "a b", "a,b", 'a"b', "a'b", "a\\b", "a\nb", "a\r\nb", "a\0b", "#", "sentinel", "é", "\udcff", "*", "?")


def damage(rng: Random, data: bytes) -> bytes:
    """`data` with a few bytes or pieces changed, moved, doubled, lost or cut off."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        if not out:
            return rng.randbytes(20)
        at = rng.randrange(len(out))
        kind = rng.randrange(6)
        if kind == 0:
            out[at] = rng.randrange(256)
        elif kind == 1:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del out[at : at + rng.randrange(1, 60)]
        elif kind == 3:
            out[at:at] = out[at : at + rng.randrange(1, 60)]
        elif kind == 4:
            out[at : at + 8] = rng.choice((b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 7))
        else:
            del out[at:]
    return bytes(out)


def damage_text(rng: Random, text: str) -> bytes:
    """A file with words replaced, lines doubled, dropped or swapped, or plain damage."""
    lines = [line.split(" ") for line in text.splitlines()]
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not lines:
            break
        at = rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind <= 2:
            lines[at][rng.randrange(len(lines[at]))] = rng.choice((*NUMBER_TEXTS, *TEXTS))
        elif kind == 3:
            lines.insert(rng.randrange(len(lines)), list(lines[at]))
        elif kind == 4:
            del lines[at]
        else:
            other = rng.randrange(len(lines))
            one, two = rng.randrange(len(lines[at])), rng.randrange(len(lines[other]))
            lines[at][one], lines[other][two] = lines[other][two], lines[at][one]
    data = "\n".join(" ".join(words) for words in lines).encode("utf-8", "surrogateescape") + b"\n"
    return damage(rng, data) if rng.random() < 0.3 else data


def assert_same(restarted: Sequence[object], before: Sequence[object]) -> None:
    """What was read back is what was written; says where it differs."""
    for position, (one, two) in enumerate(zip_longest(restarted, before)):
        assert one == two, f"item {position} was {two!r} and is {one!r} after a restart"
