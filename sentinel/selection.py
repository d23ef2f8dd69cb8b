"""Which replica to promote.

Fit for promotion is a replica that answers, whose facts are fresh, that may be promoted (priority 0: never), and whose
link to the primary was not down for much longer than the primary itself; in a guarded cluster it must also say that it
is a replica. Among those: the smallest priority, then the largest replication offset (it has most of the data), then
the smallest run id (only so that everybody chooses alike).

After a crash of a whole shard the first process that is up must not win just for that: what it loaded from its disk is
older than what the primary wrote to its own. A replica that has had no link to its primary since it started
(`master_link_down_since_seconds:-1`) is therefore fit only `HEAD_START_MS` after its first answer. Its offset cannot
decide that: the sentinels know no newer one of the primary than that of the last INFO. When the primary does not come,
data on a disk are better than none. What it says about its uptime counts as well: sentinels that restart do not begin
to wait again.
"""

from __future__ import annotations

from slotmesh.sentinel.instance import PRIMARY, Instance, Unit
from slotmesh.sentinel.state import Timing

SILENT_PINGS = 5
FRESH_INFO_PINGS = 5
FRESH_INFO_PERIODS = 3
LINK_DOWN_FACTOR = 10
HEAD_START_MS = 10_000
"""How long a replica that started without its primary leaves it to the primary to start as well. It counts until the
primary's port is open; one that loads its data answers, and is waited for as long as that takes."""


def fit_for_promotion(replica: Instance, unit: Unit, timing: Timing, now_ms: int) -> bool:
    """Whether a replica may be considered at all."""
    if replica.sdown or not replica.link.complete or replica.replica.priority == 0 or replica.no_failover:
        return False
    if unit.guard is not None and replica.role_reported == PRIMARY:
        return False  # an old primary that has not heard of its successor: it lacks all the successor wrote
    if now_ms < head_start_over_ms(replica):
        return False
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


def head_start_over_ms(replica: Instance) -> int:
    """When a replica that started without its primary may be promoted; 0: it has been linked, it may be at once.

    A former primary that has not heard of its successor is such a one: it lacks all that the successor wrote.
    """
    state = replica.replica
    alone = state.never_linked and not state.primary_link_up
    return replica.link.born_ms + HEAD_START_MS if alone or replica.role_reported == PRIMARY else 0


def preference(replica: Instance) -> tuple[int, int, bool, str]:
    """The sort key: better first. A server that gives no run id comes last among equals."""
    return (replica.replica.priority, -replica.replica.offset, not replica.run_id, replica.run_id.lower())


def select_replica(unit: Unit, timing: Timing, now_ms: int) -> Instance | None:
    """The best replica to promote, or None."""
    candidates = [r for r in unit.replicas.values() if fit_for_promotion(r, unit, timing, now_ms)]
    return min(candidates, key=preference, default=None)


def promotable_at_ms(unit: Unit, timing: Timing, now_ms: int) -> int | None:
    """When there is somebody to promote as far as is known: now, when a head start ends, or None."""
    if select_replica(unit, timing, now_ms) is not None:
        return now_ms
    return min((over for r in unit.replicas.values() if (over := head_start_over_ms(r)) > now_ms), default=None)


def facts_awaited(unit: Unit) -> bool:
    """Whether a replica that answers has not yet told its offset since the primary went down."""
    since_ms = unit.primary.sdown_since_ms if unit.primary.sdown else 0
    return any(
        r.info_heard_ms < since_ms and r.link.commands.up and not r.sdown and r.replica.priority
        for r in unit.replicas.values()
    )
