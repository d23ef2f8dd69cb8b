"""Manual failover: an operator asks a replica to take over from a working primary without losing a write.

The replica sends MFSTART; the primary pauses its writers and from then on flags its heartbeats as paused, with the
offset at which its stream stands still; when the replica has applied the stream up to that offset, it may be elected
(``election`` asks the voters not to mind that the primary works). FORCE skips the talk with the primary; TAKEOVER skips
the election too. Everything is over after five seconds, done or not.
A guarded primary also has the sentinels lease its successor, as soon as its writers are paused (``guard``): it will not
have to wait for leases after the election.

The offset is told only after the host confirmed the pause (``WritesPaused``): a write accepted after the offset was
told would be lost.
"""

from __future__ import annotations

from slotmesh.cluster.effects import PauseWrites, ResumeWrites
from slotmesh.cluster.guard import Guard
from slotmesh.cluster.heartbeat import build_header, send_heartbeat
from slotmesh.cluster.members import Link, Member
from slotmesh.cluster.messages import Header, ManualFailoverStart, Ping
from slotmesh.cluster.terms import MESSAGE_PAUSED
from slotmesh.cluster.view import ClusterView

TIMEOUT_MS = 5000
PAUSE_FACTOR = 2
"""The pause is asked for this many timeouts, in case the end of the failover is missed."""


class ManualFailover:
    """The state of a manual failover on either side; ``end_ms`` is 0 when there is none."""

    __slots__ = ("_guard", "_partner", "_pausing", "_primary_offset", "_view", "end_ms", "may_start")

    def __init__(self, view: ClusterView, guard: Guard) -> None:
        self._view = view
        self._guard = guard
        self._partner: Member | None = None
        """On the replica its primary; on the primary the replica that is to succeed it."""
        self._primary_offset = -1
        self._pausing = False
        """We are the primary, and the host was asked to pause the writers."""
        self.end_ms = 0
        self.may_start = False
        """The replica may ask for votes."""

    @property
    def in_progress(self) -> bool:
        return self.end_ms != 0

    # On the replica

    @property
    def waits_for_stream(self) -> bool:
        """Whether we know how far our primary has come, and have not come that far."""
        return self._primary_offset >= 0 and not self.may_start

    def start(self, *, force: bool) -> None:
        """An operator wants us to take over."""
        view = self._view
        self.reset()
        self._guard.forget_heir()
        self._partner = view.myself.primary
        self.end_ms = view.now_ms + TIMEOUT_MS
        if force:
            self._allow("forced manual failover accepted")
        else:
            view.notice("manual-failover", "manual failover accepted, asking the primary to pause writers")
            self._ask_primary()

    def _ask_primary(self) -> None:
        assert self._partner is not None
        self._view.send(self._partner.link, ManualFailoverStart(build_header(self._view)))

    def on_header(self, sender: Member, header: Header) -> None:
        """Our primary may be telling the offset it stands still at."""
        if (
            self.in_progress
            and self._primary_offset < 0
            and sender is self._partner
            and sender is self._view.myself.primary
            and header.message_flags & MESSAGE_PAUSED
        ):
            self._primary_offset = header.offset
            self._view.notice("manual-failover", f"the primary paused writers at offset {header.offset}")

    def check_caught_up(self) -> None:
        """Start the election once the primary's stream is applied in full."""
        if self.in_progress and not self.may_start and self._view.replication.offset == self._primary_offset:
            self._allow("all of the primary's stream applied")

    def _allow(self, why: str) -> None:
        self.may_start = True
        self._view.election_changed = True
        self._view.notice("manual-failover", f"{why}: manual failover can start")

    # On the primary

    def on_start_request(self, replica: Member) -> None:
        """A replica of ours is to succeed us: stop the writers."""
        view = self._view
        if replica.primary is not view.myself:
            return
        if self._pausing and self._partner is replica:
            return  # it asks again because it has not heard of the pause; the next reminder tells it
        self.reset()
        self._partner = replica
        self.end_ms = view.now_ms + TIMEOUT_MS
        view.notice("manual-failover", f"manual failover requested by replica {replica.node_id}")
        self._pausing = True
        view.emit(PauseWrites(view.now_ms + TIMEOUT_MS * PAUSE_FACTOR))

    def on_writes_paused(self, offset: int) -> None:
        """The host stopped the writers at ``offset``: tell the replica."""
        if self._pausing:
            self._view.paused_offset = offset
            self.remind_partner()
            if self._partner is not None:
                self._guard.name_heir(self._partner.node_id)

    # On both

    def remind_partner(self) -> None:
        """Say again what the other waits for: our offset to the replica, our wish to the primary.

        A heartbeat may get lost; and a primary that has not heard yet that we replicate it ignores the wish.
        """
        if self._view.paused_offset is not None and self._partner is not None:
            link: Link | None = self._partner.link
            send_heartbeat(self._view, link, Ping)
        elif self.in_progress and not self._pausing and not self.may_start and self._primary_offset < 0:
            self._ask_primary()

    def check_end(self) -> None:
        """Stop when time is up, or when roles changed so that there is nothing left to do."""
        if not self.in_progress:
            return
        me = self._view.myself
        partner = self._partner
        successor, predecessor = (partner, me) if self._pausing else (me, partner)
        if self.end_ms < self._view.now_ms:
            lacking = "" if self._pausing or self.may_start else self._progress()
            self._view.notice("manual-failover", f"manual failover timed out{lacking}")
            self.reset()
        elif successor is None or successor.primary is not predecessor:
            self.reset()

    def _progress(self) -> str:
        """What a replica was still waiting for."""
        if self._primary_offset < 0:
            return ": the primary never said that it paused writers"
        return f" at offset {self._view.replication.offset} of {self._primary_offset}"

    def reset(self) -> None:
        """End a manual failover in whatever state it is."""
        if self._pausing:
            self._guard.end_hand_over()
            self._view.emit(ResumeWrites())
        self._pausing = False
        self._view.paused_offset = None
        self._partner = None
        self._primary_offset = -1
        self.end_ms = 0
        self.may_start = False
