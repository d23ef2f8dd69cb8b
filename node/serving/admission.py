"""Who is let in: the limits on connections, and protected mode."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from slotmesh.node.acl.users import Acl
from slotmesh.node.clients.client import Client
from slotmesh.node.serving.listeners import address_text, is_local, set_keepalive
from slotmesh.node.state import NodeState

_TOO_MANY = b"-ERR max number of clients reached\r\n"
_DENIED = (
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for "
    b"the default user. In this mode connections are only accepted from the loopback interface. If you want to "
    b"connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable "
    b"protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by "
    b"connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly "
    b"accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively"
    b" you can just disable the protected mode by editing the Redis configuration file, and setting the "
    b"protected mode option to 'no', and then restarting the server. 3) If you started the server manually just"
    b" for testing, restart it with the '--protected-mode no' option. 4) Set up an authentication password for "
    b"the default user. NOTE: You only need to do one of the above things in order for the server to start "
    b"accepting connections from the outside.\r\n"
)


class Admission:
    """The door of one node."""

    def __init__(
        self,
        state: NodeState,
        clients: dict[int, Client],
        acl: Acl,
        new_client: Callable[[socket.socket, str, str], Client],
    ) -> None:
        self._state = state
        self._clients = clients
        self._acl = acl
        self._new_client = new_client

    def admit(self, sock: socket.socket) -> Client | None:
        """A client for an accepted socket, or None when it was turned away."""
        config = self._state.config
        if len(self._clients) >= config.maxclients:
            self._turn_away(sock, _TOO_MANY)
            return None
        addr, laddr = address_text(sock, peer=True), address_text(sock, peer=False)
        if config.protected_mode and self._acl.default.no_password and not is_local(sock):
            self._turn_away(sock, _DENIED)
            return None
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if config.tcp_keepalive:
                set_keepalive(sock, config.tcp_keepalive)
        client = self._new_client(sock, addr, laddr)
        self._state.stats.connections += 1
        self._clients[client.id] = client
        self._acl.start_client(client)
        return client

    def _turn_away(self, sock: socket.socket, line: bytes) -> None:
        self._state.stats.rejected_connections += 1
        with contextlib.suppress(OSError):
            sock.send(line)
        sock.close()
