"""One connection, or a pseudo-client (AOF replay, the primary's stream, scripts, tests).

Handlers see a client as: the database in use (`client.db`), the node (`client.server`), the protocol (`client.resp3`)
and a few calls. The data plane sees buffers. `gates` is the one int that the hot path tests: zero means that nothing
about this client asks for a closer look at its commands.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from typing import Any, Final, Protocol

from slotmesh.node.base.errors import ErrorReply
from slotmesh.node.clients.block import Block
from slotmesh.node.keyspace.database import Database
from slotmesh.node.resp.encoder import encode
from slotmesh.node.resp.parser import RequestParser
from slotmesh.node.spec.registry import CommandSpec
from slotmesh.node.state import NodeState

log = logging.getLogger("node")

# Reasons for the slow path through dispatch.
GATE_AUTH: Final = 1 << 0  # not authenticated yet
GATE_ACL: Final = 1 << 1  # a user with less than all rights
GATE_MULTI: Final = 1 << 2  # inside MULTI
GATE_SUBSCRIBED: Final = 1 << 3  # RESP2 with subscriptions: few commands allowed
GATE_REPLY: Final = 1 << 4  # CLIENT REPLY OFF or SKIP
GATE_ASKING: Final = 1 << 5  # ASKING was said
GATE_READONLY: Final = 1 << 6  # READONLY was said: reads are served by a replica
GATE_TRACKING: Final = 1 << 7  # CLIENT TRACKING on
GATE_PRIMARY: Final = 1 << 8  # the link from our primary
GATE_REPLICA: Final = 1 << 9  # a replica is attached here
GATE_NO_TOUCH: Final = 1 << 10  # CLIENT NO-TOUCH on
GATE_REDIRECT: Final = 1 << 11  # CLIENT CAPA REDIRECT was said: it follows a replica to its primary
GATE_LARGE_REQUEST: Final = 1 << 12  # the next command came large: dispatch logs it
GATE_IMPORT: Final = 1 << 13  # CLIENT IMPORT-SOURCE on: expired keys are there for it (`node/clients/import_mode.py`)

GATE_MONITOR: Final = 1 << 14  # MONITOR was said: what it is shown and its own replies keep their order

KIND_NORMAL: Final = 0
KIND_REPLICA: Final = 1
KIND_PUBSUB: Final = 2
KIND_PRIMARY: Final = 3

REPLY_ON: Final = 0
REPLY_OFF: Final = 1
REPLY_SKIP_NEXT: Final = 2
REPLY_SKIP: Final = 3

_UNENCODABLE: Final = ErrorReply("ERR internal error: the reply could not be encoded; see the server's log")


class Plane(Protocol):
    """What the data plane does for single clients (`node/serving/data_plane.py` says more about each)."""

    def touch(self, client: Client) -> None:
        """`client` has replies to be sent."""

    def resume(self, client: Client) -> None:
        """`client` may go on with the commands that it sent while it waited."""

    def drop(self, client: Client) -> None:
        """Close the connection of `client` now."""

    def fault(self, client: Client) -> None:
        """For `except` clauses: a bug of ours costs `client` its connection."""

    def give_up(self, client: Client) -> None:
        """As `fault`, while others are served: the connection ends with the pass."""


class ClientHost(Protocol):
    """The node as every part may see it through a client. Handlers of commands see all of it (`node/server.py`)."""

    @property
    def state(self) -> NodeState:
        """Settings, clock, data, counters, gates."""

    @property
    def data_plane(self) -> Plane:
        """Who serves clients that have sockets."""


class Client:
    """State of one client. `sock` is None for a pseudo-client; its replies gather in `out`."""

    __slots__ = (
        "addr",
        "authenticated",
        "blocked",
        "capabilities",
        "channels",
        "close_after_reply",
        "close_at_once",
        "commands",
        "commands_run",
        "created_ms",
        "db",
        "deny_blocking",
        "fd",
        "fieldsets",
        "gates",
        "grants",
        "held",
        "id",
        "in_exec",
        "input_bytes",
        "is_script",
        "laddr",
        "last_command",
        "last_used_ms",
        "lib_name",
        "lib_ver",
        "multi",
        "multi_failed",
        "name",
        "no_evict",
        "no_touch",
        "out",
        "output_bytes",
        "parser",
        "patterns",
        "pending",
        "queued_db",
        "readonly",
        "replica",
        "reply_mode",
        "resp3",
        "rewritten",
        "server",
        "shard_channels",
        "sock",
        "soft_limit_since_ms",
        "to_follow",
        "tracking",
        "unsent",
        "unsent_bytes",
        "user",
        "watch_broken",
        "watched",
        "write_offset",
    )

    def __init__(self, server: ClientHost, client_id: int, sock: socket.socket | None, addr: str, laddr: str) -> None:
        self.server = server
        self.id = client_id
        self.sock = sock
        self.fd = sock.fileno() if sock is not None else -1
        self.addr = addr
        self.laddr = laddr
        self.db: Database = server.state.keyspace.dbs[0]
        self.resp3 = False
        self.gates = 0
        self.authenticated = True
        self.user: Any = None
        #: With GATE_ACL: what the user may do for sure (`node/acl/grants.py`).
        self.grants: dict[CommandSpec, tuple[bytes, ...] | None] = {}
        self.name = b""
        self.lib_name = b""
        self.lib_ver = b""
        self.capabilities: frozenset[bytes] = frozenset()
        self.created_ms = self.last_used_ms = server.state.clock.now_ms
        self.last_command = b"NULL"
        # totals since the connection was made
        self.commands_run = self.input_bytes = self.output_bytes = 0
        # input: the exact parser exists only while a command is incomplete; `commands` waits while the client is
        # blocked
        self.parser: RequestParser | None = None
        self.commands: list[list[bytes]] = []
        # output: replies of this pass; what the socket did not take yet
        self.out: list[bytes] = []
        self.pending = False
        self.unsent: deque[bytes | memoryview] | None = None
        self.unsent_bytes = 0
        self.soft_limit_since_ms = 0
        self.close_after_reply = False
        self.close_at_once = False
        self.reply_mode = REPLY_ON
        # transactions
        self.multi: list[tuple[Any, list[bytes]]] | None = None
        self.multi_failed = False
        #: The database that a SELECT in the queue of MULTI will select.
        self.queued_db: int | None = None
        self.in_exec = False
        #: The pseudo-client that scripts run their commands as.
        self.is_script = False
        self.watched: dict[tuple[int, bytes], bool] = {}
        self.watch_broken = False
        #: Name -> field names, of HIMPORT.
        self.fieldsets: dict[bytes, tuple[bytes, ...]] | None = None
        # cluster
        self.readonly = False
        # the rest
        self.blocked: Block | None = None
        #: Its next command waits for the end of a pause.
        self.held = False
        self.deny_blocking = sock is None
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.shard_channels: dict[bytes, None] = {}
        #: Messages that must follow the reply of the command under way; None while they need not wait.
        self.to_follow: list[Any] | None = None
        self.tracking: Any = None
        self.no_evict = False
        self.no_touch = False
        self.replica: Any = None
        self.rewritten: list[list[bytes]] | None = None
        #: Offset of the replication stream after this client's last write, for WAIT.
        self.write_offset = 0

    def add_reply(self, value: Any) -> None:
        """Put the wire form of `value` behind the replies that wait to be sent; an error where it has none."""
        before = len(self.out)
        try:
            encode(self.out, value, self.resp3)
        except Exception:  # a bug of ours, which must not take the data with it
            log.exception("a handler returned what no reply can be: %r", type(value))
            del self.out[before:]
            encode(self.out, _UNENCODABLE, self.resp3)

    def reply(self, value: Any) -> None:
        """Send `value` outside the normal return of a handler: blocked commands, pushes.

        What cannot be sent is a bug of ours, and costs this connection, whoever caused the message.
        """
        try:
            encode(self.out, value, self.resp3)
        except Exception:
            if self.sock is None:
                raise
            self.server.data_plane.give_up(self)
        if not self.pending and self.sock is not None:
            self.pending = True
            self.server.data_plane.touch(self)

    def propagate_as(self, *commands: list[bytes]) -> None:
        """Send `commands` to AOF and replicas in place of the command under way; none: send nothing.

        For commands whose outcome depends on chance, time or waiting: SPOP, EXPIRE, BLPOP.
        """
        self.rewritten = list(commands)

    def set_gate(self, gate: int, on: bool) -> None:
        """Raise or lower one of the GATE bits."""
        self.gates = self.gates | gate if on else self.gates & ~gate

    @property
    def subscription_count(self) -> int:
        """Channels and patterns subscribed to (sharded ones are counted apart, as in stock)."""
        return len(self.channels) + len(self.patterns)

    @property
    def kind(self) -> int:
        """The class of output buffer limits that applies."""
        if self.gates & GATE_PRIMARY:
            return KIND_PRIMARY
        if self.replica is not None:
            return KIND_REPLICA
        if self.channels or self.patterns or self.shard_channels:
            return KIND_PUBSUB
        return KIND_NORMAL
