"""The subcommands of DEBUG that make faults happen: lost frames of the bus, broken links, slow writes, bad checksums.

Tests of a cluster's or a client's robustness need them to be had on demand. Each switch lives where the fault happens
(`Bus.drop_type`, `Aof.write_delay_us`); this module only turns it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slotmesh.node.base.errors import CommandError
from slotmesh.node.commands.cluster_args import host_of
from slotmesh.node.resp.values import OK
from slotmesh.node.spec.arguments import integer

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient


def drop_packets(client: NodeClient, argv: list[bytes]) -> Any:
    """Frames of the bus of this type do not arrive from now on; -1: all do."""
    host_of(client).bus.drop_type = integer(argv[2])
    return OK


def close_on_drop(client: NodeClient, argv: list[bytes]) -> Any:
    """Whether a dropped frame takes its link with it."""
    host_of(client).bus.close_on_drop = argv[2] != b"0"
    return OK


def kill_link(client: NodeClient, argv: list[bytes]) -> Any:
    """Break our link to a node, its link to us, or both."""
    if argv[2].lower() != b"kill":
        raise CommandError(b"ERR unknown subcommand or wrong number of arguments for '%b'. Try DEBUG HELP." % argv[1])
    if client.server.cluster is None:
        raise CommandError("ERR Debug option only available for cluster mode enabled setup!")
    host, direction = client.server.cluster, argv[3].lower()
    member = host.core.view.members.get(argv[4].decode("latin-1"))
    if member is None:
        raise CommandError(b"ERR Unknown node %b" % argv[4])
    if member.is_myself:
        raise CommandError("ERR Cannot free cluster link(s) to myself")
    if direction not in (b"to", b"from", b"all"):
        raise CommandError(b"ERR Unknown direction %b" % argv[3])
    for link, word in ((member.link, b"to"), (member.inbound, b"from")):
        if link is not None and direction in (word, b"all"):
            host.bus.break_link(link.link_id)
    return OK


def skip_checksums(client: NodeClient, argv: list[bytes]) -> Any:
    """Whether RDB files and payloads are taken whatever their checksum says."""
    client.server.persistence.verify_checksums = argv[2] == b"0"
    return OK


def slow_log_writes(client: NodeClient, argv: list[bytes]) -> Any:
    """Every write to the append-only file is preceded by so many microseconds of sleep."""
    client.server.persistence.aof.write_delay_us = max(0, integer(argv[2]))
    return OK


def reply_buffers(client: NodeClient, argv: list[bytes]) -> Any:
    """How fixed reply buffers are resized. There are none here, so whatever is said of them holds."""
    what = argv[2].lower()
    if what == b"resizing":
        return OK
    if what != b"peak-reset-time":
        raise CommandError("ERR syntax error")
    if argv[3].lower() not in (b"never", b"reset"):
        integer(argv[3])
    return OK
