"""Marker commands: what only our servers understand, said to logs and replicas in a command that does nothing
elsewhere.

A command that a stock server does not know cannot simply be sent: between MULTI and EXEC it makes a stock replica throw
the whole transaction away, and a stock server loads no log that has it. So it is sent as a script that is nothing but a
comment, with the command's name in it, its key as the key and its arguments behind:

    XIDMPRECORD key pid iid id   ->   EVAL "-- XIDMPRECORD" 1 key pid iid id

Any server runs that, indivisibly and without effect, and sees which key it is about. Ours take it for the command when
it comes from their primary or from their log (`node/commands/scripting.py`).
"""

from __future__ import annotations

from typing import Final

_COMMENT: Final = b"-- "


def marker(name: bytes, key: bytes, *words: bytes) -> list[bytes]:
    """The marker command that stands for a command `name` about one key."""
    return [b"EVAL", _COMMENT + name, b"1", key, *words]


def marked(argv: list[bytes]) -> list[bytes] | None:
    """The command that an EVAL stands for, if it is a marker. Whether its name means anything is not asked here."""
    script = argv[1]
    if not script.startswith(_COMMENT) or len(argv) < 4 or argv[2] != b"1" or not script[3:].isalpha():
        return None
    return [script[3:], *argv[3:]]
