"""What is wrong with a cluster, as a list of findings from one view. Pure: no connection is made here.

An error means that clients or keys are at stake now, or that a change could do harm; a warning means that the next
failure would hurt. A dead node without slots is a warning: it serves nothing, so it may block nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from slotmesh.cluster.numbers import to_uint
from slotmesh.cluster.plan import Address
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.tools.clusterctl.view import ClusterView, Node, union

ERROR = "error"
WARNING = "warning"


@attrs.frozen
class Finding:
    """One thing that is wrong. `code` is stable for programs; `nodes` are ids."""

    severity: str
    code: str
    message: str
    hint: str | None = None
    nodes: tuple[str, ...] = ()
    slots: SlotSet = attrs.field(factory=SlotSet)

    def describe(self) -> dict[str, Any]:
        return {
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "nodes": list(self.nodes),
            "slots": self.slots.to_text(),
        }


@attrs.frozen
class Strays:
    """Keys on `node` in slots that it does not own: no client finds them there."""

    node: Node
    slots: SlotSet
    keys: int


def find_problems(view: ClusterView, strays: Iterable[Strays] = ()) -> list[Finding]:
    """All findings, errors first."""
    findings = [
        *_slot_findings(view),
        *_stray_findings(strays),
        *_write_findings(view),
        *_agreement_findings(view),
        *_node_findings(view),
        *_redundancy_findings(view),
    ]
    return sorted(findings, key=lambda finding: finding.severity != ERROR)


def has_errors(findings: Iterable[Finding]) -> bool:
    return any(finding.severity == ERROR for finding in findings)


def doubly_owned(view: ClusterView) -> SlotSet:
    """Slots that two reachable primaries both call their own."""
    seen = doubled = SlotSet()
    for node in view.live_primaries:
        doubled |= seen & node.slots
        seen |= node.slots
    return doubled


def _slot_findings(view: ClusterView) -> Iterable[Finding]:
    loading = union(node.slots for node in view.primaries if node.loading)
    dead = union(node.slots for node in view.primaries if not node.reachable)
    uncovered = view.uncovered()
    if lost := uncovered & (dead - loading):
        text = f"{len(lost)} slots belong to nodes that cannot be reached: {lost.to_text()}"
        yield Finding(
            ERROR, "slots_unreachable", text, "bring the node back, or promote a replica: clusterctl fix", (), lost
        )
    if orphans := uncovered - dead:
        text = f"{len(orphans)} slots have no owner: {orphans.to_text()}"
        yield Finding(ERROR, "slots_uncovered", text, "clusterctl fix", (), orphans)
    if open_slots := view.open_slots():
        text = f"{len(open_slots)} slots are half-moved: {open_slots.to_text()}"
        holders = tuple(node.id for node in view.nodes if node.line.migrating or node.line.importing)
        yield Finding(ERROR, "slots_open", text, "clusterctl fix", holders, open_slots)
    if doubled := doubly_owned(view):
        text = f"{len(doubled)} slots have several owners: {doubled.to_text()}"
        yield Finding(ERROR, "slots_doubly_owned", text, "clusterctl fix", (), doubled)


def _stray_findings(strays: Iterable[Strays]) -> Iterable[Finding]:
    for one in strays:
        text = f"{one.node.name} holds {one.keys:,} stray keys, in {len(one.slots)} slots that it does not own"
        yield Finding(ERROR, "keys_stray", text, "bring them to the owners: clusterctl fix", (one.node.id,), one.slots)


def _write_findings(view: ClusterView) -> Iterable[Finding]:
    """Why a write to a primary that is up would be refused."""
    for node in view.live_primaries:
        if not node.slots:
            continue
        for code, why, hint in _write_refusals(node):
            yield Finding(ERROR, code, f"primary {node.name} refuses writes: {why}", hint, (node.id,))


def _count(fields: Mapping[str, str], name: str) -> int:
    return to_uint(fields.get(name, "")) or 0


def _write_refusals(node: Node) -> Iterable[tuple[str, str, str]]:
    """(code, why, hint), from INFO, CLUSTER INFO and settings: what a node of ours and a stock one both tell."""
    info, settings = node.info, node.settings
    if node.cluster_info.get("cluster_guard_state") == "fail":
        held, needed = info.get("cluster_guard_leases", "?"), info.get("cluster_guard_leases_needed", "?")
        hint = "are the sentinels running, and do they reach it? `clusterctl up` starts those of a local cluster"
        yield "no_lease", f"it has the leases of {held} sentinels and needs {needed}", hint
    if info.get("aof_enabled") == "1" and info.get("aof_last_write_status") == "err":
        yield "log_write_failed", "it cannot write its append-only file", "is its disk full? its log says more"
    if info.get("rdb_last_bgsave_status") == "err" and settings.get("stop-writes-on-bgsave-error") == "yes":
        yield "save_failed", "its last background save failed", "is its disk full? its log says more"
    wanted, good = _count(settings, "min-replicas-to-write"), _count(info, "min_slaves_good_slaves")
    if "min_slaves_good_slaves" in info and good < wanted:
        why = f"{good} of the {wanted} replicas that min-replicas-to-write asks for are in sync"
        yield "too_few_replicas", why, "look at its replicas"
    limit, used = _count(info, "maxmemory"), _count(info, "used_memory")
    if 0 < limit < used - _count(info, "mem_not_counted_for_evict") and info.get("maxmemory_policy") == "noeviction":
        why = f"it uses {used:,} of {limit:,} bytes, and may evict nothing (maxmemory-policy noeviction)"
        yield "out_of_memory", why, "raise maxmemory, delete keys, or choose a maxmemory-policy"


def _agreement_findings(view: ClusterView) -> Iterable[Finding]:
    if dissenters := view.dissenters():
        names = ", ".join(node.name for node in dissenters)
        yield Finding(
            ERROR,
            "views_differ",
            f"the nodes do not agree who owns which slot: {names} against the rest",
            "it may settle by itself within seconds; if not: clusterctl fix",
            tuple(node.id for node in dissenters),
        )
    live = view.reachable
    for node in live:
        known = {line.id for line in node.seen}
        if strangers := [other for other in live if other.id not in known]:
            text = f"{node.name} does not know {', '.join(other.name for other in strangers)}"
            yield Finding(ERROR, "node_unknown", text, "clusterctl fix", (node.id, *(s.id for s in strangers)))
    by_epoch: dict[int, list[Node]] = {}
    for node in view.live_primaries:
        if node.slots:
            by_epoch.setdefault(node.line.config_epoch, []).append(node)
    for epoch, nodes in by_epoch.items():
        if len(nodes) > 1:
            text = f"config epoch {epoch} is shared by {', '.join(node.name for node in nodes)}"
            yield Finding(ERROR, "epoch_shared", text, "clusterctl fix", tuple(node.id for node in nodes))


def _node_findings(view: ClusterView) -> Iterable[Finding]:
    for node in view.nodes:
        if node.loading:
            text = f"{'primary' if node.is_primary else 'replica'} {node.name} is loading its data"
            serious = node.is_primary and bool(node.slots)
            yield Finding(ERROR if serious else WARNING, "node_loading", text, "it serves when it is done", (node.id,))
        elif not node.reachable:
            serious = node.is_primary and bool(node.slots)
            hint = "start it" if serious else f"start it, or take it out: clusterctl del-node {node.short_id}"
            yield Finding(
                ERROR if serious else WARNING,
                "node_unreachable",
                f"{'primary' if node.is_primary else 'replica'} {node.name}: {node.error}",
                hint,
                (node.id,),
            )
        elif view.suspects(node):
            text = f"{node.name} answers us, but other nodes suspect it of being down"
            yield Finding(ERROR, "node_suspected", text, "is its bus port (port + 10000) reachable?", (node.id,))
        if node.reachable and node.cluster_info.get("cluster_state") != "ok":
            text = f"{node.name} says the cluster is down (cluster_state:fail)"
            yield Finding(ERROR, "state_fail", text, None, (node.id,))


def _redundancy_findings(view: ClusterView) -> Iterable[Finding]:
    for node in view.reachable:
        if not node.is_primary and not node.replica_link_up:
            text = f"replica {node.name} is not in sync with its primary"
            yield Finding(WARNING, "replica_not_linked", text, "look at its log", (node.id,))
    for primary in view.primaries:
        if not primary.slots:
            continue
        live = [replica for replica in view.replicas_of(primary.id) if replica.reachable]
        if not live:
            text = f"primary {primary.name} has no replica that can be reached"
            yield Finding(WARNING, "no_replica", text, "clusterctl add-node HOST:PORT --replica-of it", (primary.id,))
        elif _on_one_host(primary.address, [replica.address for replica in live]) and _several_hosts(view):
            text = f"primary {primary.name} and all its replicas are on one host"
            yield Finding(WARNING, "same_host", text, None, (primary.id,))


def _on_one_host(primary: Address, replicas: Iterable[Address]) -> bool:
    return all(replica.host == primary.host for replica in replicas)


def _several_hosts(view: ClusterView) -> bool:
    return len({node.address.host for node in view.nodes}) > 1
