"""What the command modules share: reading arguments, finding units, failing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slotmesh.cluster.numbers import to_int64

if TYPE_CHECKING:
    from slotmesh.sentinel.core import SentinelCore
    from slotmesh.sentinel.instance import Unit


class CommandFailure(Exception):
    """A command that cannot be carried out; the text is the error reply, code word first."""


def word(argument: bytes) -> str:
    """An argument as text; any bytes survive the round trip."""
    return argument.decode("utf-8", "surrogateescape")


def number(argument: bytes, complaint: str = "value is not an integer or out of range") -> int:
    """A number argument. Raises CommandFailure."""
    value = to_int64(argument)
    if value is None:
        raise CommandFailure(f"ERR {complaint}")
    return value


def unit_of(core: SentinelCore, name: bytes) -> Unit:
    """The unit a command names. Raises CommandFailure."""
    unit = core.ctx.units.get(word(name))
    if unit is not None:
        return unit
    guard = core.ctx.guards.get(word(name))
    if guard is not None and guard.units:
        first = next(iter(guard.units))
        raise CommandFailure(f"ERR '{guard.name}' is a guarded cluster: name one of its shards, like '{first}'")
    raise CommandFailure("ERR No such master with that name")
