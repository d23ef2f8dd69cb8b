"""MONITOR: clients that see every command as it runs, and what must be hidden from them (and from the slow log)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from slotmesh.node.clients.client import Client
from slotmesh.node.config.directives import BY_NAME
from slotmesh.node.config.kinds import text_of
from slotmesh.node.resp.inline import quote
from slotmesh.node.resp.values import Raw
from slotmesh.node.serving.dispatch import SERVER_MONITORS

if TYPE_CHECKING:
    from slotmesh.node.server import Server
    from slotmesh.node.spec.registry import CommandSpec

_HIDDEN: Final = b"(redacted)"


class Monitors:
    """All monitoring clients of one node."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._clients: dict[Client, None] = {}

    def add(self, client: Client) -> None:
        """MONITOR was said."""
        self._clients[client] = None
        self._server.set_gate(SERVER_MONITORS, True)

    def remove(self, client: Client) -> None:
        """RESET, or the client went away."""
        if self._clients.pop(client, self) is None:
            self._server.set_gate(SERVER_MONITORS, bool(self._clients))

    def has(self, client: Client) -> bool:
        """Whether a client monitors."""
        return client in self._clients

    def feed(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
        """Show a command to all monitors."""
        now = time.time_ns() // 1000
        if client.sock is None:
            source = b"lua"
        elif client.addr.startswith("/"):
            source = b"unix:" + client.addr.encode().rpartition(b":")[0]
        else:
            source = client.addr.encode()
        words = b" ".join(quote(word) for word in redacted(spec, argv))
        line = Raw(b"+%d.%06d [%d %b] %b\r\n" % (now // 1_000_000, now % 1_000_000, client.db.index, source, words))
        for monitor in list(self._clients):
            monitor.reply(line)


def redacted(spec: CommandSpec, argv: list[bytes]) -> list[bytes]:
    """The arguments with everything secret hidden: passwords, and users as a whole."""
    hide = _HIDERS.get(spec.full_name)
    if hide is None:
        return argv
    hidden = hide(argv)
    return [_HIDDEN if i in hidden else word for i, word in enumerate(argv)]


def _hide_all(argv: list[bytes]) -> set[int]:
    return set(range(1, len(argv)))


def _hide_behind_subcommand(argv: list[bytes]) -> set[int]:
    return set(range(2, len(argv)))


def _hide_config(argv: list[bytes]) -> set[int]:
    hidden = set()
    for i in range(2, len(argv) - 1, 2):
        directive = BY_NAME.get(text_of(argv[i]).lower())
        if directive is not None and directive.sensitive:
            hidden.add(i + 1)
    return hidden


def _hide_credentials(argv: list[bytes]) -> set[int]:
    """AUTH and AUTH2 options: HELLO AUTH takes two words, MIGRATE AUTH one and AUTH2 two."""
    hidden: set[int] = set()
    is_hello = argv[0].lower() == b"hello"
    for i, word in enumerate(argv):
        option = word.lower()
        if option == b"auth2" or (option == b"auth" and is_hello):
            hidden |= {i + 1, i + 2}
        elif option == b"auth":
            hidden.add(i + 1)
    return hidden


_HIDERS: Final = {
    b"auth": _hide_all,
    b"hello": _hide_credentials,
    b"migrate": _hide_credentials,
    b"config|set": _hide_config,
    b"acl|setuser": _hide_behind_subcommand,
    b"acl|getuser": _hide_behind_subcommand,
    b"acl|deluser": _hide_behind_subcommand,
}
