"""The verb failover: promote a replica on purpose, and say how long clients had to wait.

The downtime is measured, not derived: a probe sends a write that changes nothing (DEL of a key that does not exist, in
a slot of the shard) without a pause, follows the shard to its new primary, and reports the longest time between two
accepted writes.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping, Sequence

import click

from slotmesh.cluster.plan import Address
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.slots import key_slot
from slotmesh.tools.clusterctl.agreement import disagreement, open_links, poll_until, slot_map_of
from slotmesh.tools.clusterctl.connect import Access, NodeLink, words
from slotmesh.tools.clusterctl.errors import CannotConnect, OperationFailed, ServerError, UsageMistake
from slotmesh.tools.clusterctl.forming import wait_for_replica_links
from slotmesh.tools.clusterctl.session import Session, cluster_verb
from slotmesh.tools.clusterctl.view import ClusterView, Node

FAILOVER_DEADLINE_S = 60.0

GIVES_UP_AFTER_S = 6.0
"""A node drops a manual failover that has not come off after 5 s."""


class DowntimeProbe:
    """Writes to one shard in a thread of its own and remembers the longest gap. Use as a context manager."""

    def __init__(self, members: Sequence[Address], slots: SlotSet, access: Access) -> None:
        """`members` are all nodes of the shard, the present primary first."""
        self._members = members
        self._access = access
        self._key = _key_in(slots)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="downtime-probe")
        self.longest_gap_s = 0.0
        self.writes = 0

    def __enter__(self) -> DowntimeProbe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def downtime_ms(self) -> int | None:
        """None when not even one write was accepted."""
        return round(self.longest_gap_s * 1000) if self.writes > 1 else None

    def wait_for_write(self, deadline_s: float) -> None:
        """Until another write has been accepted."""
        before = self.writes
        poll_until(lambda: None if self.writes > before else "no write is accepted", deadline_s)

    def _run(self) -> None:
        links = [NodeLink(address, self._access) for address in self._members]
        last_s = None
        turn = 0
        try:
            while not self._stop.is_set():
                if self._write(links[turn % len(links)]):
                    now_s = time.monotonic()
                    if last_s is not None:
                        self.longest_gap_s = max(self.longest_gap_s, now_s - last_s)
                    last_s = now_s
                    self.writes += 1
                else:
                    turn += 1
                    self._stop.wait(0.001)
        finally:
            for link in links:
                link.close()

    def _write(self, link: NodeLink) -> bool:
        try:
            link.call("DEL", self._key)
        except (ServerError, CannotConnect):
            return False  # MOVED, READONLY, CLUSTERDOWN, a closed connection: all mean "not accepted here, now"
        return True


def _key_in(slots: SlotSet) -> bytes:
    """A key that surely does not exist, in one of `slots`."""
    while True:
        key = b"clusterctl:probe:" + secrets.token_hex(8).encode()
        if key_slot(key) in slots:
            return key


@click.command(short_help="Promote a replica and measure how long writes waited.")
@click.argument("node", metavar="NODE")
@click.option("--force", is_flag=True, help="Do not wait for the old primary (it is down); the majority must agree.")
@click.option("--takeover", is_flag=True, help="Ask nobody. For when most primaries are gone.")
@cluster_verb
def failover(session: Session, node: str, force: bool, takeover: bool) -> None:
    """Promote NODE, a replica; or, if NODE is a primary, its replica with the most data.

    Without --force and --takeover no write is lost: the primary pauses until the replica has everything.
    """
    if force and takeover:
        raise UsageMistake("--force and --takeover do not go together")
    view = session.load()
    replica, primary = _choose(view, node)
    if not primary.reachable and not (force or takeover):
        raise UsageMistake(f"the primary {primary.name} does not answer", "add --force, or --takeover without majority")
    others = [member.address for member in view.replicas_of(primary.id) if member.id != replica.id]
    members = [primary.address, replica.address, *others]
    mode = ["TAKEOVER"] if takeover else ["FORCE"] if force else []
    wanted = view.owned() | {primary.id: SlotSet(), replica.id: primary.slots}
    started_s = time.monotonic()
    with DowntimeProbe(members, primary.slots, session.access) as probe:
        if primary.reachable:
            probe.wait_for_write(5.0)
        with session.out.waiting("promoting; waiting until all nodes agree"):
            promoted_s = _promote(session, replica, [member.address for member in view.reachable], wanted, mode)
        probe.wait_for_write(FAILOVER_DEADLINE_S)
    took_s = promoted_s - started_s
    if primary.reachable:
        wait_for_replica_links([primary.address], session.access)
    downtime = f"writes waited at most {probe.downtime_ms} ms" if primary.reachable else "the old primary was down"
    session.out.say(f"{replica.name} is the primary now, after {took_s * 1000:.0f} ms; {downtime}", "green")
    session.out.finish(
        {
            "promoted": replica.id,
            "demoted": primary.id,
            "address": str(replica.address),
            "failover_ms": round(took_s * 1000),
            "downtime_ms": probe.downtime_ms if primary.reachable else None,
        }
    )


def _choose(view: ClusterView, reference: str) -> tuple[Node, Node]:
    """(replica to promote, its primary)."""
    node = view.find(reference)
    if node.is_primary:
        replicas = [replica for replica in view.replicas_of(node.id) if replica.reachable]
        if not replicas:
            raise UsageMistake(f"{node.name} has no replica that can be reached")
        if not node.slots:
            raise UsageMistake(f"{node.name} owns no slots: there is nothing to take over")
        return max(replicas, key=lambda replica: replica.offset), node
    if not node.reachable:
        raise UsageMistake(f"{node.name} cannot be reached: {node.error}")
    primary = view.get(node.line.primary_id or "")
    if primary is None or not primary.slots:
        raise UsageMistake(f"the primary of {node.name} owns no slots: there is nothing to take over")
    return node, primary


def _promote(
    session: Session,
    replica: Node,
    members: Sequence[Address],
    wanted: Mapping[str, SlotSet],
    mode: Sequence[str],
) -> float:
    """Ask for the promotion until all nodes agree on it; returns the (monotonic) time at which it happened.

    Asking once is not enough. A message or a vote can be missed, and stock nodes that were promoted a short while ago
    count their old votes again: they take over with an old epoch, and are put back in their place by gossip.
    """
    target = slot_map_of(wanted)
    asked_s = promoted_s = 0.0
    with NodeLink(replica.address, session.access) as link, open_links(members, session.access) as links:

        def missing() -> str | None:
            nonlocal asked_s, promoted_s
            now_s = time.monotonic()
            if words(link.call("ROLE")[0]) == "master":
                promoted_s = promoted_s or now_s
                return disagreement(links, target)
            promoted_s = 0.0
            if now_s - asked_s > GIVES_UP_AFTER_S:
                link.call("CLUSTER", "FAILOVER", *mode)
                asked_s = now_s
            return f"{replica.name} has not been promoted"

        try:
            poll_until(missing, FAILOVER_DEADLINE_S)
        except OperationFailed as error:
            raise OperationFailed(error.message, f"the log of {replica.address} says why") from error
    return promoted_s
