"""COMMANDLOG: the latest commands that took long, came large, or were answered at length. SLOWLOG is its first log.

Three logs of one kind (`CommandLog`), each with a limit and a length from the configuration. An entry keeps at most 32
arguments of 128 bytes, as in stock, so that a large command cannot make the log itself large.

Nobody measures what no log wants, and the hot path measures nothing. `CommandLogs` tells the server what is wanted:

- `NodeState.slow_nanos`: the data plane reports calls of that length, as it has the time at hand anyway.
- `NodeState.request_limit`: requests of that size in bytes are marked with `GATE_LARGE_REQUEST` by whoever parses them,
  and dispatch, which the gate makes look at them, logs those that were not refused. Only the exact parser sees requests
  beyond `QUICK_REQUEST`; for a lower limit the gate `SERVER_COMMAND_LOG` sends every command through dispatch, which
  then weighs them itself.
- `NodeState.reply_limit`: replies of that size are reported by whoever encodes them. Those below `SHORT_REPLY` are
  written without a look at their size; a lower limit raises the same gate.

A queued command of a transaction is a request when it comes and a reply when EXEC runs it; EXEC itself is left out
(`skip_slowlog`). What a script calls is neither.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from slotmesh.node.base.errors import CommandError
from slotmesh.node.base.gates import SERVER_COMMAND_LOG
from slotmesh.node.clients.client import GATE_AUTH
from slotmesh.node.observe.monitors import redacted
from slotmesh.node.spec import registry
from slotmesh.node.state import NEVER

if TYPE_CHECKING:
    from slotmesh.node.clients.client import Client
    from slotmesh.node.spec.registry import CommandSpec
    from slotmesh.node.state import NodeState

#: Requests up to this size may pass the fast parser: two reads of the data plane.
QUICK_REQUEST: Final = 128 * 1024
#: Replies of the fast path that are not measured are shorter.
SHORT_REPLY: Final = 2048

#: What RESP puts around a word, at most: a header of a sign, ten digits and a line end, and another line end.
_MOST_FRAMING: Final = 15
_MAX_ARGS: Final = 32
_MAX_ARG_BYTES: Final = 128


class Entry:
    """One logged command. `at_s`: Unix time; `value`: microseconds or bytes, by the log it is in."""

    __slots__ = ("addr", "argv", "at_s", "id", "name", "value")

    def __init__(self, entry_id: int, at_s: int, value: int, argv: list[bytes], addr: bytes, name: bytes) -> None:
        self.id = entry_id
        self.at_s = at_s
        self.value = value
        self.argv = argv
        self.addr = addr
        self.name = name


class CommandLog:
    """One log, newest first. `limit`: the least value that is logged, negative for none; `max_len`: entries kept."""

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque()
        self.limit = -1
        self.max_len = 0
        self._next_id = 0

    def maybe_add(self, client: Client, spec: CommandSpec, argv: list[bytes], value: int) -> None:
        """Log a command unless its value is below the limit, or it must not be seen."""
        if not 0 <= self.limit <= value or not self.max_len or spec.flags & registry.SKIP_SLOWLOG:
            return
        shown = shortened(redacted(spec, argv))
        now_s = client.server.state.clock.now_ms // 1000
        self.entries.appendleft(Entry(self._next_id, now_s, value, shown, client.addr.encode(), client.name))
        self._next_id += 1
        self.trim(self.max_len)

    def trim(self, max_len: int) -> None:
        """Keep the newest `max_len` entries, from now on."""
        self.max_len = max_len
        while len(self.entries) > max_len:
            self.entries.pop()

    @property
    def wanted_from(self) -> int:
        """The least value that is worth a report."""
        return self.limit if self.limit >= 0 and self.max_len else NEVER


class CommandLogs:
    """The three logs of a node, and what the server must measure for them."""

    def __init__(self, state: NodeState, measured: Callable[[], None]) -> None:
        """`measured` is called when the least duration that is worth a report may have changed."""
        self._state = state
        self._measured = measured
        self.slow = CommandLog()
        self.large_request = CommandLog()
        self.large_reply = CommandLog()
        #: By the words of COMMANDLOG.
        self.by_kind: Final = {
            b"slow": self.slow,
            b"large-request": self.large_request,
            b"large-reply": self.large_reply,
        }

    def wire(self) -> None:
        """Follow the configuration from now on."""
        for log, limit, max_len in (
            (self.slow, "slowlog-log-slower-than", "slowlog-max-len"),
            (self.large_request, "commandlog-request-larger-than", "commandlog-large-request-max-len"),
            (self.large_reply, "commandlog-reply-larger-than", "commandlog-large-reply-max-len"),
        ):
            self._follow(log, limit, max_len)

    def _follow(self, log: CommandLog, limit_name: str, max_len_name: str) -> None:
        """Keep a log in step with its two directives."""

        def set_limit(limit: int) -> None:
            log.limit = limit
            self._measure()

        def set_max_len(max_len: int) -> None:
            log.trim(max_len)
            self._measure()

        for name, setter in ((limit_name, set_limit), (max_len_name, set_max_len)):
            self._state.config.on_change(name, setter)
            setter(getattr(self._state.config, name.replace("-", "_")))

    def _measure(self) -> None:
        """Tell the server what is worth a report."""
        state = self._state
        request_limit = self.large_request.wanted_from
        state.reply_limit = self.large_reply.wanted_from
        state.request_limit = request_limit if request_limit > QUICK_REQUEST else NEVER
        state.set_gate(SERVER_COMMAND_LOG, request_limit <= QUICK_REQUEST or state.reply_limit <= SHORT_REPLY)
        self._measured()

    def note_request(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> None:
        """A request that may be large was not refused."""
        self.large_request.maybe_add(client, spec, argv, request_bytes(argv))

    def note_reply(self, client: Client, argv: list[bytes], size: int) -> None:
        """A reply of `size` bytes was encoded."""
        if client.gates & GATE_AUTH:
            return  # a refusal, and what strangers say is not to push others out
        try:
            spec = registry.find(argv)
        except CommandError:
            return  # no command: that was the reply
        self.large_reply.maybe_add(client, spec, argv, size)


def request_bytes(argv: list[bytes]) -> int:
    """The size of a request on the wire, as RESP."""
    return len(b"*%d\r\n" % len(argv)) + sum([len(b"$%d\r\n" % len(word)) + len(word) + 2 for word in argv])


def has_bytes(argv: list[bytes], limit: int) -> bool:
    """Whether a request takes `limit` bytes. Adds up exactly only when its words alone leave that open."""
    words = sum(map(len, argv))
    return words + _MOST_FRAMING * (len(argv) + 1) >= limit and (words >= limit or request_bytes(argv) >= limit)


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
