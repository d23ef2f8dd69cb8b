"""Guarding by sentinels: leases that let a primary accept writes, and fences that keep old orders out.

This is our extension of the protocol; a node that was never guarded behaves as stock.

**Lease.** A sentinel that guards this node pings it; each ping grants a lease of ``lease_ms``. The clock is this node's
own: the sentinel echoes a clock value this node handed out in an earlier reply, and the lease runs from *that* moment.
So however long the ping travelled or the sentinel slept, the lease never outlasts what the sentinel counts on: it knows
that the lease it granted with an echo received at its time *t* is over at *t* + ``lease_ms``. It needs clocks that run
at about the same rate, not clocks that agree.

A replica gets no lease: the sentinel only says that it watches (``WATCH``), which also ends a lease it gave before.

The guard is *armed* when a majority of the sentinels watches or leases for the first time. From then on a primary
without a majority of leases is *fenced*: it must refuse writes, for the sentinels may be promoting its successor. Being
armed survives restarts: a primary that comes back must not accept writes before the sentinels have found it again.

**Heir.** A primary that has paused its writers for a planned failover names the replica that is to succeed it. From
then on a guard ping leases it nothing, ends the lease that this sentinel gave before, and is answered with the heir's
name: the sentinel may now lease the heir, which so holds its leases before it takes over. A word on the sentinels'
channel has them ping at once. Nothing is promised by naming an heir but what each answer says for one sentinel, so it
needs no state on disk: a primary that restarts has none.

**Fence.** A promotion carries the epoch in which the sentinels elected their leader. A node obeys no order with an
epoch older than the newest one it obeyed; that epoch is persisted. It also carries the last moment, on this node's
clock, at which it may be obeyed: the leader's voters lease the old primary again when it has passed.

A replica that a majority watches starts no election: the sentinels are at work. When they fall silent, the
cluster's own elections are allowed again; that is safe, as the primary is fenced by then.

The same rules hold for a node without a cluster (docs/adr/0053): what the guard must know of its node is `GuardedNode`.
"""

from __future__ import annotations

import re
from typing import Protocol

from attrs import define, frozen

from slotmesh.cluster.epochs import is_credible
from slotmesh.cluster.errors import ClusterRefusal, Condition

NEVER_MS = 2**63 - 1
HEIR_MS = 10_000
"""For how long a primary that was succeeded goes on naming its heir: until the sentinels know the new primary."""

SENTINEL_CHANNEL = b"__sentinel__:hello"
GUARD_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")


@define
class Lease:
    """What one sentinel granted last: until when we may accept writes, and until when it watches over our shard."""

    expires_ms: int
    present_ms: int
    voters: int


@frozen
class GuardReply:
    """Answer to a guard ping, to be sent after the effects of the ping are carried out.

    ``clock_ms`` is to be echoed in the next ping. With an ``heir`` (a node id) this node holds no lease of the sentinel
    any more, and the heir is to be leased in its place. While ``armed`` is false, writes are not tied to leases yet:
    do not promote a successor on the strength of leases that ran out.
    """

    clock_ms: int
    fence_epoch: int
    armed: bool
    fenced: bool
    heir: str = ""


def encode_call(node_id: str, clock_ms: int) -> bytes:
    """The word on the sentinels' channel that the node wants to be pinged; it has seen no ping later than that time."""
    return f"guard,{node_id},{clock_ms}".encode()


@frozen
class Fence:
    """The authority of a sentinels' order: their leader's epoch, and the config epoch the order must exceed or meet.

    ``void_ms``: after this moment on our clock the order is not obeyed; 0: it never gets too old.
    """

    epoch: int
    min_config_epoch: int = 0
    void_ms: int = 0


class GuardedNode(Protocol):
    """What a guard has to know of its node, and what it asks of it. Ids are those by which heirs are named."""

    @property
    def now_ms(self) -> int:
        """The node's clock."""
        ...

    @property
    def own_id(self) -> str:
        """By which the sentinels know this process."""
        ...

    @property
    def primary_id(self) -> str:
        """Whom this node replicates; empty for a primary."""
        ...

    @property
    def hands_over(self) -> bool:
        """Whether this primary has paused its writers for a planned failover."""
        ...

    @property
    def newest_epoch(self) -> int:
        """The greatest epoch heard of."""
        ...

    def save(self) -> None:
        """Have the guard on disk, synced, before anything that follows is told."""

    def notice(self, text: str) -> None:
        """Something for the log."""

    def publish(self, payload: bytes) -> None:
        """Tell the sentinels on their channel."""


class Guard:
    """The lease table and the fence of one node."""

    __slots__ = (
        "_born_ms",
        "_candidate_name",
        "_heir",
        "_heir_until_ms",
        "_leases",
        "_node",
        "_watched_until_ms",
        "fence_epoch",
        "name",
        "voters",
        "writable_until_ms",
    )

    def __init__(self, node: GuardedNode) -> None:
        self._node = node
        self._born_ms = node.now_ms
        self._leases: dict[str, Lease] = {}
        self._candidate_name = ""
        self._heir = ""
        self._heir_until_ms = 0
        self._watched_until_ms = 0
        self.name = ""
        """The name under which the sentinels guard us; empty while not armed."""
        self.voters = 0
        """How many sentinels there are, as last told."""
        self.fence_epoch = 0
        self.writable_until_ms = NEVER_MS
        """When the majority of leases runs out; for a cheap test per write command."""

    def restore(self, name: str, voters: int, fence_epoch: int) -> None:
        """State from disk: armed when there is a name, but without any lease yet."""
        self.fence_epoch = fence_epoch
        if name:
            self.name, self.voters = name, voters
            self.writable_until_ms = 0

    @property
    def is_armed(self) -> bool:
        """Whether a majority of sentinels ever guarded this node (and nobody released it since)."""
        return bool(self.name)

    def is_fenced(self, now_ms: int) -> bool:
        """Whether a primary must refuse writes."""
        return now_ms >= self.writable_until_ms

    def rules_elections(self) -> bool:
        """Whether a majority of sentinels watches over this shard, so that failing over is up to them."""
        return self.is_armed and self._node.now_ms < self._watched_until_ms

    def on_guard(
        self, name: str, sentinel_id: str, lease_ms: int, voters: int, echo_ms: int, *, watch: bool = False
    ) -> GuardReply:
        """A guard ping. ``ClusterRefusal`` when it makes no sense, or a group of another name guards this node.

        With ``watch`` the sentinel only says that it is there, and a lease it gave us before ends now. So it does while
        we name an heir.
        """
        node, now_ms = self._node, self._node.now_ms
        heir = self.heir
        if not GUARD_NAME.match(name) or not GUARD_NAME.match(sentinel_id) or lease_ms <= 0 or voters <= 0:
            raise ClusterRefusal(Condition.BAD_GUARD)
        if self.name and name != self.name:
            raise ClusterRefusal(Condition.OTHER_GUARD, self.name)
        if name != self._candidate_name:
            self._candidate_name = name
            self._leases.clear()
        held = self._leases.get(sentinel_id) or Lease(0, 0, voters)
        until_ms = echo_ms + lease_ms if self._born_ms <= echo_ms <= now_ms else 0
        expires_ms = 0 if watch or heir else max(until_ms, held.expires_ms)
        self._leases[sentinel_id] = Lease(expires_ms, max(until_ms, held.present_ms), voters)
        changed, self.voters = voters != self.voters, voters
        if self.is_armed and changed:
            node.save()
        self._leases = {who: lease for who, lease in self._leases.items() if lease.present_ms > now_ms}
        self._watched_until_ms = self._majority_until_ms([lease.present_ms for lease in self._leases.values()])
        if not self.is_armed and self._watched_until_ms > now_ms:
            self.name = name
            node.save()
            node.notice(f"guarded by the sentinels of {name}")
        if self.is_armed:
            self.writable_until_ms = self._majority_until_ms([lease.expires_ms for lease in self._leases.values()])
        return GuardReply(now_ms, self.fence_epoch, self.is_armed, self.is_fenced(now_ms), heir)

    @property
    def heir(self) -> str:
        """The node id of the replica that is to hold the leases in our place; empty when there is none."""
        node = self._node
        if not node.primary_id:
            return self._heir if node.hands_over else ""
        return self._heir if node.primary_id == self._heir and node.now_ms < self._heir_until_ms else ""

    def name_heir(self, node_id: str) -> None:
        """Our writers are paused: this replica is to be leased in our place."""
        if self.is_armed:
            self._heir, self._heir_until_ms = node_id, self._node.now_ms + HEIR_MS
            self.call_sentinels()

    def forget_heir(self) -> None:
        """We are to take over from our primary, the heir that we named a moment ago perhaps: now we are its heir."""
        self._heir = ""

    def end_hand_over(self) -> None:
        """The planned failover is over. If we are still the primary, we need our leases back."""
        if self._heir and not self._node.primary_id:
            self._heir = ""
            self.call_sentinels()

    def call_sentinels(self) -> None:
        """Have the sentinels ping us now. Other listeners take it for no hello."""
        self._node.publish(encode_call(self._node.own_id, self._node.now_ms))

    def _majority_until_ms(self, ends_ms: list[int]) -> int:
        """Until when a majority of what ends at ``ends_ms`` is valid; 0 when there is no majority."""
        needed = self.leases_needed
        return sorted(ends_ms, reverse=True)[needed - 1] if len(ends_ms) >= needed else 0

    def release(self, name: str) -> bool:
        """The sentinels of ``name`` no longer guard this node; true when they did."""
        if not self.name or name != self.name:
            return False
        self._node.notice(f"released by the sentinels of {name}")
        self.disarm()
        self._node.save()
        return True

    def disarm(self) -> None:
        """Nobody guards this node."""
        self.name, self.voters = "", 0
        self._leases.clear()
        self._watched_until_ms = 0
        self.writable_until_ms = NEVER_MS

    def lease_count(self, now_ms: int) -> int:
        """How many sentinels' leases run at ``now_ms``."""
        return sum(lease.expires_ms > now_ms for lease in self._leases.values())

    @property
    def leases_needed(self) -> int:
        """How many leases make a majority. When sentinels differ about their number, the greatest one is safe."""
        return max([self.voters, *(lease.voters for lease in self._leases.values())]) // 2 + 1

    def obey(self, fence: Fence) -> None:
        """Accept an order's authority; ``ClusterRefusal`` when a newer one was obeyed before, it comes too late, or it
        cannot be one.
        """
        if fence.void_ms and self._node.now_ms > fence.void_ms:
            raise ClusterRefusal(Condition.LATE_ORDER, self._node.now_ms - fence.void_ms)
        epochs = ((fence.epoch, self.fence_epoch), (fence.min_config_epoch, self._node.newest_epoch))
        for told, known in epochs:
            if not is_credible(told, known):
                raise ClusterRefusal(Condition.EPOCH_INVALID, told)
        if fence.epoch < self.fence_epoch:
            raise ClusterRefusal(Condition.STALE_FENCE, str(self.fence_epoch))
        if fence.epoch > self.fence_epoch:
            self.fence_epoch = fence.epoch
            self._node.save()
