"""CLUSTER FLUSHSLOT (Valkey 9): the keys of one slot go, the slot stays with whom it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.compat import deletion
from slotmesh.node.base.errors import CommandError
from slotmesh.node.commands.cluster_args import host_of, slot_number
from slotmesh.node.resp.values import OK
from slotmesh.node.spec.registry import ADMIN, NO_ASYNC_LOADING, WRITE, command

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

#: Keys in one DEL for the log and the replicas.
_BATCH: Final = 1000
#: To `changed`: watchers hear of it, as of FLUSHDB; there is no event for each key.
_NO_EVENT: Final = 0


@command(
    "cluster|flushslot",
    arity=-3,
    syntax="slot [ASYNC | SYNC]",
    flags=WRITE | ADMIN | NO_ASYNC_LOADING,
    group="cluster",
    since="9.0.0",
    complexity="O(N), N the keys of the slot",
    summary="Removes all keys that this node holds in a slot.",
    categories=("keyspace",),
)
def cmd_flushslot(client: NodeClient, argv: list[bytes]) -> Any:
    host_of(client)
    slot = slot_number(argv[2])
    mode = argv[3].upper() if len(argv) == 4 else b""
    if len(argv) > 4 or mode not in (b"", b"ASYNC", b"SYNC"):
        raise CommandError(errors.SYNTAX)
    lazy = mode == b"ASYNC" or (not mode and client.server.config.lazyfree_lazy_user_flush)
    db = client.server.keyspace.dbs[0]
    keys = db.keys_in_slot(slot)
    for key in keys:
        db.delete(key)
        db.changed(key, _NO_EVENT, b"")
    name = deletion(lazy=lazy)
    client.propagate_as(*([name, *keys[start : start + _BATCH]] for start in range(0, len(keys), _BATCH)))
    return OK
