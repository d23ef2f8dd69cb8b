"""MONITOR: clients that see every command as it runs, and what must be hidden from them (and from the slow log)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from slotmesh.node.base.gates import SERVER_MONITORS
from slotmesh.node.clients.client import GATE_MONITOR, Client
from slotmesh.node.config.directives import BY_NAME
from slotmesh.node.config.kinds import text_of
from slotmesh.node.resp.inline import quote_all
from slotmesh.node.resp.values import Raw
from slotmesh.node.spec.registry import ADMIN, SKIP_MONITOR

if TYPE_CHECKING:
    from slotmesh.node.spec.registry import CommandSpec
    from slotmesh.node.state import NodeState

_HIDDEN: Final = b"(redacted)"
_NOT_SHOWN: Final = SKIP_MONITOR | ADMIN
#: Lines that are held at most: a script may run any number of commands.
_MOST_LINES: Final = 256


class Monitors:
    """All monitoring clients of one node.

    Lines are gathered, and handed to the monitors together: at the end of a pass, and before a monitor runs a command
    of its own, so that its replies and the lines keep their order.
    """

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._clients: dict[Client, None] = {}
        self._lines: list[bytes] = []

    def add(self, client: Client) -> None:
        """MONITOR was said."""
        self.hand_out()  # what came before is not shown to the new one
        self._clients[client] = None
        client.set_gate(GATE_MONITOR, True)
        self._state.set_gate(SERVER_MONITORS, True)

    def remove(self, client: Client) -> None:
        """RESET, or the client went away."""
        if client in self._clients:
            self.hand_out()
            del self._clients[client]
            client.set_gate(GATE_MONITOR, False)
            self._state.set_gate(SERVER_MONITORS, bool(self._clients))

    def called(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
        """A command has run: show it, unless it is one that nobody is shown, or that shows itself."""
        if not spec.flags & _NOT_SHOWN:
            self.feed(client, spec, argv)

    def feed(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
        """Show a command to all monitors."""
        now = time.time_ns() // 1000
        if client.sock is None:
            source = b"lua"
        elif client.addr.startswith("/"):
            source = b"unix:" + client.addr.encode().rpartition(b":")[0]
        else:
            source = client.addr.encode()
        words = quote_all(redacted(spec, argv))
        lines = self._lines
        lines.append(b"+%d.%06d [%d %b] %b\r\n" % (now // 1_000_000, now % 1_000_000, client.db.index, source, words))
        if len(lines) >= _MOST_LINES:
            self.hand_out()

    def hand_out(self) -> None:
        """Give the monitors the lines that were gathered."""
        if self._lines:
            lines, self._lines = Raw(b"".join(self._lines)), []
            for monitor in list(self._clients):
                monitor.reply(lines)


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
