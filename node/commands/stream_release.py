"""XNACK: giving pending entries back, so that another consumer may have them at once (Redis 8.8).

A released entry stays pending, but nobody owns it. Neither the stock server of the 7.0 line nor its files know such
entries, so what goes to the AOF, the replicas and RDB files says it in their words (`node/keyspace/nack_encoding.py`):
the entry belongs to a consumer with an empty name and was delivered at time 0. There it can be claimed at once as well,
which is what matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.stream_args import find_group, must_obey, no_group, strict_id
from slotmesh.node.keyspace.nack_encoding import is_release_command, release_command
from slotmesh.node.keyspace.notify import NO_EVENT
from slotmesh.node.spec.arguments import INT64_MAX, integer, integer_between
from slotmesh.node.spec.key_specs import KEY_UPDATE
from slotmesh.node.spec.registry import FAST, WRITE, command
from slotmesh.node.types.stream_group import MAX_DELIVERIES

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient
    from slotmesh.node.types.stream import StreamValue
    from slotmesh.node.types.stream_group import Group

_MODES: Final = (b"SILENT", b"FAIL", b"FATAL")
_BAD_MODE: Final = ErrorReply("ERR mode must be SILENT, FAIL, or FATAL")
_NO_IDS: Final = ErrorReply("ERR syntax error, expected IDS keyword")
_BAD_NUMIDS: Final = ErrorReply("ERR numids must be a positive integer")
_NUMIDS_MISMATCH: Final = ErrorReply("ERR number of IDs doesn't match numids")
_BAD_RETRYCOUNT: Final = ErrorReply("ERR Invalid RETRYCOUNT value, must be >= 0")
_KEEP: Final = -1


class _Request:
    """What is to be released, and how."""

    __slots__ = ("_mode", "_retry_count", "force", "ids")

    def __init__(self, argv: list[bytes]) -> None:
        """Parse `<mode> [FORCE] [RETRYCOUNT n] IDS n id... [FORCE] [RETRYCOUNT n]`. Raises CommandError."""
        self._mode = argv[3].upper()
        if self._mode not in _MODES:
            raise CommandError(_BAD_MODE)
        self.force, self._retry_count = False, _KEEP
        ids: list[int] | None = None
        at = 4
        while at < len(argv):
            word, left = argv[at].upper(), len(argv) - 1 - at
            if word == b"FORCE":
                self.force = True
                at += 1
            elif word == b"RETRYCOUNT" and left:
                self._retry_count = integer(argv[at + 1])
                if self._retry_count < 0:
                    raise CommandError(_BAD_RETRYCOUNT)
                at += 2
            elif word == b"IDS" and left and ids is None:
                count = integer_between(argv[at + 1], 1, INT64_MAX, _BAD_NUMIDS)
                if count > left - 1:
                    raise CommandError(_NUMIDS_MISMATCH)
                at += 2
                ids = [strict_id(text) for text in argv[at : at + count]]
                at += count
            else:
                raise CommandError(b"ERR Unrecognized XNACK option '%b'" % argv[at])
        if ids is None:
            raise CommandError(_NO_IDS)
        self.ids = ids

    def count_after(self, count: int) -> int:
        """How often an entry that was delivered `count` times shall have been."""
        if self._retry_count != _KEEP:
            return self._retry_count
        if self._mode == b"FATAL":
            return MAX_DELIVERIES
        return max(0, count - 1) if self._mode == b"SILENT" else count


@command(
    "xnack",
    arity=-7,
    syntax="key group <SILENT | FAIL | FATAL> IDS numids id [id ...] [RETRYCOUNT count] [FORCE]",
    flags=WRITE | FAST,
    keys=KEY_UPDATE,
    group="stream",
    since="8.8.0",
    complexity="O(1) per entry",
    summary="Gives pending entries back to their group, where any consumer may claim them at once.",
)
def cmd_xnack(client: NodeClient, argv: list[bytes]) -> Any:
    key, name = argv[1], argv[2]
    found = find_group(client, key, name)
    if found is None:
        raise CommandError(no_group(key, name))
    value, group = found
    request = _Request(argv)
    commands: list[list[bytes]] = []
    for entry_id in request.ids:
        pending = group.pel.get(entry_id)
        if pending is None and (not request.force or value.get(entry_id) is None):
            continue
        count = request.count_after(0 if pending is None else pending.count)
        group.release(entry_id, count)
        commands.append(release_command(key, group, entry_id, count))
    if commands:
        client.db.changed(key, NO_EVENT, b"xnack", len(commands))
        client.propagate_as(*commands)
    return len(commands)


def is_release(client: NodeClient, argv: list[bytes]) -> bool:
    """Whether an XCLAIM tells of a released entry: it must come from our primary or the append-only file."""
    return is_release_command(argv) and must_obey(client)


def obey_release(client: NodeClient, argv: list[bytes], value: StreamValue, group: Group) -> list[bytes]:
    """Do what a `release_command` says; the reply of such an XCLAIM."""
    entry_id, count = strict_id(argv[5]), integer(argv[11])
    group.last_id = max(group.last_id, strict_id(argv[15]))
    if entry_id not in group.pel and value.get(entry_id) is None:
        return []
    group.release(entry_id, count)
    client.db.changed(argv[1], NO_EVENT, b"xnack")
    return [argv[5]]
