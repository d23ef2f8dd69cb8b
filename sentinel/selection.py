"""Which replica to promote.

Fit for promotion is a replica that answers, whose facts are fresh, that may be promoted (priority 0: never), and whose
link to the primary was not down for much longer than the primary itself; in a guarded cluster it must also say that it
is a replica. Among those: the smallest priority, then the
largest replication offset (it has most of the data), then the smallest run id (only so that everybody chooses alike).
"""

from __future__ import annotations

from sentinel.instance import PRIMARY, Instance, Unit
from sentinel.state import Timing

SILENT_PINGS = 5
FRESH_INFO_PINGS = 5
FRESH_INFO_PERIODS = 3
LINK_DOWN_FACTOR = 10


def fit_for_promotion(replica: Instance, unit: Unit, timing: Timing, now_ms: int) -> bool:
    """Whether a replica may be considered at all."""
    if replica.sdown or not replica.link.complete or replica.replica.priority == 0 or replica.no_failover:
        return False
    if unit.guard is not None and replica.role_reported == PRIMARY:
        return False  # an old primary that has not heard of its successor: it lacks all the successor wrote
    if now_ms - replica.link.last_avail_ms > timing.ping_period * SILENT_PINGS:
        return False
    primary_down = unit.primary.sdown
    # While a primary is down its replicas are asked every second; otherwise their facts may be a whole period old.
    validity_ms = timing.ping_period * FRESH_INFO_PINGS if primary_down else timing.info_period * FRESH_INFO_PERIODS
    if replica.info_heard_ms == 0 or now_ms - replica.info_heard_ms > validity_ms:
        return False
    # Since when the primary may be down: since its last sign of life. Stock counts from SDOWN, which comes much later
    # after TILT, and then finds no replica good enough, for ever.
    down_ms = now_ms - unit.primary.link.last_avail_ms if primary_down else 0
    return replica.replica.primary_link_down_ms <= down_ms + unit.settings.down_after_ms * LINK_DOWN_FACTOR


def preference(replica: Instance) -> tuple[int, int, bool, str]:
    """The sort key: better first. A server that gives no run id comes last among equals."""
    return (replica.replica.priority, -replica.replica.offset, not replica.run_id, replica.run_id.lower())


def select_replica(unit: Unit, timing: Timing, now_ms: int) -> Instance | None:
    """The best replica to promote, or None."""
    candidates = [r for r in unit.replicas.values() if fit_for_promotion(r, unit, timing, now_ms)]
    return min(candidates, key=preference, default=None)


def facts_awaited(unit: Unit) -> bool:
    """Whether a replica that answers has not yet told its offset since the primary went down."""
    since_ms = unit.primary.sdown_since_ms if unit.primary.sdown else 0
    return any(
        r.info_heard_ms < since_ms and r.link.commands.up and not r.sdown and r.replica.priority
        for r in unit.replicas.values()
    )
