"""Holding clients back: CLIENT PAUSE, a coordinated failover, a shutdown that waits for replicas.

A pause has a purpose, a kind (all commands, or only those that may write) and an end; several may be in force, the
strictest kind counts. Dispatch asks `holds_back`; what is held stays unanswered in `Client.commands` and runs when the
last pause ends. What sentinels say to each other through this node passes while it hands its role over: behind a held
PUBLISH their PINGs would wait as well, for seconds if the replica does not catch up, and they would take that for
death. While paused, nothing changes by itself either: keys do not expire, so that a replica that catches up sees the
same data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from slotmesh.cluster.guard import SENTINEL_CHANNEL
from slotmesh.node.base.gates import SERVER_PAUSED
from slotmesh.node.clients.client import Client
from slotmesh.node.spec.registry import MAY_REPLICATE, WRITE, CommandSpec
from slotmesh.node.state import NodeState

# Kinds, the stricter the larger.
WRITES: Final = 1
ALL: Final = 2

# Purposes.
BY_CLIENT: Final = "client"
FAILOVER: Final = "failover"
SHUTDOWN: Final = "shutdown"

FOREVER_MS: Final = 1 << 62


class Pause:
    """All pauses in force on one node."""

    def __init__(self, state: NodeState, refresh_expiry_mode: Callable[[], None]) -> None:
        """`refresh_expiry_mode`: to be called when pauses begin or are over."""
        self._state = state
        self._refresh_expiry_mode = refresh_expiry_mode
        self._pauses: dict[str, tuple[int, int]] = {}  # purpose -> (kind, end in monotonic ms)
        self._held: dict[Client, None] = {}

    @property
    def kind(self) -> int:
        """The strictest kind in force, 0 when there is none."""
        return max((kind for kind, _ in self._pauses.values()), default=0)

    @property
    def remaining_ms(self) -> int:
        """How long CLIENT PAUSE still holds, for INFO."""
        end_ms = max((end for _, end in self._pauses.values()), default=0)
        return max(0, end_ms - self._state.clock.mono_ms)

    def start(self, purpose: str, kind: int, timeout_ms: int) -> None:
        """Pause, or extend a pause of the same purpose: neither its end nor its kind ever shrinks."""
        old_kind, old_end = self._pauses.get(purpose, (0, 0))
        end = min(self._state.clock.mono_ms + timeout_ms, FOREVER_MS)
        self._pauses[purpose] = (max(kind, old_kind), max(end, old_end))
        self._apply()

    def end(self, purpose: str) -> None:
        """End the pause of one purpose."""
        if self._pauses.pop(purpose, None) is not None:
            self._apply()

    def check(self) -> bool:
        """Housekeeping: end what is over; whether anything is left."""
        now_ms = self._state.clock.mono_ms
        for purpose in [purpose for purpose, (_, end) in self._pauses.items() if end <= now_ms]:
            self.end(purpose)
        return bool(self._pauses)

    def holds_back(self, client: Client, spec: CommandSpec, argv: list[bytes]) -> bool:
        """Whether a command must wait."""
        self.check()
        kind = self.kind
        if kind != WRITES:
            return kind == ALL
        if spec.flags & (WRITE | MAY_REPLICATE):
            return not (spec.name == b"publish" and argv[1] == SENTINEL_CHANNEL and self._pauses.keys() == {FAILOVER})
        return spec.name == b"exec" and any(
            queued.judged(client, argv).flags & (WRITE | MAY_REPLICATE) for queued, argv in client.multi or ()
        )

    def defer(self, client: Client) -> None:
        """A client's commands wait in `Client.commands`: wake it when the pauses are over."""
        self._held[client] = None
        client.held = True

    def forget(self, client: Client) -> None:
        """A client went away."""
        self._held.pop(client, None)
        client.held = False

    @property
    def held(self) -> int:
        """Clients that wait."""
        return len(self._held)

    def is_paused_for(self, purpose: str) -> bool:
        """Whether a pause of this purpose is in force."""
        return purpose in self._pauses

    def _apply(self) -> None:
        self._state.set_gate(SERVER_PAUSED, bool(self._pauses))
        self._refresh_expiry_mode()
        if self.kind != ALL:
            held, self._held = self._held, {}
            for client in held:
                client.held = False
                client.server.data_plane.resume(client)
