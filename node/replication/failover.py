"""FAILOVER: hand the role of primary to a replica without losing a write.

    WAITING_FOR_SYNC   writes are paused; wait until a replica has acknowledged everything
    IN_PROGRESS        this node has become a replica of the chosen one, and tells it so: PSYNC ... FAILOVER

With FORCE the second step comes when the time limit is over, caught up or not. When the chosen replica refuses, or the
operator aborts, this node goes back to being the primary. Steps and texts are those of stock 7.0.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from slotmesh.node.base.errors import CommandError
from slotmesh.node.clients.pause import FAILOVER, FOREVER_MS, WRITES
from slotmesh.node.replication.handshake import Failed, Outcome
from slotmesh.node.replication.ports import Roles
from slotmesh.node.replication.replica import ONLINE

if TYPE_CHECKING:
    from slotmesh.node.clients.pause import Pause
    from slotmesh.node.clustering.plain_guard import PlainGuard
    from slotmesh.node.replication.replicas import Replicas
    from slotmesh.node.replication.stream import Stream
    from slotmesh.node.state import NodeState

log = logging.getLogger("node")

IDLE: Final = "no-failover"
WAITING_FOR_SYNC: Final = "waiting-for-sync"
IN_PROGRESS: Final = "failover-in-progress"


class Failover:
    """The coordinated failover of one node. `state` is what INFO shows as `master_failover_state`."""

    def __init__(self, state: NodeState, pause: Pause, stream: Stream, replicas: Replicas, roles: Roles) -> None:
        self._state = state
        self._pause = pause
        self._stream = stream
        self._replicas = replicas
        self._roles = roles
        self.state = IDLE
        self._target: tuple[str, int] | None = None
        self._end_ms = 0
        self._force = False
        self.guard: PlainGuard | None = None

    @property
    def in_progress(self) -> bool:
        """Whether this node is about to follow its former replica."""
        return self.state == IN_PROGRESS

    @property
    def is_under_way(self) -> bool:
        """Whether there is one."""
        return self.state != IDLE

    def start(self, target: tuple[str, int] | None, force: bool, timeout_ms: int) -> None:
        """FAILOVER. Raises CommandError."""
        if self.state != IDLE:
            raise CommandError("ERR FAILOVER already in progress.")
        if self._roles.is_replica:
            raise CommandError("ERR FAILOVER is not valid when server is a replica.")
        if not len(self._replicas):
            raise CommandError("ERR FAILOVER requires connected replicas.")
        if force and (not timeout_ms or target is None):
            raise CommandError("ERR FAILOVER with force option requires both a timeout and target HOST and IP.")
        if target is None:
            log.info("FAILOVER requested to any replica.")
        else:
            replica = self._replicas.find(*target)
            if replica is None:
                raise CommandError("ERR FAILOVER target HOST and PORT is not a replica.")
            if replica.state != ONLINE:
                raise CommandError("ERR FAILOVER target replica is not online.")
            log.info("FAILOVER requested to %s:%d.", *target)
        self._target = target
        self._force = force
        self._end_ms = self._state.clock.mono_ms + timeout_ms if timeout_ms else 0
        # Asked before the pause, as it moves the offset: most replicas answer at once, the others within a second.
        self._stream.ack_wanted = True
        self._stream.flush()
        self.state = WAITING_FOR_SYNC
        self._pause.start(FAILOVER, WRITES, FOREVER_MS)
        if target is not None:
            self._name_heir(target)

    def abort(self, reason: str) -> None:
        """End it without a change of roles. Raises CommandError when there is none."""
        if self.state == IDLE:
            raise CommandError("ERR No failover in progress.")
        target = f"{self._target[0]}:{self._target[1]}" if self._target else "any replica"
        log.info("FAILOVER to %s aborted: %s", target, reason)
        was_in_progress = self.in_progress
        self._clear()
        if was_in_progress:
            self._roles.become_primary()
        if self.guard is not None:
            self.guard.end_hand_over()

    def _clear(self) -> None:
        self.state = IDLE
        self._target = None
        self._end_ms = 0
        self._force = False
        self._pause.end(FAILOVER)

    def check(self) -> None:
        """Look whether a replica has caught up or the time is over: after every acknowledgement, and in the cron."""
        if self.state != WAITING_FOR_SYNC or self._state.fibers.halfway:
            return
        if self._end_ms and self._state.clock.mono_ms >= self._end_ms:
            if not self._force:
                self.abort("Replica never caught up before timeout")
                return
            assert self._target is not None
            log.info("FAILOVER to %s:%d time out exceeded, failing over.", *self._target)
            self._hand_over(self._target)
            return
        offset = self._stream.offset
        if self._target is None:
            chosen = next((each for each in self._replicas if each.ack_offset == offset), None)
        else:
            chosen = self._replicas.find(*self._target)
        if chosen is not None and chosen.state == ONLINE and chosen.ack_offset == offset:
            target = chosen.host, chosen.intro.port
            log.info("Failover target %s:%d is synced, failing over.", *target)
            self._hand_over(target)

    def _name_heir(self, target: tuple[str, int]) -> None:
        if self.guard is not None:
            self.guard.name_heir(*target)

    def _hand_over(self, target: tuple[str, int]) -> None:
        if self._target is None:
            self._name_heir(target)
        self._target = target
        self.state = IN_PROGRESS
        self._roles.become_replica_of(*target)

    def on_handshake(self, outcome: Outcome) -> None:
        """The chosen replica has answered PSYNC ... FAILOVER."""
        if not self.in_progress or (isinstance(outcome, Failed) and not outcome.psync):
            return
        if isinstance(outcome, Failed):
            self.abort("Failover target rejected psync request")
        else:
            self._clear()
