"""SLOWLOG: the latest commands that took longer than `slowlog-log-slower-than` microseconds.

Entries keep at most 32 arguments of 128 bytes, as in stock, so that a slow command cannot make the log itself large.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from node.observe.monitors import redacted

if TYPE_CHECKING:
    from node.client import Client
    from node.registry import CommandSpec

_MAX_ARGS: Final = 32
_MAX_ARG_BYTES: Final = 128


class SlowEntry:
    """One slow command. `at_s`: Unix time; `micros`: its duration."""

    __slots__ = ("addr", "argv", "at_s", "id", "micros", "name")

    def __init__(self, entry_id: int, at_s: int, micros: int, argv: list[bytes], addr: bytes, name: bytes) -> None:
        self.id = entry_id
        self.at_s = at_s
        self.micros = micros
        self.argv = argv
        self.addr = addr
        self.name = name


class SlowLog:
    """The log of one node, newest first."""

    def __init__(self) -> None:
        self.entries: deque[SlowEntry] = deque()
        self._next_id = 0

    def add(self, client: Client, spec: CommandSpec, argv: list[bytes], micros: int) -> None:
        """Note a slow command."""
        shown = shortened(redacted(spec, argv))
        now_s = client.server.clock.now_ms // 1000
        entry = SlowEntry(self._next_id, now_s, micros, shown, client.addr.encode(), client.name)
        self._next_id += 1
        self.entries.appendleft(entry)
        self.trim(client.server.config.slowlog_max_len)

    def trim(self, max_len: int) -> None:
        """Keep the newest `max_len` entries."""
        while len(self.entries) > max_len:
            self.entries.pop()


def shortened(argv: list[bytes]) -> list[bytes]:
    """At most 32 arguments of 128 bytes; what is left out is counted."""
    shown = argv
    if len(argv) > _MAX_ARGS:
        kept = _MAX_ARGS - 1
        shown = [*argv[:kept], b"... (%d more arguments)" % (len(argv) - kept)]
    return [
        word
        if len(word) <= _MAX_ARG_BYTES
        else b"%b... (%d more bytes)" % (word[:_MAX_ARG_BYTES], len(word) - _MAX_ARG_BYTES)
        for word in shown
    ]
