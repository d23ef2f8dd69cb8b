"""What a script declares about itself: the first line `#!lua name=... flags=...`, as stock 7.0 reads it.

A script without that line is in compatibility mode: it may do anything that its caller may, and is stopped at the
command that is not allowed. One with it is judged before it starts, by the flags it declares.
"""

from __future__ import annotations

from typing import Final

from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.resp.inline import split_args
from slotmesh.node.spec import registry

NO_WRITES: Final = 1 << 0
ALLOW_OOM: Final = 1 << 1
ALLOW_STALE: Final = 1 << 2
NO_CLUSTER: Final = 1 << 3
ALLOW_CROSS_SLOT: Final = 1 << 4
#: No flag of a script: it declared nothing.
COMPATIBLE: Final = 1 << 5

#: In the order in which FUNCTION LIST names them.
NAMES: Final = (
    (NO_WRITES, b"no-writes"),
    (ALLOW_OOM, b"allow-oom"),
    (ALLOW_STALE, b"allow-stale"),
    (NO_CLUSTER, b"no-cluster"),
    (ALLOW_CROSS_SLOT, b"allow-cross-slot-keys"),
)
BY_NAME: Final = {name: flag for flag, name in NAMES}

_BAD_NAME: Final = ErrorReply(
    "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long"
)
_WORD: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def command_flags(command: int, script: int) -> int:
    """The flags by which dispatch judges a command that runs a script with the flags `script`."""
    if script & COMPATIBLE:
        return command
    command &= ~(registry.STALE | registry.DENYOOM | registry.WRITE | registry.MAY_REPLICATE)
    if not script & (ALLOW_OOM | NO_WRITES):
        command |= registry.DENYOOM
    if not script & NO_WRITES:
        command |= registry.WRITE
    if script & ALLOW_STALE:
        command |= registry.STALE
    return command


def parse_script(body: bytes) -> tuple[int, bytes]:
    """(flags, source) of a script for EVAL. The source keeps its line numbers. Raises CommandError."""
    if not body.startswith(b"#!"):
        return COMPATIBLE, body
    end = body.find(b"\n")
    if end < 0:
        raise CommandError("ERR Invalid script shebang")
    words = split_args(body[:end])
    if not words:
        raise CommandError("ERR Invalid engine in script shebang")
    if words[0] != b"#!lua":
        raise CommandError(b"ERR Unexpected engine in script shebang: " + words[0])
    flags = 0
    for word in words[1:]:
        if not word.startswith(b"flags="):
            raise CommandError(b"ERR Unknown lua shebang option: " + word)
        for name in word[6:].split(b",") if word[6:] else ():
            if name not in BY_NAME:
                raise CommandError(b"ERR Unexpected flag in script shebang: " + name)
            flags |= BY_NAME[name]
    return flags, body[end:]


def parse_library(code: bytes) -> tuple[bytes, bytes]:
    """(name, source) of a function library. Raises CommandError."""
    if not code.startswith(b"#!"):
        raise CommandError("ERR Missing library metadata")
    end = code.find(b"\n")
    words = split_args(code[:end]) if end >= 0 else None
    if not words:
        raise CommandError("ERR Invalid library metadata")
    name = None
    for word in words[1:]:
        if word[:5].lower() != b"name=":
            raise CommandError(b"ERR Invalid metadata value given: " + word)
        if name is not None:
            raise CommandError("ERR Invalid metadata value, name argument was given multiple times")
        name = word[5:]
    if name is None:
        raise CommandError("ERR Library name was not given")
    check_name(name)
    if words[0][2:].lower() != b"lua":
        raise CommandError(b"ERR Engine '%b' not found" % words[0][2:])
    return name, code[end:]


def check_name(name: bytes) -> None:
    """Names of libraries and functions are plain words. Raises CommandError."""
    if not name or not _WORD.issuperset(name):
        raise CommandError(_BAD_NAME)
