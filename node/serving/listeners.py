"""Listening sockets: those that `bind`, `port` and `unixsocket` ask for, also after CONFIG SET; and facts about a peer.

A change opens what is new before it closes what is no longer wanted, and keeps what stays: when an address cannot be
had, the change is refused and nobody was cut off.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import socket
from typing import TYPE_CHECKING

from slotmesh.node.config.configuration import Config
from slotmesh.node.config.kinds import ConfigError
from slotmesh.node.serving.acceptor import Acceptor

if TYPE_CHECKING:
    pass

log = logging.getLogger("node")

Place = tuple[str, int]


class Listeners:
    """The listening sockets of one node, by address."""

    def __init__(self, config: Config, acceptor: Acceptor) -> None:
        self._config = config
        self._acceptor = acceptor
        self._sockets: dict[Place, socket.socket] = {}
        config.on_change("port", lambda _: self._follow("Unable to listen on this port. Check server logs."))
        config.on_change("bind", lambda _: self._follow("Failed to bind to specified addresses."))

    def open(self) -> None:
        """Open all of them. Raises OSError with a clear text when an address cannot be had, or there is none."""
        config = self._config
        self._open_tcp()
        if config.unixsocket:
            try:
                listener = _listen_unix(config.unixsocket, config.unixsocketperm, config.tcp_backlog)
            except OSError as error:
                problem = f"Failed opening Unix socket {config.unixsocket}: {error.strerror}"
                raise OSError(error.errno, problem) from error
            self._acceptor.add(listener)
        elif not self._sockets:
            raise OSError(errno.EADDRNOTAVAIL, "Configured to not listen anywhere, exiting.")

    def _follow(self, refusal: str) -> None:
        try:
            self._open_tcp()
        except OSError as error:
            raise ConfigError(refusal) from error

    def _open_tcp(self) -> None:
        """Bring the TCP sockets in line with the configuration. Raises OSError; nothing has changed then."""
        config = self._config
        wanted = [(name, config.port) for name in dict.fromkeys(config.bind) if config.port]
        missing = [place for place in wanted if place not in self._sockets]
        obsolete = [place for place in self._sockets if place not in wanted]
        try:
            opened = self._listen_on(missing)
        except OSError:
            if not obsolete:
                raise
            # The old sockets may be in the way, as one for all addresses is in the way of one for a single address.
            self._close(obsolete)
            try:
                opened = self._listen_on(missing)
            except OSError:
                self._serve(self._listen_on(obsolete))
                raise
        else:
            self._close(obsolete)
        self._serve(opened)

    def _listen_on(self, places: list[Place]) -> dict[Place, socket.socket]:
        """Sockets for all places but optional ones that this machine lacks. Raises OSError."""
        opened: dict[Place, socket.socket] = {}
        for name, port in places:
            host = name.removeprefix("-")
            try:
                opened[name, port] = _listen_tcp(host, port, self._config.tcp_backlog)
            except OSError as error:
                if name.startswith("-"):
                    continue
                for sock in opened.values():
                    sock.close()
                log.warning("Could not create server TCP listening socket %s:%d: %s", host, port, error.strerror)
                raise OSError(error.errno, f"Failed listening on port {port} (TCP), aborting.") from error
        return opened

    def _serve(self, opened: dict[Place, socket.socket]) -> None:
        for sock in opened.values():
            self._acceptor.add(sock)
        self._sockets.update(opened)

    def _close(self, places: list[Place]) -> None:
        for place in places:
            self._acceptor.remove(self._sockets.pop(place))


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
