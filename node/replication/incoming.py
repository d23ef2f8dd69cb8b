"""The stream as it comes in on one connection: received at once, applied in slices, drained before a change of role.

Receiving costs a hundredth of applying, so all that the socket holds is taken whenever somebody looks, up to
`MOST_UNAPPLIED`: what is in our memory does not wait in that of the primary, where it would die with it. A replica that
is told to take its primary's place applies first what that one has sent (`drain`). So when the stream has ended, what
is received counts for the offset by which a successor is chosen (`to_come`), while it is still being applied.
"""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

from slotmesh.node.replication.applier import Applier, Applying
from slotmesh.node.replication.stream import Stream
from slotmesh.node.replication.stream_parser import ProtocolError

if TYPE_CHECKING:
    from slotmesh.node.clients.client import Client

log = logging.getLogger("node")

#: Bytes that are received but not applied. What is beyond them waits in the primary's memory, and is lost with it; what
#: is here makes a promotion wait, a second or so for all of it.
MOST_UNAPPLIED: Final = 128 << 20
#: How long commands may run before others get their turn.
SLICE_NS: Final = 2_000_000
#: The limits of a drain: how long nothing must come from a primary that has not hung up, how long anything may come
#: from one that goes on talking, and how long all of it may take.
SILENCE_MS: Final = 10
_RECEIVING_NS: Final = 200_000_000
_DRAIN_NS: Final = 5_000_000_000
_READ_SIZE: Final = 1 << 14


class Incoming:
    """The stream of one connection, whose socket is `client.fd`. `end` is why nothing more will come, None until then.

    An end without an error is that the primary hung up: `end` is EOFError then.
    """

    def __init__(
        self, applying: Applying, stream: Stream, client: Client, rest: bytes, on_received: Callable[[int], None]
    ) -> None:
        """`rest` came in behind the handshake or the snapshot; `on_received` is told how many bytes came since."""
        self._state = applying.state
        self._fd = client.fd
        self._on_received = on_received
        self._applier = Applier(applying, stream, client)
        self._applier.take(rest)
        self.end: Exception | None = None
        #: Called when bytes were received outside of the task that applies them: that one may be waiting for the
        #: socket, which has no more to say.
        self.wake: Callable[[], None] = lambda: None

    @property
    def unapplied(self) -> int:
        """Bytes received that are not applied yet."""
        return self._applier.unapplied

    @property
    def has_work(self) -> bool:
        """Whether there are commands to apply."""
        return self._applier.has_work

    def receive(self) -> bool:
        """Take what the socket holds, without waiting for more; whether there was anything."""
        applier, received = self._applier, 0
        while self.end is None and applier.waiting_bytes < MOST_UNAPPLIED:
            try:
                data = os.read(self._fd, _READ_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                self.end = error
                break
            if not data:
                self.end = EOFError()
                break
            received += len(data)
            applier.take(data)
        if received:
            self._on_received(received)
        return received > 0

    def apply(self, budget_ns: int = SLICE_NS) -> None:
        """Apply what was received, for a while. Raises ProtocolError."""
        self._state.refresh_clock()
        self._applier.run(budget_ns)

    def to_come(self) -> int:
        """Bytes that will count for the offset before this node is a primary: once the stream has ended, all received.

        Before that the primary works, and what is not applied yet is worth nothing.
        """
        if self.receive():
            self.wake()
        return self.unapplied if self.end is not None else 0

    def drain(self, *, patient: bool) -> None:
        """Apply all that the primary has sent, before this node follows another one, or (`patient`) none.

        That is what has arrived, and for a patient drain also what arrives before the stream ends or is silent for
        `SILENCE_MS`. From a primary that goes on talking nothing is received after a fifth of a second.
        """
        now = perf_counter_ns()
        receive_until, apply_until = now + _RECEIVING_NS, now + _DRAIN_NS
        with self._state.propagation.set_aside():
            while True:
                self.receive()
                if not self._apply_rest(apply_until):
                    return
                if self.end is not None or not patient or perf_counter_ns() > receive_until or not self._speaks_again():
                    return

    def _speaks_again(self) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(SILENCE_MS))

    def _apply_rest(self, until_ns: int) -> bool:
        """Apply everything received; False when that was not possible."""
        try:
            self.apply(max(0, until_ns - perf_counter_ns()))
        except ProtocolError as error:
            self.end = error
            return False
        if self.has_work:
            log.warning("There was no time to apply the last %d bytes received from MASTER", self.unapplied)
            return False
        return True
