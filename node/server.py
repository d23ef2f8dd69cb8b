"""A node, wired together: what it is made of, who is let in, and the questions that dispatch asks of the whole.

The parts know this object (handlers reach it as `client.server`); it knows the parts. It decides little itself. Parts that a node
may lack are None then: `cluster` outside a cluster, `replication` until it is wired.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import random
import secrets
import socket
from typing import TYPE_CHECKING, Any, Final

import trio

from node import dispatch
from node.blocking import Blocking
from node.client import GATE_AUTH, Client
from node.clock import Clock
from node.config import Config
from node.cron import Cron
from node.data_plane import DataPlane
from node.errors import CommandError
from node.keyspace.keyspace import Keyspace
from node.observe.stats import Stats
from node.propagation import Propagation
from node.registry import CommandSpec

if TYPE_CHECKING:
    from node.cluster_host import ClusterHost

log = logging.getLogger("node")

NEVER: Final = 1 << 62

_TOO_MANY = b"-ERR max number of clients reached\r\n"
_DENIED = (
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default "
    b"user. In this mode connections are only accepted from the loopback interface. If you want to connect from external "
    b"computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode sending the command "
    b"'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is "
    b"running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make "
    b"this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis configuration "
    b"file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started the server "
    b"manually just for testing, restart it with the '--protected-mode no' option. 4) Set up an authentication password "
    b"for the default user. NOTE: You only need to do one of the above things in order for the server to start accepting "
    b"connections from the outside.\r\n"
)


class Server:
    """One node process."""

    internal_error = CommandError("ERR internal error: the reply could not be encoded; see the server's log")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clock = Clock()
        self.started_ms = self.clock.now_ms
        self.run_id = secrets.token_hex(20)
        self.rng = random.Random(secrets.randbits(64))
        self.keyspace = Keyspace(config.databases, clustered=config.cluster_enabled)
        self.keyspace.now_ms = self.clock.now_ms
        self.stats = Stats()
        self.propagation = Propagation()
        self.keyspace.on_expire_propagate = self.propagation.expired
        self.keyspace.field_expiry.on_propagate = self.propagation.feed
        self.blocking = Blocking(self.keyspace, dispatch.run_again)
        self.clients: dict[int, Client] = {}
        self._next_client_id = 0
        self.gates = 0
        self.slow_nanos = NEVER
        #: For each slot, whether commands on it may take the short road; None outside a cluster.
        self.served: bytearray | None = None
        self.cluster: ClusterHost | None = None
        self.replication: Any = None
        self.persistence: Any = None
        self.data_plane = DataPlane(self)
        self.cron = Cron(self)
        self.shutdown_requested = trio.Event()
        self.exit_code = 0

    # -- clients ---------------------------------------------------------------------------------------------

    def admit(self, sock: socket.socket) -> Client | None:
        """A client for an accepted socket, or None when it was turned away."""
        config = self.config
        if len(self.clients) >= config.maxclients:
            self._turn_away(sock, _TOO_MANY)
            return None
        addr, laddr = address_text(sock, peer=True), address_text(sock, peer=False)
        if config.protected_mode and self._unprotected() and not is_local(sock):
            self._turn_away(sock, _DENIED)
            return None
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if config.tcp_keepalive:
                set_keepalive(sock, config.tcp_keepalive)
        client = self.new_client(sock, addr, laddr)
        self.stats.connections += 1
        self.clients[client.id] = client
        self.prepare_auth(client)
        return client

    def new_client(self, sock: socket.socket | None = None, addr: str = "", laddr: str = "") -> Client:
        """A client with a fresh id; without a socket a stand-in that nobody sees in CLIENT LIST."""
        self._next_client_id += 1
        return Client(self, self._next_client_id, sock, addr, laddr)

    def prepare_auth(self, client: Client) -> None:
        """A new client is the default user, logged in unless that user needs a password."""
        client.authenticated = not self.config.requirepass
        client.set_gate(GATE_AUTH, not client.authenticated)

    def _unprotected(self) -> bool:
        return not self.config.requirepass

    def _turn_away(self, sock: socket.socket, line: bytes) -> None:
        self.stats.rejected_connections += 1
        with contextlib.suppress(OSError):
            sock.send(line)
        sock.close()

    def forget(self, client: Client) -> None:
        """A client is gone: take it out of everything that knows it."""
        self.clients.pop(client.id, None)
        self.blocking.forget(client)

    def resume(self, client: Client) -> None:
        """A client that waited goes on with the commands it sent meanwhile."""
        self.data_plane.resume(client)

    # -- questions of dispatch -------------------------------------------------------------------------------

    def set_gate(self, gate: int, on: bool) -> None:
        """Raise or lower one of the SERVER_ gates of dispatch."""
        self.gates = self.gates | gate if on else self.gates & ~gate

    def write_refusal(self, spec: CommandSpec) -> CommandError | None:
        """Why this node takes no writes now, or None."""
        if self.persistence is not None and (refusal := self.persistence.can_write()) is not None:
            return refusal  # type: ignore[no-any-return]
        if self.replication is not None:
            return self.replication.write_refusal()  # type: ignore[no-any-return]
        return None

    def is_stale(self) -> bool:
        """A replica that lost its primary and may not serve what it has."""
        return self.replication is not None and self.replication.is_stale()

    def write_offset(self) -> int:
        """The replication offset after the last write."""
        return 0 if self.replication is None else self.replication.offset

    def make_room(self) -> bool:
        """Whether memory use is (again) below `maxmemory`."""
        return self.cron.memory.make_room()

    def note_slow(self, client: Client, spec: CommandSpec, argv: list[bytes], nanos: int) -> None:
        """A command took longer than `slowlog-log-slower-than`."""

    def handler_failed(self, spec: CommandSpec, argv: list[bytes]) -> CommandError:
        """A handler raised something that is no CommandError: a bug of ours, which must not take the data down with it."""
        log.exception("a handler failed: command %r with %d arguments", spec.full_name, len(argv))
        spec.failed_calls += 1
        return dispatch.INTERNAL_ERROR

    def before_replies(self) -> None:
        """End of a pass, before anybody is answered: what was changed goes to the log and to the replicas."""
        if self.persistence is not None:
            self.persistence.flush()
        if self.replication is not None:
            self.replication.flush()

    def timers_changed(self) -> None:
        """A deadline was set that may come before all others."""
        self.cron.wake()

    # -- life ------------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Open the listening sockets. Raises OSError with a clear text when an address cannot be had."""
        for listener in open_listeners(self.config):
            self.data_plane.add_listener(listener)

    async def run(self) -> int:
        """Serve until a shutdown is requested; the exit code of the process."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.data_plane.run)
            nursery.start_soon(self.cron.run)
            log.info("Ready to accept connections")
            await self.shutdown_requested.wait()
            nursery.cancel_scope.cancel()
        self.data_plane.close()
        return self.exit_code

    def request_shutdown(self, exit_code: int = 0) -> None:
        """End `run` soon."""
        self.exit_code = exit_code
        self.shutdown_requested.set()


def address_text(sock: socket.socket, *, peer: bool) -> str:
    """`ip:port` as CLIENT LIST shows it, `path:0` for a unix socket; empty once the peer is gone."""
    try:
        name = sock.getpeername() if peer else sock.getsockname()
    except OSError:
        return ""
    if sock.family == socket.AF_UNIX:
        return f"{name or sock.getsockname()}:0"
    return f"[{name[0]}]:{name[1]}" if sock.family == socket.AF_INET6 and ":" in name[0] else f"{name[0]}:{name[1]}"


def is_local(sock: socket.socket) -> bool:
    """Whether the peer is on this machine's loopback interface or a unix socket."""
    if sock.family == socket.AF_UNIX:
        return True
    try:
        host = sock.getpeername()[0]
    except OSError:
        return False
    address = ipaddress.ip_address(host.split("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def set_keepalive(sock: socket.socket, seconds: int) -> None:
    """Probe an idle peer after `seconds`, then three times at a third of it, as stock does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 3))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def open_listeners(config: Config) -> list[socket.socket]:
    """Listening sockets for `bind` x `port` and `unixsocket`.

    Raises OSError when an address cannot be bound; one marked with '-' is skipped when the machine lacks it.
    """
    listeners: list[socket.socket] = []
    if config.port:
        for name in config.bind:
            optional, host = name.startswith("-"), name.removeprefix("-")
            try:
                listeners.append(_listen_tcp(host, config.port, config.tcp_backlog))
            except OSError as error:
                if optional:
                    continue
                raise OSError(
                    error.errno, f"Could not create server TCP listening socket {host}:{config.port}: {error.strerror}"
                ) from error
    if config.unixsocket:
        listeners.append(_listen_unix(config.unixsocket, config.unixsocketperm, config.tcp_backlog))
    return listeners


def _listen_tcp(host: str, port: int, backlog: int) -> socket.socket:
    host = {"*": "0.0.0.0", "::*": "::"}.get(host, host)
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def _listen_unix(path: str, mode: int, backlog: int) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(path)
    if mode:
        os.chmod(path, mode)
    sock.listen(backlog)
    return sock
