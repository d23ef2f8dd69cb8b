"""CLUSTER for changing: slots, membership, roles, epochs, the sentinels' guard; ASKING, READONLY, READWRITE.

The core (`cluster.admin`) judges and carries out; here are arguments and replies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.cluster.admin import Admin
from slotmesh.cluster.errors import ClusterRefusal, Condition
from slotmesh.cluster.guard import Fence
from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.client import GATE_ASKING, GATE_READONLY, GATE_REDIRECT
from slotmesh.node.commands.cluster_args import epoch, host_of, order, slot_number, slot_ranges
from slotmesh.node.resp.values import OK, Status
from slotmesh.node.spec.arguments import INT64_MAX, integer, integer_between, wait_timeout_ms
from slotmesh.node.spec.registry import ADMIN, ALLOW_BUSY, FAST, LOADING, NO_ASYNC_LOADING, NOSCRIPT, STALE, command

if TYPE_CHECKING:
    from slotmesh.node.clustering.host import ClusterHost
    from slotmesh.node.clustering.plain_guard import PlainGuard
    from slotmesh.node.server import NodeClient

_FLAGS: Final = ADMIN | STALE | NO_ASYNC_LOADING


def _name(raw: bytes) -> str:
    return raw.decode("latin-1")


def _empty(client: NodeClient) -> bool:
    return not client.server.keyspace.dbs[0].size


@command(
    "cluster|meet",
    arity=-4,
    syntax="ip port [cluster_bus_port]",
    flags=_FLAGS,
    group="cluster",
    since="3.0.0",
    complexity="O(1)",
    summary="Gets to know a node.",
)
def cmd_meet(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) > 5:
        raise CommandError(errors.bad_subcommand_use(b"cluster", argv[1]))
    host_of(client)
    port = integer(argv[3], ErrorReply(b"ERR Invalid TCP base port specified: %b" % argv[3]))
    cport = port + 10000
    if len(argv) == 5:
        cport = integer(argv[4], ErrorReply(b"ERR Invalid TCP bus port specified: %b" % argv[4]))
    order(client, Admin.meet, _name(argv[2]), port, cport)
    return OK


@command(
    "cluster|forget",
    arity=3,
    syntax="node-id",
    flags=_FLAGS,
    group="cluster",
    since="3.0.0",
    complexity="O(1)",
    summary="Removes a node from the table.",
)
def cmd_forget(client: NodeClient, argv: list[bytes]) -> Any:
    order(client, Admin.forget, _name(argv[2]))
    return OK


@command(
    "cluster|reset",
    arity=-2,
    syntax="[HARD | SOFT]",
    flags=ADMIN | STALE | NOSCRIPT,
    group="cluster",
    since="3.0.0",
    complexity="O(N), N the known nodes",
    summary="Forgets the cluster.",
)
def cmd_reset(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) > 3:
        raise CommandError(errors.bad_subcommand_use(b"cluster", argv[1]))
    word = argv[2].upper() if len(argv) == 3 else b"SOFT"
    if word not in (b"HARD", b"SOFT"):
        raise CommandError(errors.SYNTAX)
    order(client, Admin.reset, hard=word == b"HARD", keyspace_empty=_empty(client))
    return OK


# Slots


@command(
    "cluster|addslots",
    arity=-3,
    syntax="slot [slot ...]",
    flags=_FLAGS,
    group="cluster",
    since="3.0.0",
    complexity="O(N), N the slots",
    summary="Owns slots that nobody owns.",
)
def cmd_addslots(client: NodeClient, argv: list[bytes]) -> Any:
    host_of(client)
    order(client, Admin.add_slots, [slot_number(arg) for arg in argv[2:]])
    return OK


@command(
    "cluster|addslotsrange",
    arity=-4,
    syntax="start-slot end-slot [start-slot end-slot ...]",
    flags=_FLAGS,
    group="cluster",
    since="7.0.0",
    complexity="O(N), N the slots",
    summary="Owns ranges of slots that nobody owns.",
)
def cmd_addslotsrange(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) % 2:
        raise CommandError(errors.wrong_arity(b"cluster|addslotsrange"))
    host_of(client)
    order(client, Admin.add_slots, slot_ranges(argv[2:]))
    return OK


@command(
    "cluster|delslots",
    arity=-3,
    syntax="slot [slot ...]",
    flags=_FLAGS,
    group="cluster",
    since="3.0.0",
    complexity="O(N), N the slots",
    summary="Leaves slots without owner.",
)
def cmd_delslots(client: NodeClient, argv: list[bytes]) -> Any:
    host_of(client)
    order(client, Admin.del_slots, [slot_number(arg) for arg in argv[2:]])
    return OK


@command(
    "cluster|delslotsrange",
    arity=-4,
    syntax="start-slot end-slot [start-slot end-slot ...]",
    flags=_FLAGS,
    group="cluster",
    since="7.0.0",
    complexity="O(N), N the slots",
    summary="Leaves ranges of slots without owner.",
)
def cmd_delslotsrange(client: NodeClient, argv: list[bytes]) -> Any:
    if len(argv) % 2:
        raise CommandError(errors.wrong_arity(b"cluster|delslotsrange"))
    host_of(client)
    order(client, Admin.del_slots, slot_ranges(argv[2:]))
    return OK


@command(
    "cluster|flushslots",
    arity=2,
    flags=_FLAGS,
    group="cluster",
    since="3.0.0",
    complexity="O(1)",
    summary="Gives up all slots of this node.",
)
def cmd_flushslots(client: NodeClient, argv: list[bytes]) -> Any:
    order(client, Admin.flush_slots, keyspace_empty=_empty(client))
    return OK


@command(
    "cluster|setslot",
    arity=-4,
    syntax="slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE> [TIMEOUT timeout(integer)]",
    flags=_FLAGS,
    group="cluster",
    since="3.0.0",
    complexity="O(1)",
    summary="Opens, closes or assigns a slot.",
)
def cmd_setslot(client: NodeClient, argv: list[bytes]) -> Any:
    host = host_of(client)
    if host.core.view.myself.is_replica:
        raise CommandError(f"ERR {Condition.SETSLOT_ON_REPLICA.value}")
    slot = slot_number(argv[2])
    action = argv[3].upper()
    timeout_ms = None
    if len(argv) in (6, 7) and argv[-2].upper() == b"TIMEOUT":
        timeout_ms = wait_timeout_ms(argv[-1], client.server.clock.now_ms)
        argv = argv[:-2]
    if action == b"STABLE" and len(argv) == 4:
        order(client, Admin.set_slot_stable, slot)
    elif len(argv) != 5 or action not in (b"MIGRATING", b"IMPORTING", b"NODE"):
        raise CommandError("ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP")
    elif action == b"MIGRATING":
        order(client, Admin.set_slot_migrating, slot, _name(argv[4]))
    elif action == b"IMPORTING":
        order(client, Admin.set_slot_importing, slot, _name(argv[4]))
    else:
        keys = client.server.keyspace.dbs[0].count_in_slot(slot)
        order(client, Admin.set_slot_node, slot, _name(argv[4]), keys_in_slot=keys)
    return OK if timeout_ms is None else _when_replicas_agree(client, host, timeout_ms)


def _when_replicas_agree(client: NodeClient, host: ClusterHost, timeout_ms: int) -> Any:
    """OK once the replicas that work say that they know of the order, which stands in any case; an error in time."""
    agree = host.core.open_slots.replicas_agree
    waiting = client.server.replication.serving.waiting
    return waiting.wait(client, timeout_ms, lambda: (OK, True) if agree() else (errors.NO_REPLICAS, False))


# Roles and epochs


@command(
    "cluster|replicate",
    arity=3,
    syntax="node-id",
    flags=_FLAGS,
    group="cluster",
    since="3.0.0",
    complexity="O(1)",
    summary="Replicates a primary.",
)
def cmd_replicate(client: NodeClient, argv: list[bytes]) -> Any:
    order(client, Admin.replicate, _name(argv[2]), keyspace_empty=_empty(client))
    return OK


@command(
    "cluster|failover",
    arity=-2,
    syntax="[FORCE | TAKEOVER]",
    flags=_FLAGS,
    group="cluster",
    since="3.0.0",
    complexity="O(1)",
    summary="Takes over from this replica's primary.",
)
def cmd_failover(client: NodeClient, argv: list[bytes]) -> Any:
    """`FAILOVER [FORCE|TAKEOVER]`; our sentinels add `FENCE <epoch> <min-config-epoch> [<void after, our clock>]`.

    Such an order is for nodes without a cluster, too.
    """
    plain = client.server.plain_guard
    mode = argv[2].upper() if len(argv) > 2 else b""
    fence = None
    if len(argv) in (6, 7) and mode == b"TAKEOVER" and argv[3].upper() == b"FENCE":
        fence = Fence(*(integer_between(word, 0, INT64_MAX, errors.SYNTAX) for word in argv[4:]))
    elif plain is not None:
        raise CommandError(errors.NO_CLUSTER)
    elif len(argv) > 3:
        raise CommandError(errors.bad_subcommand_use(b"cluster", argv[1]))
    elif mode not in (b"", b"FORCE", b"TAKEOVER"):
        raise CommandError(errors.SYNTAX)
    if plain is not None and fence is not None:
        client.propagate_as()  # what the last of the primary's commands change is propagated as it happens
        try:
            plain.take_over(fence)
        except ClusterRefusal as refusal:
            raise CommandError(f"ERR {refusal}") from None
        return OK
    order(client, Admin.failover, force=mode == b"FORCE", takeover=mode == b"TAKEOVER", fence=fence)
    return OK


@command(
    "cluster|bumpepoch",
    arity=2,
    flags=_FLAGS,
    group="cluster",
    since="3.0.0",
    complexity="O(1)",
    summary="Takes a new config epoch.",
    tips=(b"nondeterministic_output",),
)
def cmd_bumpepoch(client: NodeClient, argv: list[bytes]) -> Any:
    bumped, now = order(client, Admin.bump_epoch)
    return Status(b"%b %d" % (b"BUMPED" if bumped else b"STILL", now))


@command(
    "cluster|set-config-epoch",
    arity=3,
    syntax="config-epoch",
    flags=_FLAGS,
    group="cluster",
    since="3.0.0",
    complexity="O(1)",
    summary="Gives a new node its first config epoch.",
)
def cmd_set_config_epoch(client: NodeClient, argv: list[bytes]) -> Any:
    host_of(client)
    wanted = epoch(argv[2])
    if wanted is None:
        raise CommandError(errors.NOT_INTEGER)
    order(client, Admin.set_config_epoch, wanted)
    return OK


@command(
    "cluster|saveconfig",
    arity=2,
    flags=_FLAGS,
    group="cluster",
    since="3.0.0",
    complexity="O(1)",
    summary="Writes nodes.conf now.",
)
def cmd_saveconfig(client: NodeClient, argv: list[bytes]) -> Any:
    host_of(client).save_config()
    return OK


# The sentinels


def _guarded(client: NodeClient) -> ClusterHost | PlainGuard:
    """Who takes leases here: nodes with a cluster and without one do."""
    return client.server.plain_guard or host_of(client)


@command(
    "cluster|guard",
    arity=-8,
    syntax="name sentinel-id fence-epoch lease-ms voters clock-ms",
    flags=ADMIN | STALE | LOADING | ALLOW_BUSY,
    group="cluster",
    since="0.1.0",
    complexity="O(N), N the sentinels",
    summary="Renews a sentinel's lease on this node's right to accept writes (slotmesh).",
)
def cmd_guard(client: NodeClient, argv: list[bytes]) -> Any:
    """`GUARD <name> <sentinel-id> <sentinel-epoch> <lease-ms> <voters> <echo-ms> [WATCH]`.

    The reply is [clock-ms, fence-epoch, armed, fenced], and the id of the heir where there is one; the rules are in
    `cluster/guard.py` and `sentinel/leases.py`.
    """
    lease_ms, voters, echo_ms = (integer_between(arg, 0, INT64_MAX, errors.NOT_INTEGER) for arg in argv[5:8])
    watch = len(argv) > 8
    if len(argv) > 9 or (watch and argv[8].upper() != b"WATCH"):
        raise CommandError(errors.SYNTAX)
    name, sentinel_id = _name(argv[2]), _name(argv[3])
    try:
        reply = _guarded(client).on_guard(name, sentinel_id, lease_ms, voters, echo_ms, watch=watch)
    except ClusterRefusal as refusal:
        raise CommandError(f"ERR {refusal}") from None
    heir = [reply.heir.encode()] if reply.heir else []
    return [reply.clock_ms, reply.fence_epoch, int(reply.armed), int(reply.fenced), *heir]


@command(
    "cluster|unguard",
    arity=3,
    syntax="name",
    flags=ADMIN | STALE | LOADING,
    group="cluster",
    since="0.1.0",
    complexity="O(1)",
    summary="Ends the guard of a group of sentinels (slotmesh).",
)
def cmd_unguard(client: NodeClient, argv: list[bytes]) -> Any:
    return int(_guarded(client).release_guard(_name(argv[2])))


# Per client


@command(
    "asking",
    arity=1,
    flags=FAST,
    group="cluster",
    since="3.0.0",
    complexity="O(1)",
    summary="Lets the next command use a slot that is being imported.",
    categories=("connection",),
)
def cmd_asking(client: NodeClient, argv: list[bytes]) -> Any:
    host_of(client)
    client.set_gate(GATE_ASKING, True)
    return OK


def _check_has_use(client: NodeClient) -> None:
    """READONLY and READWRITE are for clusters, and for clients that a replica would send to its primary."""
    if not client.gates & GATE_REDIRECT:
        host_of(client)


@command(
    "readonly",
    arity=1,
    flags=LOADING | STALE | FAST,
    group="cluster",
    since="3.0.0",
    complexity="O(1)",
    summary="Accepts reads from this replica.",
    categories=("connection",),
)
def cmd_readonly(client: NodeClient, argv: list[bytes]) -> Any:
    _check_has_use(client)
    client.readonly = True
    client.set_gate(GATE_READONLY, True)
    return OK


@command(
    "readwrite",
    arity=1,
    flags=LOADING | STALE | FAST,
    group="cluster",
    since="3.0.0",
    complexity="O(1)",
    summary="Ends READONLY.",
    categories=("connection",),
)
def cmd_readwrite(client: NodeClient, argv: list[bytes]) -> Any:
    _check_has_use(client)
    client.readonly = False
    client.set_gate(GATE_READONLY, False)
    return OK
