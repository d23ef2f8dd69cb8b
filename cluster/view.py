"""What one node believes about the cluster, and the tray of effects it wants carried out.

:class:`ClusterView` is the state shared by all parts of the core (gossip, failure detector, elections, ...). Each part
is a small class that holds the view and reads and changes it; ``core`` owns the parts and feeds them events. The view
knows no rules: only where things are, how to send, and that something has to be saved or re-evaluated.
"""

from __future__ import annotations

from typing import Protocol

from attrs import Factory, define

from slotmesh.cluster.config import ClusterConfig
from slotmesh.cluster.effects import DEBUG, NOTICE, VERBOSE, WARNING, Effect, Log, Send
from slotmesh.cluster.epochs import Epochs
from slotmesh.cluster.events import ReplicationStatus
from slotmesh.cluster.members import Link, Member, Members
from slotmesh.cluster.messages import TYPE_NAMES, Message
from slotmesh.cluster.slot_map import SlotMap

PONG_GAP_MS = 50
"""Least distance of two messages to everybody about slots that move here one by one, by the hundred a second."""


class Rng(Protocol):
    """The part of ``random.Random`` the core uses; injected so that a seed replays a run."""

    def random(self) -> float: ...

    def getrandbits(self, k: int, /) -> int: ...


def random_id(rng: Rng) -> str:
    """A fresh node or shard id: 40 hex digits."""
    return f"{rng.getrandbits(160):040x}"


@define(eq=False)
class ClusterView:
    """All beliefs of one node. ``now_ms`` is the time of the step being taken."""

    config: ClusterConfig
    rng: Rng
    members: Members
    slots: SlotMap
    epochs: Epochs
    now_ms: int = 0
    cluster_ok: bool = False
    replication: ReplicationStatus = Factory(lambda: ReplicationStatus(0, False))
    links: dict[int, Link] = Factory(dict)
    effects: list[Effect] = Factory(list)
    save_wanted: bool = False
    write_wanted: bool = False
    sync_wanted: bool = False
    state_changed: bool = True
    """Something the cluster state depends on changed since it was last computed."""
    election_changed: bool = False
    """Something an election of ours waits for may have happened."""
    pong_wanted: bool = False
    """Everybody is to be told how things are, once what is going on now is done: orders often come in batches."""
    pong_due_ms: int = 0
    """When everybody is to be told at the latest; 0: there is nothing to tell."""
    pong_told_ms: int = 0
    """When everybody was told last."""
    open_slots_number: int = 0
    """Of our statement about open slots, which rises; on a replica, that of its primary which was taken over."""
    paused_offset: int | None = None
    """Our offset while our writers are paused for a manual failover; None when they are not."""
    sent_by_type: list[int] = Factory(lambda: [0] * len(TYPE_NAMES))
    received_by_type: list[int] = Factory(lambda: [0] * len(TYPE_NAMES))
    last_link_id: int = 0

    @property
    def myself(self) -> Member:
        return self.members.myself

    def save(self, *, write: bool = False, sync: bool = False) -> None:
        """Have the state saved: before long; with ``write`` before the effects of this step, so that it survives this
        process; with ``sync`` so that it survives the machine.

        Only what we promise needs ``sync``: our votes, the config epochs we take, the orders of sentinels we obey, our
        own role and slots. What others told us they tell again, so it may be forgotten: that holds for epochs, too, as
        whoever started one has it on disk, and nobody votes twice in the same one.
        """
        self.save_wanted = True
        self.write_wanted |= write
        self.sync_wanted |= sync

    def reassess(self) -> None:
        """Save before long, and compute the cluster state anew at the end of the step."""
        self.save_wanted = True
        self.state_changed = True

    def tell_all_soon(self) -> None:
        """Have everybody told at once; when they were told just now, a moment later together with what comes next."""
        if not self.pong_due_ms:
            self.pong_due_ms = max(self.now_ms, self.pong_told_ms + PONG_GAP_MS)

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def send(self, link: Link | None, message: Message) -> None:
        """Send on a link that is up; a missing or unfinished link swallows the message, as a lossy network would."""
        if link is None or not link.up:
            return
        self.sent_by_type[message.type_code] += 1
        self.effects.append(Send(link.link_id, message))

    def debug(self, kind: str, text: str) -> None:
        self.effects.append(Log(DEBUG, kind, text))

    def verbose(self, kind: str, text: str) -> None:
        self.effects.append(Log(VERBOSE, kind, text))

    def notice(self, kind: str, text: str) -> None:
        self.effects.append(Log(NOTICE, kind, text))

    def warning(self, kind: str, text: str) -> None:
        self.effects.append(Log(WARNING, kind, text))
