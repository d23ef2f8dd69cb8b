"""Replica migration: a replica of a well-covered primary moves to a primary that has lost all of its own.

Only to a primary with slots that had replicas once (``migrate_to``), only after it has been orphaned for five seconds
(its own replicas may just be changing roles), only from the primary with the most working replicas, and only while that
one keeps ``migration_barrier`` of them. Of all candidates the one with the smallest id moves, so that normally just one
does. Two moving at once does no harm.
"""

from __future__ import annotations

from slotmesh.cluster.members import Member
from slotmesh.cluster.topology import Topology
from slotmesh.cluster.view import ClusterView

ORPHANED_MS = 5000


def maybe_migrate(view: ClusterView, topology: Topology) -> None:
    """Called on every tick of a replica."""
    me = view.myself
    if me.primary is None or not view.config.allow_replica_migration:
        return
    most = max((m.working_replicas for m in view.members if m.is_primary and not m.failed), default=0)
    orphans = _track_orphans(view)
    if not orphans or most < 2 or me.primary.working_replicas != most or not view.cluster_ok:
        return
    healthy = sum(not replica.failed and not replica.pfail for replica in me.primary.replicas)
    if healthy <= view.config.migration_barrier:
        return
    rivals = [r for m in view.members if m.is_primary and m.working_replicas == most for r in m.replicas]
    if min(rivals, key=lambda replica: replica.node_id) is not me:
        return
    target = orphans[0]
    if view.now_ms - target.orphaned_since_ms > ORPHANED_MS:
        view.notice("replica-migration", f"moving to orphaned primary {target.node_id}")
        topology.become_replica_of(target, "replica-migration")


def _track_orphans(view: ClusterView) -> list[Member]:
    """The orphaned primaries, each stamped with the moment it was first seen so."""
    orphans = []
    for member in view.members:
        orphaned = member.is_voter and not member.failed and member.migrate_to and member.working_replicas == 0
        if not orphaned:
            member.orphaned_since_ms = 0
            continue
        if member.orphaned_since_ms == 0:
            member.orphaned_since_ms = view.now_ms
        orphans.append(member)
    return orphans
