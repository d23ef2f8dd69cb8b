"""Moving slots between two nodes with the classic protocol, fast.

The protocol for one slot (https://redis.io/docs/latest/commands/cluster-setslot/): IMPORTING on the target, MIGRATING
on the source, then every key with MIGRATE (atomic per key: it is on one side or the other), then NODE on the target, on
the source and on the other primaries. Between MIGRATING and NODE clients meet ASK, and TRYAGAIN for multi-key calls on
a half-moved slot.

A stock tool pays for each slot a dozen round trips and, worse, on every node a rewrite of nodes.conf with an fsync.
Here the same steps run for a window of many slots at once, one batch of commands per step and node, so a window of
empty slots costs as much as one. A window holds at most `MAX_WINDOW_SLOTS` slots and about `WINDOW_KEYS` keys, which
bounds how long any slot is open. MIGRATE blocks both nodes, so each call is bounded in keys, in (sampled) bytes and, by
what earlier calls took, in time; and all sizes follow how long other clients wait meanwhile (`pace`).

Two rules keep keys safe. NODE goes to the target only after the source has counted zero keys in the slot: a source that
learns by gossip that a slot is no longer its own deletes the keys that it still holds. And when a key is on both sides
(a MIGRATE that broke half-way), the copy of the owner, the source, wins: clients have been served from there.

`SlotMover` is the whole interface the rest of clusterctl knows, so that an atomic handover can take the place of this
mover. Not here: which slots move (cluster.plan), the journal and the waiting for agreement (moving).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Protocol, TypeVar

import attrs

from slotmesh.cluster.plan import Address
from slotmesh.cluster.slot_set import NO_SLOTS, SlotSet
from slotmesh.tools.clusterctl.connect import Access, Argument, NodeLink, pack
from slotmesh.tools.clusterctl.errors import CannotConnect, OperationFailed, ServerError
from slotmesh.tools.clusterctl.pace import Pace, WaitWatch

WINDOW_KEYS = 4_000
DEFAULT_MIGRATE_TIMEOUT_MS = 60_000

_CALLS_IN_FLIGHT_KEYS = 1_024
_MAX_BYTES_PER_CALL = 2 * 1024 * 1024
_SAMPLES_PER_SLOT = 4
_LIST_CHUNK = 4_096
_MAX_STALLED_ROUNDS = 50
_STALL_PAUSE_S = 0.1
_RECONNECTS = 12
_RECONNECT_PAUSE_S = 0.25

_PASSING_ERRORS = ("CLUSTERDOWN", "TRYAGAIN", "LOADING", "BUSY ")
"""States of the target that pass: a node that has just joined needs a moment until it serves."""

NOT_A_PRIMARY = "SETSLOT only with masters"

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Called with (slots, keys) that have arrived since the last call; from the thread that moves."""


@attrs.frozen
class Party:
    """A node in a move: its id and where it is reached."""

    id: str
    address: Address


@attrs.define
class MoveResult:
    """What has been moved. `replaced` counts keys found on both sides, where the owner's copy won."""

    slots: SlotSet = NO_SLOTS
    keys: int = 0
    replaced: int = 0

    def add(self, other: MoveResult) -> None:
        self.slots |= other.slots
        self.keys += other.keys
        self.replaced += other.replaced


class SlotMover(Protocol):
    """Moves slots from one primary to another."""

    def count_keys(self, source: Party, slots: SlotSet) -> int:
        """How many keys `source` holds in `slots`, for estimates."""
        ...

    def move(self, source: Party, target: Party, slots: SlotSet, progress: Progress) -> MoveResult:
        """Move `slots` and return those that `target` owns now.

        Stops early, with no slot left open, when the mover's stop event is set. Raises `ClusterctlError` when a party
        fails; slots may then be open, and `clusterctl fix` heals them.
        """
        ...


def count_per_slot(link: NodeLink, slots: Sequence[int]) -> dict[int, int]:
    """COUNTKEYSINSLOT for many slots; only the non-empty ones are returned."""
    replies = link.batch([("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in slots])
    return {slot: count for slot, count in zip(slots, _all_good(replies), strict=True) if count}


def set_slots(link: NodeLink, slots: SlotSet, *how: Argument, tolerate: str | None = None) -> None:
    """CLUSTER SETSLOT of every slot with the same ending, e.g. ("NODE", id).

    The first refusal raises, unless its text contains `tolerate`.
    """
    for reply in link.batch([("CLUSTER", "SETSLOT", slot, *how) for slot in slots]):
        if isinstance(reply, ServerError) and (tolerate is None or tolerate not in reply.text):
            raise reply


def tell_giver(link: NodeLink, slots: SlotSet, owner_id: str) -> None:
    """Tell a node that holds no key of `slots` any more who owns them now.

    With its last slot gone, a node becomes a replica of the new owner, by itself and perhaps before it is told (gossip
    is quick); replicas refuse SETSLOT, and need none.
    """
    set_slots(link, slots, "NODE", owner_id, tolerate=NOT_A_PRIMARY)


def _all_good(replies: Sequence[object]) -> Sequence[int]:
    for reply in replies:
        if isinstance(reply, ServerError):
            raise reply
    return replies  # type: ignore[return-value]


def reconnecting(step: Callable[[], T]) -> T:
    """Do a step of a move, once more from its start whenever the connection breaks, for a few seconds.

    A node drops all its clients when its leases ran out in the middle of a pass, and serves them again a moment later.
    Every step may be done twice: SETSLOT says what is to be, and keys that have gone are not listed again.
    """
    for _ in range(_RECONNECTS):
        try:
            return step()
        except CannotConnect:
            time.sleep(_RECONNECT_PAUSE_S)
    return step()


class KeyDrain:
    """Carries all keys of open slots from one node to another until the source counts none.

    The slots must be open on the source (migrating or importing: otherwise it answers MIGRATE with MOVED), and owned or
    importing on the target.
    """

    def __init__(
        self,
        source: NodeLink,
        target: Address,
        access: Access,
        migrate_timeout_ms: int,
        watch: WaitWatch | None = None,
        pace: Pace | None = None,
    ) -> None:
        """Without a `watch` nobody else is thought of."""
        self._source = source
        self._ending = self._command_frame(target, access, migrate_timeout_ms)
        self._watch = watch
        self._pace = pace or Pace()
        self._obstacle = ""

    @staticmethod
    def _command_frame(target: Address, access: Access, timeout_ms: int) -> tuple[list[Argument], list[Argument]]:
        head: list[Argument] = ["MIGRATE", target.host, target.port, b"", 0, timeout_ms]
        tail: list[Argument] = []
        if access.password is not None:
            tail = ["AUTH2", access.username, access.password] if access.username else ["AUTH", access.password]
        return head, [*tail, "KEYS"]

    def run(self, slots: SlotSet, on_keys: Callable[[int], None]) -> MoveResult:
        """Returns when the source counts 0 keys in every slot; the owner's copy replaces one on the target."""
        result = MoveResult(slots)
        left = count_per_slot(self._source, list(slots))
        stalled = 0
        replace = False
        while left:
            replace = self._round(left, replace, result, on_keys)
            before, left = sum(left.values()), count_per_slot(self._source, list(left))
            stalled = stalled + 1 if sum(left.values()) >= before else 0
            if stalled >= _MAX_STALLED_ROUNDS:
                why = f": {self._obstacle}" if self._obstacle else ""
                raise OperationFailed(f"{sum(left.values())} keys on {self._source.address} do not move{why}")
            if stalled > 1:  # the first repetition is the one with REPLACE; then give a busy target time
                time.sleep(_STALL_PAUSE_S)
        return result

    def _round(
        self, left: Mapping[int, int], replace: bool, result: MoveResult, on_keys: Callable[[int], None]
    ) -> bool:
        """Carry what is listed now. Returns whether a key stood in the way, so that the next round must replace."""
        slots = list(left)
        lists = self._source.batch([("CLUSTER", "GETKEYSINSLOT", slot, min(left[slot], _LIST_CHUNK)) for slot in slots])
        _all_good(lists)
        clash = False
        pending: list[Sequence[bytes]] = []
        for keys, bytes_per_key in zip(lists, self._average_sizes(lists), strict=True):
            start = 0
            while start < len(keys):
                size = max(1, min(self._pace.keys_per_call, int(_MAX_BYTES_PER_CALL / max(bytes_per_key, 1))))
                pending.append(keys[start : start + size])
                start += size
                most = min(_CALLS_IN_FLIGHT_KEYS, self._pace.calls_at_once * self._pace.keys_per_call)
                if sum(map(len, pending)) >= most:
                    clash = self._migrate(pending, replace, result, on_keys) or clash
                    pending = []
        return self._migrate(pending, replace, result, on_keys) or clash

    def _average_sizes(self, lists: Sequence[Sequence[bytes]]) -> list[float]:
        """Bytes per key of each list, from a few samples. Costs one batch, and spares a node seconds of blocking."""
        samples = [keys[:: max(1, len(keys) // _SAMPLES_PER_SLOT)][:_SAMPLES_PER_SLOT] for keys in lists]
        replies = iter(self._source.batch([("MEMORY", "USAGE", key) for some in samples for key in some]))
        averages: list[float] = []
        for some in samples:
            sizes = [size for size in (next(replies) for _ in some) if isinstance(size, int)]
            averages.append(sum(sizes) / len(sizes) if sizes else 0.0)
        return averages

    def _migrate(
        self, calls: Sequence[Sequence[bytes]], replace: bool, result: MoveResult, on_keys: Callable[[int], None]
    ) -> bool:
        if not calls:
            return False
        head, tail = self._ending
        options: list[Argument] = [*head, "REPLACE", *tail] if replace else [*head, *tail]
        started_s = time.monotonic()
        self._source.send(b"".join(pack([*options, *keys]) for keys in calls))
        replies = [self._source.receive("MIGRATE") for _ in calls]
        seconds_per_call = (time.monotonic() - started_s) / len(calls)
        wait_s = self._watch.longest_s() if self._watch is not None else 0.0
        time.sleep(self._pace.note_keys(seconds_per_call, max(map(len, calls)), wait_s))
        clash = False
        for keys, reply in zip(calls, replies, strict=True):
            if not isinstance(reply, ServerError):
                result.keys += len(keys)
                result.replaced += len(keys) if replace else 0
                on_keys(len(keys))
            elif reply.code in ("BUSYKEY", "IOERR") or "BUSYKEY" in reply.text:
                clash = True  # some keys of the call may have arrived; the next round lists those that have not
            elif any(word in reply.text for word in _PASSING_ERRORS):
                self._obstacle = reply.text
            else:
                raise reply
        return clash


class ClassicMover:
    """`SlotMover` with SETSLOT and MIGRATE, for stock nodes and ours."""

    def __init__(
        self,
        access: Access,
        primaries: Sequence[Party],
        stop: threading.Event,
        migrate_timeout_ms: int = DEFAULT_MIGRATE_TIMEOUT_MS,
    ) -> None:
        """`primaries` are all reachable ones: those not in a move are told the new owner, too."""
        self._access = access
        self._primaries = primaries
        self._stop = stop
        self._migrate_timeout_ms = migrate_timeout_ms
        self._counts: dict[int, int] = {}

    def count_keys(self, source: Party, slots: SlotSet) -> int:
        with NodeLink(source.address, self._access) as link:
            counts = count_per_slot(link, list(slots))
        self._counts |= counts
        return sum(counts.values())

    def move(self, source: Party, target: Party, slots: SlotSet, progress: Progress) -> MoveResult:
        patience_s = self._migrate_timeout_ms / 1000 + self._access.timeout_s
        result = MoveResult()
        with ExitStack() as stack:
            from_link = stack.enter_context(NodeLink(source.address, self._access, reply_timeout_s=patience_s))
            to_link = stack.enter_context(NodeLink(target.address, self._access, reply_timeout_s=patience_s))
            others = [
                stack.enter_context(NodeLink(party.address, self._access))
                for party in self._primaries
                if party.id not in (source.id, target.id)
            ]
            watch = stack.enter_context(WaitWatch((source.address, target.address), self._access))
            pace = Pace()
            drain = KeyDrain(from_link, target.address, self._access, self._migrate_timeout_ms, watch, pace)
            for window in self._windows(slots, pace):
                if self._stop.is_set():
                    break
                reconnecting(partial(set_slots, to_link, window, "IMPORTING", source.id))
                reconnecting(partial(set_slots, from_link, window, "MIGRATING", target.id))
                opening_s = watch.longest_s()
                moved = reconnecting(partial(drain.run, window, lambda keys: progress(0, keys)))
                reconnecting(partial(set_slots, to_link, window, "NODE", target.id))
                reconnecting(partial(tell_giver, from_link, window, target.id))
                others = tell_owner(others, window, target.id)
                time.sleep(pace.note_slots(max(opening_s, watch.longest_s())))
                progress(len(window), 0)
                result.add(moved)
        return result

    def _windows(self, slots: SlotSet, pace: Pace) -> Iterator[SlotSet]:
        part: list[int] = []
        keys = 0
        for slot in slots:
            count = self._counts.get(slot, 0)
            if part and (len(part) >= pace.window_slots or keys + count > WINDOW_KEYS):
                yield SlotSet(part)
                part, keys = [], 0
            part.append(slot)
            keys += count
        if part:
            yield SlotSet(part)


def tell_owner(others: Sequence[NodeLink], slots: SlotSet, owner_id: str) -> list[NodeLink]:
    """Tell nodes outside a move who owns `slots` now; returns the links that still work.

    A courtesy that saves clients a detour: a node that cannot be told learns it by gossip, and the wait for agreement
    at the end of the verb reports one that never does.
    """
    packed = b"".join(pack(("CLUSTER", "SETSLOT", slot, "NODE", owner_id)) for slot in slots)
    working: list[NodeLink] = []
    for link in others:
        try:
            link.send(packed)
        except CannotConnect:
            continue
        working.append(link)
    answered: list[NodeLink] = []
    for link in working:
        try:
            for _ in slots:
                link.receive("CLUSTER SETSLOT")
        except CannotConnect:
            continue
        answered.append(link)
    return answered
