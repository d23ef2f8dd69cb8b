"""CLUSTER for reading: what this node believes about the cluster, its slots and its keys in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.cluster import reports
from slotmesh.cluster.members import Member
from slotmesh.cluster.slots import SLOT_COUNT, key_slot
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.cluster_args import host_of
from slotmesh.node.commands.help import help_reply
from slotmesh.node.resp.values import Verbatim
from slotmesh.node.spec.arguments import integer, integer_between
from slotmesh.node.spec.registry import ADMIN, LOADING, STALE, command, container

if TYPE_CHECKING:
    from slotmesh.node.clustering.host import ClusterHost
    from slotmesh.node.server import NodeClient

container("cluster", group="cluster", since="3.0.0", summary="Holds the commands about the cluster.")

_VARYING: Final = (b"nondeterministic_output",)

_HELP: Final = (
    ("COUNTKEYSINSLOT <slot>", "Number of keys that this node holds in a slot."),
    ("GETKEYSINSLOT <slot> <count>", "Up to <count> names of keys that this node holds in a slot."),
    ("INFO", "State, slot counts, epochs and message counters."),
    ("KEYSLOT <key>", "The slot of a key."),
    ("MYID", "The id of this node."),
    ("MYSHARDID", "The id of this node's shard."),
    (
        "NODES",
        "One line per known node:\n<id> <ip:port@bus-port[,hostname]> <flags> <master> <ping> <pong> <epoch> <link> ..",
    ),
    ("LINKS", "The links of the bus to and from every node."),
    ("REPLICAS <node-id>", "The lines of a node's replicas."),
    ("SLOTS", "Ranges of slots with their nodes."),
    (
        "SLOT-STATS (SLOTSRANGE <first> <last> | ORDERBY <metric> [LIMIT <n>] [ASC|DESC])",
        "Keys, and what they cost, of the slots of this node's shard.",
    ),
    ("SHARDS", "Slots and nodes, shard by shard."),
    ("ADDSLOTS <slot> [<slot> ...]", "Own slots that nobody owns."),
    ("ADDSLOTSRANGE <first> <last> [<first> <last> ...]", "The same for ranges."),
    ("DELSLOTS <slot> [<slot> ...]", "Leave slots without owner in this node's view."),
    ("DELSLOTSRANGE <first> <last> [<first> <last> ...]", "The same for ranges."),
    ("FLUSHSLOTS", "Give up all slots of this node; it must be empty."),
    ("SETSLOT <slot> (IMPORTING|MIGRATING|STABLE|NODE <node-id>)", "Open, close or assign a slot."),
    ("MEET <ip> <port> [<bus-port>]", "Get to know a node."),
    ("FORGET <node-id>", "Remove a node from the table."),
    ("REPLICATE <node-id>", "Replicate a primary."),
    ("FAILOVER [FORCE|TAKEOVER]", "Take over from this replica's primary."),
    ("RESET [HARD|SOFT]", "Forget the cluster."),
    ("BUMPEPOCH", "Take a new config epoch."),
    ("SET-CONFIG-EPOCH <epoch>", "Give a new node its first config epoch."),
    ("COUNT-FAILURE-REPORTS <node-id>", "Number of primaries that call a node failing."),
    ("GUARD <name> <sentinel-id> <epoch> <lease-ms> <voters> <clock>", "Renew a sentinel's lease (slotmesh)."),
    ("SAVECONFIG", "Write nodes.conf now."),
)


@command(
    "cluster|help",
    arity=2,
    flags=LOADING | STALE,
    group="cluster",
    since="5.0.0",
    complexity="O(1)",
    summary="Lists the subcommands.",
)
def cmd_help(client: NodeClient, argv: list[bytes]) -> Any:
    host_of(client)
    return help_reply(b"CLUSTER", _HELP)


@command(
    "cluster|info",
    arity=2,
    flags=STALE,
    group="cluster",
    since="3.0.0",
    complexity="O(1)",
    summary="State of the cluster as this node sees it.",
    tips=_VARYING,
)
def cmd_info(client: NodeClient, argv: list[bytes]) -> Any:
    host = host_of(client)
    fields = [
        *reports.info_fields(host.core.view),
        ("total_cluster_links_buffer_limit_exceeded", host.bus.buffer_limit_exceeded),
    ]
    if host.bus.violations:
        fields.append(("total_cluster_links_protocol_violations", host.bus.violations))
    guard_state = host.lease.state()
    if guard_state is not None:
        fields.append(("cluster_guard_state", guard_state))
    return Verbatim("".join(f"{name}:{value}\r\n" for name, value in fields).encode())


@command(
    "cluster|keyslot",
    arity=3,
    syntax="key(string)",
    flags=STALE,
    group="cluster",
    since="3.0.0",
    complexity="O(N), N the bytes of the key",
    summary="The slot of a key.",
)
def cmd_keyslot(client: NodeClient, argv: list[bytes]) -> Any:
    host_of(client)
    return key_slot(argv[2])


@command(
    "cluster|myid",
    arity=2,
    flags=STALE,
    group="cluster",
    since="3.0.0",
    complexity="O(1)",
    summary="The id of this node.",
)
def cmd_myid(client: NodeClient, argv: list[bytes]) -> Any:
    return host_of(client).core.view.myself.node_id.encode()


@command(
    "cluster|myshardid",
    arity=2,
    flags=STALE,
    group="cluster",
    since="7.2.0",
    complexity="O(1)",
    summary="The id of this node's shard.",
)
def cmd_myshardid(client: NodeClient, argv: list[bytes]) -> Any:
    return host_of(client).core.view.myself.shard_id.encode()


@command(
    "cluster|nodes",
    arity=2,
    flags=STALE,
    group="cluster",
    since="3.0.0",
    complexity="O(N), N the nodes",
    summary="The table of nodes, one line each.",
    tips=_VARYING,
)
def cmd_nodes(client: NodeClient, argv: list[bytes]) -> Any:
    host = host_of(client)
    seen_from = host.routing.view_host(client)
    return Verbatim(reports.nodes_text(host.core.view, seen_from=seen_from).encode())


def _cmd_replicas(client: NodeClient, argv: list[bytes]) -> Any:
    view = host_of(client).core.view
    member = view.members.get(argv[2].decode("latin-1"))
    if member is None:
        raise CommandError(b"ERR Unknown node %b" % argv[2])
    if member.is_replica:
        raise CommandError("ERR The specified node is not a master")
    return [reports.node_line(view, replica).encode() for replica in member.replicas]


for _name, _deprecated in (("cluster|replicas", None), ("cluster|slaves", ("5.0.0", "`CLUSTER REPLICAS`"))):
    command(
        _name,
        arity=3,
        syntax="node-id",
        flags=ADMIN | STALE,
        group="cluster",
        since="5.0.0" if _deprecated is None else "3.0.0",
        complexity="O(N), N the replicas",
        summary="The lines of a primary's replicas.",
        deprecated=_deprecated,
        tips=_VARYING,
    )(_cmd_replicas)


def _endpoints(host: ClusterHost, member: Member, client: NodeClient) -> list[Any]:
    """A node as CLUSTER SLOTS shows it: endpoint, port, id, and the addresses that the endpoint leaves out."""
    kind = host.state.config.cluster_preferred_endpoint_type
    endpoint, port = host.routing.endpoint(member, client)
    others: dict[bytes, bytes] = {}
    if kind != "ip":
        others[b"ip"] = member.ip.encode()
    if kind != "hostname" and member.hostname:
        others[b"hostname"] = member.hostname.encode()
    return [None if kind == "unknown-endpoint" else endpoint, port, member.node_id.encode(), others]


@command(
    "cluster|slots",
    arity=2,
    flags=STALE,
    group="cluster",
    since="3.0.0",
    complexity="O(N), N the ranges of slots",
    summary="Ranges of slots with the nodes that serve them.",
    tips=_VARYING,
)
def cmd_slots(client: NodeClient, argv: list[bytes]) -> Any:
    host = host_of(client)
    return [
        [run.first, run.last, *(_endpoints(host, member, client) for member in (run.primary, *run.replicas))]
        for run in reports.slot_ranges(host.core.view)
    ]


@command(
    "cluster|shards",
    arity=2,
    flags=STALE,
    group="cluster",
    since="7.0.0",
    complexity="O(N), N the nodes",
    summary="Slots and nodes, shard by shard.",
    tips=_VARYING,
)
def cmd_shards(client: NodeClient, argv: list[bytes]) -> Any:
    host = host_of(client)
    report = reports.shards_by_id if COMPAT.newer else reports.shards
    return [
        {
            b"slots": [edge for run in shard.slots.ranges() for edge in run],
            b"nodes": [_shard_node(host, member, client) for member in shard.nodes],
        }
        for shard in report(host.core.view)
    ]


def _shard_node(host: ClusterHost, member: Member, client: NodeClient) -> dict[bytes, Any]:
    view = host.core.view
    endpoint, port = host.routing.endpoint(member, client)
    seen_from = host.routing.view_host(client)
    fields: dict[bytes, Any] = {
        b"id": member.node_id.encode(),
        b"port": port,
        b"ip": seen_from.encode() or member.ip.encode(),
        b"endpoint": endpoint,
    }
    if member.hostname:
        fields[b"hostname"] = member.hostname.encode()
    fields[b"role"] = b"replica" if member.is_replica else b"master"
    fields[b"replication-offset"] = reports.offset_of(view, member)
    fields[b"health"] = reports.health_of(view, member).encode()
    return fields


@command(
    "cluster|links",
    arity=2,
    flags=STALE,
    group="cluster",
    since="7.0.0",
    complexity="O(N), N the nodes",
    summary="The links of the bus.",
    tips=_VARYING,
)
def cmd_links(client: NodeClient, argv: list[bytes]) -> Any:
    host = host_of(client)
    found = []
    for link in reports.links(host.core.view):
        assert link.member is not None
        waiting = host.bus.backlog_bytes(link.link_id)
        found.append(
            {
                b"direction": b"from" if link.inbound else b"to",
                b"node": link.member.node_id.encode(),
                b"create-time": link.created_ms,
                b"events": b"rw" if waiting else b"r",
                b"send-buffer-allocated": waiting,
                b"send-buffer-used": waiting,
            }
        )
    return found


@command(
    "cluster|count-failure-reports",
    arity=3,
    syntax="node-id",
    flags=ADMIN | STALE,
    group="cluster",
    since="3.0.0",
    complexity="O(N), N the reports",
    summary="Number of primaries that call a node failing.",
    tips=_VARYING,
)
def cmd_count_failure_reports(client: NodeClient, argv: list[bytes]) -> Any:
    host = host_of(client)
    node_id = argv[2].decode("latin-1")
    if host.core.view.members.get(node_id) is None:
        raise CommandError(f"ERR Unknown node {node_id}")
    return host.core.admin(host.clock.now_ms()).count_failure_reports(node_id)


@command(
    "cluster|countkeysinslot",
    arity=3,
    syntax="slot",
    flags=STALE,
    group="cluster",
    since="3.0.0",
    complexity="O(1)",
    summary="Number of keys that this node holds in a slot.",
)
def cmd_countkeysinslot(client: NodeClient, argv: list[bytes]) -> Any:
    host_of(client)
    return client.server.keyspace.dbs[0].count_in_slot(_slot(argv[2]))


@command(
    "cluster|getkeysinslot",
    arity=4,
    syntax="slot count",
    flags=STALE,
    group="cluster",
    since="3.0.0",
    complexity="O(N), N the requested keys",
    summary="Names of keys that this node holds in a slot.",
    tips=_VARYING,
)
def cmd_getkeysinslot(client: NodeClient, argv: list[bytes]) -> Any:
    host_of(client)
    bad = ErrorReply("ERR Invalid slot or number of keys")
    slot = integer_between(argv[2], 0, SLOT_COUNT - 1, bad)
    count = integer_between(argv[3], 0, 2**63 - 1, bad)
    return client.server.keyspace.dbs[0].keys_in_slot(slot, count)


def _slot(text: bytes) -> int:
    slot = integer(text)
    if not 0 <= slot < SLOT_COUNT:
        raise CommandError("ERR Invalid slot")
    return slot
