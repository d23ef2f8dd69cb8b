"""A node's writes and the leases of its sentinels, in a cluster or without one.

They are held against the clock before anybody is answered. What a lease is, and who grants it: `cluster/guard.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from slotmesh.cluster.guard import NEVER_MS

if TYPE_CHECKING:
    from slotmesh.cluster.guard import Guard
    from slotmesh.node.base.errors import ErrorReply

log = logging.getLogger("cluster")

#: Writes end this long before the lease does, so that no pass of the data plane begun in time can outlast it.
LEASE_MARGIN_MS: Final = 20


class Lease:
    """Whether a guarded node may write at present, and whether it may tell what it wrote."""

    def __init__(
        self,
        guard: Guard,
        clock: Callable[[], int],
        is_replica: Callable[[], bool],
        on_changed: Callable[[], None],
        error: Callable[[], ErrorReply],
    ) -> None:
        """`on_changed`: writes are refused from now on, or no longer; `error`: what writers are told then."""
        self._guard = guard
        self._clock = clock
        self._is_replica = is_replica
        self._on_changed = on_changed
        self._error = error
        self._told_fenced = False
        #: When the pass under way began, for a guarded primary.
        self.pass_began_ms = NEVER_MS
        #: The node lost its role while a script, begun before, still runs.
        self.demoted_halfway = False

    def check(self) -> None:
        """Refuse writes from shortly before the lease of a guarded primary ends. Called before each pass as well."""
        if self.fenced() != self._told_fenced:
            self._told_fenced = not self._told_fenced
            self._on_changed()
            what = "ran out: refusing writes" if self._told_fenced else "is valid: accepting writes"
            log.warning("The lease of the sentinels of %r %s", self._guard.name, what)

    def begin_pass(self) -> None:
        """A pass of the data plane begins."""
        if self._guard.is_armed:
            self.pass_began_ms = self._clock()
            self.check()

    def fenced(self) -> bool:
        """Whether this node is a guarded primary without a valid lease (or about to be)."""
        guard = self._guard
        if not guard.is_armed or self._is_replica():
            return False
        return self._clock() + LEASE_MARGIN_MS >= guard.writable_until_ms

    def write_refusal(self) -> ErrorReply | None:
        """The error for writes while fenced."""
        return self._error() if self.fenced() else None

    def state(self) -> str | None:
        """`fail` while writes are refused for want of leases, else `ok`; None for a node that no sentinel guards."""
        if not self._guard.is_armed:
            return None
        return "fail" if self.fenced() else "ok"

    def fields(self) -> dict[str, int]:
        """What INFO says about the leases: nothing unless sentinels guard this node.

        CLUSTER INFO has `cluster_guard_state`. No field is in both: redis_exporter takes every `cluster_*` field of
        either, and Prometheus refuses a scrape that has a metric twice.
        """
        guard = self._guard
        if not guard.is_armed:
            return {}
        now_ms = self._clock()
        return {
            "cluster_guard_fenced": int(self.fenced()),
            "cluster_guard_leases": guard.lease_count(now_ms),
            "cluster_guard_leases_needed": guard.leases_needed,
            "cluster_guard_lease_ms": max(0, guard.writable_until_ms - now_ms),
        }

    def outlasted(self) -> bool:
        """Whether the lease ended during the pass that ends now (the process was stopped?): its writes must not be
        acknowledged. Replies sent outside a pass acknowledge none.
        """
        guard = self._guard
        began_ms, self.pass_began_ms = self.pass_began_ms, NEVER_MS
        if guard.is_armed and self.demoted_halfway:
            return True
        if not guard.is_armed or self._is_replica():
            return False
        return began_ms < guard.writable_until_ms <= self._clock()
