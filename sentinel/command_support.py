"""What the command modules share: reading arguments, finding units, failing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentinel.core import SentinelCore
    from sentinel.instance import Unit

_MAX_DIGITS = 19


class CommandFailure(Exception):
    """A command that cannot be carried out; the text is the error reply, code word first."""


def word(argument: bytes) -> str:
    """An argument as text; any bytes survive the round trip."""
    return argument.decode("utf-8", "surrogateescape")


def strict_number(argument: bytes) -> int | None:
    """A decimal 64-bit integer exactly as the protocol wants it, or None."""
    digits = argument[1:] if argument[:1] == b"-" else argument
    if not digits or len(digits) > _MAX_DIGITS or not all(48 <= digit < 58 for digit in digits):
        return None
    if digits[0] == 48 and argument != b"0":
        return None
    value = int(argument)
    return value if -(2**63) <= value < 2**63 else None


def number(argument: bytes, complaint: str = "value is not an integer or out of range") -> int:
    """A number argument. Raises CommandFailure."""
    value = strict_number(argument)
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
