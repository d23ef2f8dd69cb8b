"""May this user run this request? The ACL step of dispatch, and the same question for ACL DRYRUN.

Rights are judged per selector: one of them must allow the command, every database, every key and every channel. What a
command does with its keys (reads, changes) comes from its key specifications; for the few whose effect depends on their
options (`SET ... GET`, `BITFIELD`) it is worked out from the arguments.

The databases of a request are the selected one, if the command has to do with keys, and those that it names (SELECT,
SWAPDB, MOVE, COPY); FLUSHALL needs all. Rules and rights about databases are those of Valkey 9.1.
"""

from __future__ import annotations

from typing import Final, Protocol

from slotmesh.cluster.numbers import to_uint
from slotmesh.node.acl.rules import READ, WRITE, Selector, User
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError
from slotmesh.node.base.glob import match
from slotmesh.node.clients.client import GATE_ACL, Client
from slotmesh.node.spec.registry import NO_AUTH, CommandSpec

# Why a request is denied, in the order in which stock prefers to tell.
ALLOWED: Final = 0
DENIED_DATABASE: Final = 1
DENIED_COMMAND: Final = 2
DENIED_KEY: Final = 3
DENIED_CHANNEL: Final = 4
DENIED_AUTH: Final = 5

#: Commands with channels: (last argument that is one, whether they are patterns). Leaving a channel needs no right.
CHANNEL_COMMANDS: Final = {
    b"subscribe": (-1, False),
    b"ssubscribe": (-1, False),
    b"psubscribe": (-1, True),
    b"publish": (1, False),
    b"spublish": (1, False),
}
#: Commands that name databases: at which arguments, and whether they use the selected one as well.
_NAMED_DATABASES: Final = {b"select": ((1,), False), b"swapdb": ((1, 2), False), b"move": ((2,), True)}
_EVERY_DATABASE: Final = (b"flushall",)
_READ_WRITE: Final = (b"RW", b"ACCESS", b"UPDATE")
_WRITES: Final = frozenset((b"INSERT", b"DELETE", b"UPDATE"))

KeyAccess = list[tuple[int, int]]


class DenialLog(Protocol):
    """Where denials are noted."""

    def add(self, client: Client, reason: int, what: bytes) -> None:
        """`client` was denied something, named `what`, for a `reason` of those above."""


def check_acl(log: DenialLog, client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
    """Whether the client's user may run this command on these keys and channels. Raises CommandError (NOPERM)."""
    verdict = denied(log, client, spec, argv)
    if verdict == ALLOWED:
        return
    if verdict == DENIED_DATABASE:
        raise CommandError("NOPERM No permissions to access database")
    if COMPAT.newer:
        raise CommandError(_newer_denial(verdict, client.user, spec))
    if verdict == DENIED_COMMAND:
        raise CommandError(b"NOPERM this user has no permissions to run the '%b' command" % spec.full_name)
    what = b"keys" if verdict == DENIED_KEY else b"channels"
    raise CommandError(b"NOPERM this user has no permissions to access one of the %b used as arguments" % what)


def _newer_denial(verdict: int, user: User, spec: CommandSpec) -> bytes:
    """The words of level 7.2."""
    if verdict == DENIED_COMMAND:
        return b"NOPERM User %b has no permissions to run the '%b' command" % (user.name, spec.full_name)
    return b"NOPERM No permissions to access a " + (b"key" if verdict == DENIED_KEY else b"channel")


def denied(log: DenialLog, client: Client, spec: CommandSpec, argv: list[bytes]) -> int:
    """ALLOWED, or why a request is denied; a denial goes to the ACL log."""
    if not client.gates & GATE_ACL:
        return ALLOWED
    # What is queued in a transaction will work on the database that the transaction selects.
    database = client.db.index if client.queued_db is None else client.queued_db
    verdict, blamed = judge(client.user, spec, argv, database)
    if verdict != ALLOWED:
        log.add(client, verdict, blamed_word(verdict, blamed, spec, argv))
    return verdict


def blamed_word(verdict: int, blamed: int, spec: CommandSpec, argv: list[bytes]) -> bytes:
    """What a denial is about: the command, the key, the channel, or the number of the database."""
    if verdict == DENIED_COMMAND:
        return spec.full_name
    return b"%d" % blamed if verdict == DENIED_DATABASE else argv[blamed]


def judge(user: User, spec: CommandSpec, argv: list[bytes], database: int) -> tuple[int, int]:
    """(ALLOWED, 0), or the reason of the denial and what is to blame: a database, else the index of an argument."""
    access: KeyAccess | None = None
    worst, blamed = DENIED_DATABASE, 0
    for selector in user.selectors:
        if access is None and not selector.all_keys:
            access = key_access(spec, argv)
        verdict, index = _judge_selector(selector, spec, argv, access or [], database)
        if verdict == ALLOWED:
            return ALLOWED, 0
        if verdict > worst or (verdict == worst and index > blamed):
            worst, blamed = verdict, index
    return worst, blamed


def _judge_selector(
    selector: Selector, spec: CommandSpec, argv: list[bytes], access: KeyAccess, database: int
) -> tuple[int, int]:
    if not selector.all_commands and not spec.flags & NO_AUTH and not _may_run(selector, spec, argv):
        return DENIED_COMMAND, 0
    if selector.databases is not None:
        if spec.full_name in _EVERY_DATABASE:
            return DENIED_DATABASE, database
        for used in _databases_of(spec, argv, database):
            if used not in selector.databases:
                return DENIED_DATABASE, used
    if not selector.all_keys:
        for index, needed in access:
            if not may_touch(selector, argv[index], needed):
                return DENIED_KEY, index
    channels = CHANNEL_COMMANDS.get(spec.full_name)
    if channels is not None and not selector.all_channels:
        last, are_patterns = channels
        for index in range(1, len(argv) if last < 0 else last + 1):
            if not may_listen(selector.channels, argv[index], are_patterns):
                return DENIED_CHANNEL, index
    return ALLOWED, 0


def _databases_of(spec: CommandSpec, argv: list[bytes], selected: int) -> list[int]:
    """The databases that a request works on. What is no number is left out: the command refuses it."""
    if spec.name == b"copy":
        places = tuple(i + 1 for i in range(3, len(argv) - 1) if argv[i].upper() == b"DB")
        uses_selected = True
    else:
        about_keys = bool(spec.key_specs) or spec.find_keys is not None or "keyspace" in spec.categories
        places, uses_selected = _NAMED_DATABASES.get(spec.full_name, ((), about_keys))
    named = [number for place in places if (number := to_uint(argv[place])) is not None]
    return [selected, *named] if uses_selected else named


def _may_run(selector: Selector, spec: CommandSpec, argv: list[bytes]) -> bool:
    if spec.full_name in selector.commands:
        return True
    arguments = selector.first_args.get(spec.full_name)
    return arguments is not None and len(argv) > 1 and argv[1].lower() in arguments


def may_touch(selector: Selector, key: bytes, needed: int) -> bool:
    """Whether a selector allows reading and/or changing a key."""
    return any(permission & needed == needed and match(pattern, key) for pattern, permission in selector.keys.items())


def may_listen(allowed: list[bytes], channel: bytes, is_pattern: bool) -> bool:
    """Whether a channel is among the allowed ones; a pattern must be listed literally."""
    if is_pattern:
        return channel in allowed
    return any(match(pattern, channel) for pattern in allowed)


def key_access(spec: CommandSpec, argv: list[bytes]) -> KeyAccess:
    """(index, READ and WRITE bits) for every key in a request."""
    return [(index, _needed(flags)) for index, flags in key_flags(spec, argv)]


def _needed(flags: tuple[bytes, ...]) -> int:
    upper = {flag.upper() for flag in flags}
    return (READ if b"ACCESS" in upper else 0) | (WRITE if upper & _WRITES else 0)


def key_flags(spec: CommandSpec, argv: list[bytes]) -> list[tuple[int, tuple[bytes, ...]]]:
    """(index, flags) for every key in a request; the flags are those of COMMAND INFO's key specifications."""
    found: dict[int, tuple[bytes, ...]] = {}
    # SORT names its destination by an option that no key specification can point at.
    undeclared: tuple[bytes, ...] = (b"OW", b"UPDATE") if spec.name == b"sort" else _READ_WRITE
    for key_spec in spec.key_specs:
        flags = key_spec.flags
        lower = {flag.lower() for flag in flags}
        if b"not_key" in lower:
            continue
        if b"variable_flags" in lower:
            flags = _variable_flags(spec.name, argv)
        for index in key_spec.positions(argv):
            found.setdefault(index, flags)
    if spec.find_keys is not None:  # the specs are incomplete then, and may name what is no key
        return sorted((index, found.get(index, undeclared)) for index in spec.find_keys(argv))
    return sorted(found.items())


def _variable_flags(name: bytes, argv: list[bytes]) -> tuple[bytes, ...]:
    """What commands whose options decide it do with their key."""
    if name == b"bitfield":
        changes = {b"SET", b"INCRBY"} & {word.upper() for word in argv[2:]}
        return _READ_WRITE if changes else (b"RO", b"ACCESS")
    if name == b"set":
        reads = b"GET" in {word.upper() for word in argv[3:]}
        return _READ_WRITE if reads else (b"OW", b"UPDATE")
    return _READ_WRITE
