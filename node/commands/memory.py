"""MEMORY: what keys and the server itself take."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError
from slotmesh.node.commands.help import help_reply
from slotmesh.node.memory.used import heap_figures
from slotmesh.node.resp.values import OK, Verbatim
from slotmesh.node.spec.arguments import integer
from slotmesh.node.spec.key_specs import key_at
from slotmesh.node.spec.registry import LOADING, READONLY, STALE, command, container

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_TIPS: Final = (b"nondeterministic_output", b"request_policy:all_shards", b"response_policy:special")
#: What a key costs besides its bytes and its value: its place in a dict, which is two thirds full on average.
KEY_OVERHEAD: Final = 104 // 2 + 8
_LITTLE: Final = 5 << 20

container("memory", group="server", since="4.0.0", summary="Looks at the use of memory.")


@command(
    "memory|usage",
    arity=-3,
    syntax="key [SAMPLES count]",
    flags=READONLY,
    keys=key_at(b"RO", index=2),
    group="server",
    since="4.0.0",
    complexity="O(N), N the samples",
    summary="Estimates the bytes that a key and its value take.",
)
def cmd_memory_usage(client: NodeClient, argv: list[bytes]) -> Any:
    samples = 5
    if len(argv) > 3:
        if len(argv) != 5 or argv[3].lower() != b"samples":
            raise CommandError(errors.SYNTAX)
        samples = integer(argv[4])
        if samples < 0:
            raise CommandError(errors.SYNTAX)
    key = argv[2]
    value = client.db.peek(key)
    if value is None:
        return None
    own = sys.getsizeof(value) if isinstance(value, (bytes, bytearray)) else value.size_bytes(samples or sys.maxsize)
    return sys.getsizeof(key) + KEY_OVERHEAD + own


@command(
    "memory|stats",
    arity=2,
    flags=0,
    group="server",
    since="4.0.0",
    complexity="O(N), N the clients",
    summary="Returns how the memory is used.",
    tips=_TIPS,
)
def cmd_memory_stats(client: NodeClient, argv: list[bytes]) -> Any:
    server = client.server
    fields = server.info.fields("memory")
    used, peak = fields["used_memory"], fields["used_memory_peak"]
    keys = server.keyspace.total_keys()
    startup, overhead = fields["used_memory_startup"], fields["used_memory_overhead"]
    stats: dict[bytes, Any] = {
        b"peak.allocated": peak,
        b"total.allocated": used,
        b"startup.allocated": startup,
        b"replication.backlog": fields["mem_replication_backlog"],
        b"clients.slaves": fields["mem_clients_slaves"],
        b"clients.normal": fields["mem_clients_normal"],
        b"cluster.links": fields["mem_cluster_links"],
        b"aof.buffer": fields["mem_aof_buffer"],
        b"lua.caches": fields["used_memory_scripts_eval"],
        b"functions.caches": fields["used_memory_functions"],
    }
    for db in server.keyspace.dbs:
        if db.size:
            stats[b"db.%d" % db.index] = {
                b"overhead.hashtable.main": db.size * KEY_OVERHEAD,
                b"overhead.hashtable.expires": len(db.expires) * 2 * KEY_OVERHEAD,
                b"overhead.hashtable.slot-to-keys": 0,
            }
    return stats | {
        b"overhead.total": overhead,
        b"keys.count": keys,
        b"keys.bytes-per-key": max(0, used - startup) // keys if keys else 0,
        b"dataset.bytes": fields["used_memory_dataset"],
        b"dataset.percentage": float(fields["used_memory_dataset_perc"].rstrip("%")),
        b"peak.percentage": used * 100 / peak,
        b"allocator.allocated": fields["allocator_allocated"],
        b"allocator.active": fields["allocator_active"],
        b"allocator.resident": fields["allocator_resident"],
        b"allocator-fragmentation.ratio": float(fields["allocator_frag_ratio"]),
        b"allocator-fragmentation.bytes": fields["allocator_frag_bytes"],
        b"allocator-rss.ratio": float(fields["allocator_rss_ratio"]),
        b"allocator-rss.bytes": fields["allocator_rss_bytes"],
        b"rss-overhead.ratio": float(fields["rss_overhead_ratio"]),
        b"rss-overhead.bytes": fields["rss_overhead_bytes"],
        b"fragmentation": float(fields["mem_fragmentation_ratio"]),
        b"fragmentation.bytes": fields["mem_fragmentation_bytes"],
    }


@command(
    "memory|doctor",
    arity=2,
    flags=0,
    group="server",
    since="4.0.0",
    complexity="O(N), N the clients",
    summary="Says what is unusual about the use of memory.",
    tips=_TIPS,
)
def cmd_memory_doctor(client: NodeClient, argv: list[bytes]) -> Any:
    return Verbatim(_doctor(client).encode())


def _doctor(client: NodeClient) -> str:
    server = client.server
    fields = server.info.fields("memory")
    used, peak, startup = fields["used_memory"], fields["used_memory_peak"], fields["used_memory_startup"]
    if used - startup < _LITTLE:
        return "This instance holds next to nothing: there is nothing to diagnose yet.\n"
    findings = []
    if peak > used * 1.5:
        findings.append(
            f"Peak: {fields['used_memory_peak_human']} were in use once, now it is {fields['used_memory_human']}. What "
            "was freed will be used again before the process grows; MEMORY PURGE may give some of it back."
        )
    if float(fields["mem_fragmentation_ratio"]) > 1.5 and fields["mem_fragmentation_bytes"] > 10 << 20:
        findings.append(
            "Fragmentation: the process holds much more memory than its data need. MEMORY PURGE, or a restart of this "
            "node after a failover, gives it back."
        )
    clients = [other for other in server.clients.values() if other.replica is None]
    if clients and fields["mem_clients_normal"] / len(clients) > 200 * 1024:
        findings.append(
            "Clients: they keep more than 200 KB each waiting on average. CLIENT LIST (omem, qbuf) shows who reads too "
            "slowly or sends too much at once."
        )
    if fields["maxmemory"] == 0:
        findings.append("Limit: maxmemory is not set, so the data may grow until the system ends this process.")
    if not findings:
        return "Nothing unusual about the memory of this instance.\n"
    return "".join(f" * {finding}\n\n" for finding in findings)


@command(
    "memory|purge",
    arity=2,
    flags=0,
    group="server",
    since="4.0.0",
    complexity="O(N), N the objects that the collector walks",
    summary="Gives memory that is free inside the process back to the system.",
    tips=(b"request_policy:all_shards", b"response_policy:all_succeeded"),
)
def cmd_memory_purge(client: NodeClient, argv: list[bytes]) -> Any:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return OK


@command(
    "memory|malloc-stats",
    arity=2,
    flags=0,
    group="server",
    since="4.0.0",
    complexity="O(1)",
    summary="Returns figures of the allocators: Python's own and the C library's.",
    tips=_TIPS,
)
def cmd_memory_malloc_stats(client: NodeClient, argv: list[bytes]) -> Any:
    rows = [f"python: {sys.getallocatedblocks()} blocks, collector generations {gc.get_count()}"]
    rows += (f"malloc.{name}: {value}" for name, value in heap_figures().items())
    return Verbatim("".join(f"{row}\n" for row in rows).encode())


@command(
    "memory|help",
    arity=2,
    flags=LOADING | STALE,
    group="server",
    since="4.0.0",
    complexity="O(1)",
    summary="Explains the subcommands.",
)
def cmd_memory_help(client: NodeClient, argv: list[bytes]) -> Any:
    return help_reply(
        b"MEMORY",
        (
            ("DOCTOR", "Say what is unusual about the use of memory."),
            ("MALLOC-STATS", "Show figures of the allocators."),
            ("PURGE", "Give memory that is free inside the process back to the system."),
            ("STATS", "Show how the memory is used."),
            (
                "USAGE <key> [SAMPLES <count>]",
                """Estimate the bytes that <key> and its value take, looking at up to
<count> elements (default: 5, 0: all of them).""",
            ),
        ),
    )
