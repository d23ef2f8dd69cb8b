"""What a cluster node wants done: the outputs of ``ClusterCore.take_effects``.

Contract of the driver: carry the effects out in the order given, one batch after the other. A ``Persist`` with
``sync`` must be on disk before the next effect starts: that is what makes votes and epochs survive a crash. The core
puts the ``Persist`` or ``PersistSoon`` of a batch, when there is one, before all else. Effects never fail towards the
core; a link that cannot be used comes back as a ``LinkDown`` event.

Two kinds: for the bus (``Connect``, ``Disconnect``, ``Send``, ``Persist``, ``PersistSoon``) and for the node that hosts
the core (the rest).
"""

from __future__ import annotations

from attrs import frozen

from slotmesh.cluster.messages import Message, NodeAddress
from slotmesh.cluster.slot_set import SlotSet

DEBUG, VERBOSE, NOTICE, WARNING = range(4)
"""Log levels, the four of stock."""


@frozen
class Persist:
    """Save ``text``, the contents of ``nodes.conf``: it survives the process then; with ``sync`` also the machine."""

    text: str
    sync: bool


@frozen
class PersistSoon:
    """Save the state as it will be then (``ClusterCore.state_text``) within a second; until then it may be lost."""


@frozen
class Connect:
    """Open a connection to a bus port; answer with ``LinkUp`` or ``LinkDown``."""

    link: int
    ip: str
    cport: int


@frozen
class Disconnect:
    """Close a link (no ``LinkDown`` follows). ``violation``: what the peer sent that no node may send, if it did."""

    link: int
    violation: str = ""


@frozen
class Send:
    """Queue ``message`` on a link. The same object is handed out again for a broadcast: encode it once."""

    link: int
    message: Message


@frozen
class RoleChanged:
    """This node's role or its primary changed.

    ``primary_id`` is empty: be a primary from now on, keeping the data. Else: replicate from ``primary_address``
    (whose ip may be empty while unknown; the effect comes again when it becomes known or changes). Blocked clients are
    redirected in both cases of a demotion; ``why`` is one of the words in the log (``election``, ``command``, ...).
    ``other_shard``: the primary is of another shard than we were, so what we have is no beginning of what it has.
    """

    primary_id: str
    primary_address: NodeAddress | None
    why: str
    other_shard: bool = False


@frozen
class SlotsChanged:
    """The slots served by this node's shard (its own, or those of its primary) changed.

    For ``lost`` ones: redirect clients blocked on keys in them and end shard-channel subscriptions.
    """

    gained: SlotSet
    lost: SlotSet


@frozen
class DeleteKeysInSlots:
    """Remove all keys of these slots: their ownership was lost to another primary while keys were still here."""

    slots: SlotSet


@frozen
class EmptyKeyspace:
    """Remove all keys (a replica was reset)."""


@frozen
class DeliverPublish:
    """Hand a message that arrived over the bus to this node's own subscribers."""

    channel: bytes
    payload: bytes
    sharded: bool


@frozen
class StateChanged:
    """``cluster_state`` became ok, or fail (then commands on keys are refused)."""

    ok: bool


@frozen
class ElectionStarted:
    """This replica asked for votes in ``epoch``."""

    epoch: int


@frozen
class ElectionWon:
    """This replica has a majority and takes over with ``epoch`` as its config epoch (``RoleChanged`` follows)."""

    epoch: int


@frozen
class PauseWrites:
    """Pause writing clients (and expiry) until ``until_ms`` at the latest, then step ``WritesPaused``."""

    until_ms: int


@frozen
class ResumeWrites:
    """End the pause asked for by ``PauseWrites``."""


@frozen
class Log:
    """One line for the log and the event history. ``kind`` is a stable word (``pfail``, ``fail``, ``vote``, ...)."""

    level: int
    kind: str
    text: str


Effect = (
    Persist
    | PersistSoon
    | Connect
    | Disconnect
    | Send
    | RoleChanged
    | SlotsChanged
    | DeleteKeysInSlots
    | EmptyKeyspace
    | DeliverPublish
    | StateChanged
    | ElectionStarted
    | ElectionWon
    | PauseWrites
    | ResumeWrites
    | Log
)
