"""One line about a client, as CLIENT LIST, CLIENT INFO and ACL LOG show it. Field names and order are those of the
stock server: of 7.0, or at level 7.2 those that Valkey 8 has.

In 7.0's lines `lib-name` and `lib-ver` follow only once CLIENT SETINFO was said. Memory fields count what a client
makes us hold: bytes not parsed yet, queued commands, replies not sent yet; we keep no fixed buffers per client, so
`rbs` and `rbp` are the size of the replies of the current pass.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.clients.client import (
    GATE_IMPORT,
    GATE_MONITOR,
    GATE_PRIMARY,
    GATE_READONLY,
    KIND_NORMAL,
    KIND_PRIMARY,
    KIND_PUBSUB,
    KIND_REPLICA,
)
from slotmesh.node.resp.encoder import encode_command

if TYPE_CHECKING:
    from slotmesh.node.clients.client import Client

#: The words for client types in CLIENT LIST TYPE and CLIENT KILL TYPE.
TYPE_NAMES: Final = {
    b"normal": KIND_NORMAL,
    b"slave": KIND_REPLICA,
    b"replica": KIND_REPLICA,
    b"pubsub": KIND_PUBSUB,
    b"master": KIND_PRIMARY,
    b"primary": KIND_PRIMARY,
}
#: What an idle client costs: the object and its containers.
_BASE_BYTES: Final = 2048
#: What a name that a client watches or listens to costs besides its bytes.
NAME_BYTES: Final = 100


def is_local(client: Client) -> bool:
    """Whether a client is connected from this machine, for what only `local` ones may do. Stand-ins are."""
    return client.sock is None or client.addr.startswith(("127.0.0.1:", "[::1]:", "/"))


def flags_of(client: Client) -> bytes:
    """The letters of the `flags` field."""
    tracking = client.tracking
    letters = (
        ("O", bool(client.gates & GATE_MONITOR)),
        ("S", client.replica is not None),
        ("M", bool(client.gates & GATE_PRIMARY)),
        ("P", bool(client.channels or client.patterns or client.shard_channels)),
        ("x", client.multi is not None or client.in_exec),
        ("b", client.blocked is not None or client.held),
        ("t", tracking is not None),
        ("R", tracking is not None and tracking.broken_redirect),
        ("B", tracking is not None and tracking.broadcast),
        ("d", client.watch_broken),
        ("c", client.close_after_reply),
        ("A", client.close_at_once),
        ("U", client.sock is not None and client.sock.family == socket.AF_UNIX),
        ("r", bool(client.gates & GATE_READONLY)),
        ("e", client.no_evict),
        ("T", client.no_touch),
        ("I", bool(client.gates & GATE_IMPORT)),
    )
    return "".join(letter for letter, on in letters if on).encode() or b"N"


def queued_bytes(client: Client) -> int:
    """Arguments held for MULTI."""
    return sum(sum(map(len, argv)) for _, argv in client.multi or ())


def output_bytes(client: Client) -> int:
    """Replies not sent yet, those of the current pass left out."""
    return client.unsent_bytes


def memory_bytes(client: Client) -> int:
    """All that a client makes us hold (an estimate)."""
    return kept_bytes(client) + _reply_bytes(client)


def kept_bytes(client: Client) -> int:
    """What a client makes us hold beyond this pass, at the end of which its replies leave."""
    held = client.parser.held_bytes if client.parser is not None else 0
    waiting = sum(sum(map(len, argv)) for argv in client.commands)
    names = sum(len(name) + NAME_BYTES for name in (*client.channels, *client.patterns, *client.shard_channels))
    names += sum(len(key) + NAME_BYTES for _, key in client.watched)
    if client.tracking is not None:
        names += sum(len(prefix) + NAME_BYTES for prefix in client.tracking.prefixes)
    return _BASE_BYTES + held + waiting + names + queued_bytes(client) + output_bytes(client)


def _reply_bytes(client: Client) -> int:
    return sum(map(len, client.out))


def _input_bytes(client: Client, running: list[bytes]) -> int:
    """Bytes of requests that we hold: those not parsed yet, and in terms of 7.0 the command under way as well."""
    held = client.parser.held_bytes if client.parser is not None else 0
    if COMPAT.newer:
        return held
    return held + (len(encode_command(running)) if running else 0)


def describe_client(client: Client, argv: list[bytes] | None = None) -> bytes:
    """The line, without a line break. `argv`: the command that the client is running now, if it is."""
    now_ms = client.server.state.clock.now_ms
    tracking = client.tracking
    running = argv if argv is not None else client.blocked.argv if client.blocked is not None else []
    reply_bytes = _reply_bytes(client)
    fields = (
        ("id", client.id),
        ("addr", client.addr),
        ("laddr", client.laddr),
        ("fd", client.fd),
        ("name", client.name.decode()),
        ("age", (now_ms - client.created_ms) // 1000),
        ("idle", max(0, now_ms - client.last_used_ms) // 1000),
        ("flags", flags_of(client).decode()),
        ("db", client.db.index),
        ("sub", len(client.channels)),
        ("psub", len(client.patterns)),
        ("ssub", len(client.shard_channels)),
        ("multi", len(client.multi) if client.multi is not None else -1),
        *((("watch", len(client.watched)),) if COMPAT.newer else ()),
        ("qbuf", _input_bytes(client, running)),
        ("qbuf-free", 0),
        ("argv-mem", sum(map(len, running))),
        ("multi-mem", queued_bytes(client)),
        ("rbs", reply_bytes),
        ("rbp", reply_bytes),
        ("obl", reply_bytes),
        ("oll", len(client.unsent) if client.unsent is not None else 0),
        ("omem", output_bytes(client)),
        ("tot-mem", memory_bytes(client)),
        ("events", "" if client.sock is None else "rw" if client.unsent is not None else "r"),
        ("cmd", client.last_command.decode()),
        ("user", "(superuser)" if client.user is None else client.user.name.decode("utf-8", "surrogateescape")),
        ("redir", tracking.redirect if tracking is not None else -1),
        ("resp", 3 if client.resp3 else 2),
    )
    line = " ".join(f"{name}={value}" for name, value in fields).encode("utf-8", "surrogateescape")
    if COMPAT.newer or client.lib_name or client.lib_ver:
        line += b" lib-name=%b lib-ver=%b" % (client.lib_name, client.lib_ver)
    if COMPAT.newer:
        totals = (client.input_bytes, client.output_bytes, client.commands_run)
        line += b" tot-net-in=%d tot-net-out=%d tot-cmds=%d" % totals
    return line
