"""The cluster state: whether this node may serve keys (``cluster_state:ok``).

It is *fail* while a slot is uncovered (unless ``require_full_coverage`` is off), and while this node is in a minority:
it reaches no majority of the primaries with slots. A primary that cannot see the majority may have been replaced, so it
must stop within a node timeout.

Turning *ok* again is delayed on a primary that had slots before: two seconds after it started with them, and a node
timeout (between 0.5 and 5 s) after it was in a minority with them, so that it hears of a successor before it accepts a
write. Nobody succeeds a primary without slots: it serves at once, and as soon as slots are given to it (stock lets it
wait all the same).

A guarded primary need not wait for either once the sentinels lease it, so that they promote nobody else meanwhile, and
it has heard from every node it knows, so that it knows of whoever was promoted before. A node whose machine says that
nobody listens there has nothing to tell. When one is silent, the primary waits like any other.
"""

from __future__ import annotations

from slotmesh.cluster.effects import StateChanged
from slotmesh.cluster.guard import Guard
from slotmesh.cluster.members import Member
from slotmesh.cluster.view import ClusterView

WRITABLE_DELAY_MS = 2000
MIN_REJOIN_DELAY_MS = 500
MAX_REJOIN_DELAY_MS = 5000


class Health:
    """Computes the cluster state of a view."""

    __slots__ = ("_guard", "_minority_ms", "_start_over_ms", "_view")

    def __init__(self, view: ClusterView, guard: Guard) -> None:
        self._view = view
        self._guard = guard
        self._start_over_ms: int | None = None
        self._minority_ms: int | None = None

    def update(self) -> None:
        """Compute the state anew; tells the host when it changed."""
        view = self._view
        view.state_changed = False
        may_be_replaced = view.myself.is_voter
        if self._start_over_ms is None:
            self._start_over_ms = view.now_ms + (WRITABLE_DELAY_MS if may_be_replaced else 0)
        starting = not view.cluster_ok and view.now_ms < self._start_over_ms
        if may_be_replaced and starting and not self._knows_it_leads(0):
            return
        ok = not view.config.require_full_coverage or view.slots.covered()
        reachable = sum(m.is_voter and not m.failed and not m.pfail for m in view.members)
        if reachable < view.members.majority():
            ok = False
            if may_be_replaced:
                self._minority_ms = view.now_ms
        if ok == view.cluster_ok:
            return
        if ok and may_be_replaced and self._rejoining():
            return
        view.cluster_ok = ok
        view.emit(StateChanged(ok))
        view.notice("state", f"Cluster state changed: {'ok' if ok else 'fail'}")

    def _knows_it_leads(self, apart_ms: int) -> bool:
        """Whether nobody can have taken our place unheard: see the module's text.

        ``apart_ms``: when we were last in a minority. Who was reached then can tell no more now than it could before.
        """
        view, guard = self._view, self._guard
        leased = guard.is_armed and not guard.is_fenced(view.now_ms)
        return leased and all(m is view.myself or self._has_spoken(m, apart_ms) for m in view.members)

    @staticmethod
    def _has_spoken(member: Member, apart_ms: int) -> bool:
        if member.gone_ms > max(apart_ms, member.data_received_ms):
            return True
        heard = member.data_received_ms > 0 and not member.pfail
        return heard and (not member.failed or member.data_received_ms > apart_ms)

    def _rejoining(self) -> bool:
        apart_ms = self._minority_ms
        if apart_ms is None:
            return False
        delay_ms = min(max(self._view.config.node_timeout_ms, MIN_REJOIN_DELAY_MS), MAX_REJOIN_DELAY_MS)
        return self._view.now_ms - apart_ms < delay_ms and not self._knows_it_leads(apart_ms)
