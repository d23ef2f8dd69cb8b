"""The messages of the cluster bus as records, free of bytes.

One record per message type of the stock bus protocol, version 1. ``wire`` turns them into frames and back; the core and
the simulator only ever see these records. All of them are frozen: a broadcast hands the same object to many links, so a
driver may encode it once. Every message has a ``type_code``, its number on the wire and its index into
:data:`TYPE_NAMES`.

Words: ``primary_id`` is the "slaveof" field of the wire. Node ids are 40 lower-case hex digits as ``str``; the empty
string stands for the all-zero id. Flags and counts are plain ints (see the constants in ``terms``).
"""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from slotmesh.cluster.slot_set import NO_SLOTS, SlotSet

TYPE_NAMES = (
    "ping",
    "pong",
    "meet",
    "fail",
    "publish",
    "auth-req",
    "auth-ack",
    "update",
    "mfstart",
    "module",
    "publishshard",
)
"""The names CLUSTER INFO uses in its message counters, by type code."""


@frozen(order=True)
class NodeAddress:
    """Where a node is reached. ``ip`` may be empty while unknown; ``port`` is for clients, ``cport`` for the bus."""

    ip: str
    port: int
    cport: int
    hostname: str = ""


@frozen
class Header:
    """What every message says about its sender (2,256 bytes on the wire).

    ``config_epoch`` and ``slots`` are the sender's own, or its primary's when it is a replica. ``offset`` is its
    replication offset. ``ip`` is the address it announces, empty when the receiver is to use the socket's. ``pport`` is
    the plaintext client port when ``port`` is a TLS one, or the other way round; 0 when there is no second one.
    """

    sender: str
    port: int
    cport: int = 0
    pport: int = 0
    ip: str = ""
    flags: int = 0
    cluster_ok: bool = True
    message_flags: int = 0
    current_epoch: int = 0
    config_epoch: int = 0
    offset: int = 0
    slots: SlotSet = NO_SLOTS
    primary_id: str = ""


@frozen
class GossipEntry:
    """What the sender believes about one other node (104 bytes). Times are Unix seconds; 0 means never / none due."""

    node_id: str
    ping_sent_s: int
    pong_received_s: int
    ip: str
    port: int
    cport: int
    flags: int
    pport: int = 0


@frozen
class ForgottenNode:
    """Extension "forgotten node": do not learn this id again for ``ttl_s`` more seconds."""

    node_id: str
    ttl_s: int


@frozen
class OpenSlots:
    """Extension "open slots" (ours): the moves that a shard takes part in, as (slot, node id), ascending.

    ``number`` is the primary's for this state of its slots; a replica repeats that of the last statement it took over.
    """

    migrating_to: tuple[tuple[int, str], ...] = ()
    importing_from: tuple[tuple[int, str], ...] = ()
    number: int = 0


@frozen
class Extensions:
    """The optional tail of PING, PONG and MEET. An empty field is not sent; types we do not know are dropped.

    ``open_slots`` is None where nothing is said of them; that none are open is a statement, and is sent.
    """

    hostname: str = ""
    human_nodename: str = ""
    shard_id: str = ""
    forgotten: tuple[ForgottenNode, ...] = ()
    open_slots: OpenSlots | None = None

    def __bool__(self) -> bool:
        named = self.hostname or self.human_nodename or self.shard_id
        return bool(named or self.forgotten) or self.open_slots is not None


NO_EXTENSIONS = Extensions()


@frozen
class Heartbeat:
    """Common shape of PING, PONG and MEET."""

    header: Header
    gossip: tuple[GossipEntry, ...] = ()
    extensions: Extensions = NO_EXTENSIONS
    type_code: ClassVar[int]


class Ping(Heartbeat):
    """Are you there? Answered with a :class:`Pong`."""

    __slots__ = ()
    type_code: ClassVar[int] = 0


class Pong(Heartbeat):
    """Answer to a PING or MEET; also sent unasked to spread a change quickly."""

    __slots__ = ()
    type_code: ClassVar[int] = 1


class Meet(Heartbeat):
    """A PING that asks a node that does not know us to start knowing us."""

    __slots__ = ()
    type_code: ClassVar[int] = 2


@frozen
class Fail:
    """``node_id`` is down: a majority of the primaries agreed."""

    type_code: ClassVar[int] = 3

    header: Header
    node_id: str


@frozen
class Publish:
    """A message for the subscribers of ``channel``; ``sharded`` selects SPUBLISH semantics (its own wire type)."""

    header: Header
    channel: bytes
    payload: bytes
    sharded: bool = False

    @property
    def type_code(self) -> int:
        return 10 if self.sharded else 4


@frozen
class Update:
    """You hold an outdated view: ``node_id`` owns ``slots`` with ``config_epoch``."""

    type_code: ClassVar[int] = 7

    header: Header
    node_id: str
    config_epoch: int
    slots: SlotSet


@frozen
class AuthRequest:
    """A replica asks for votes for the election of ``header.current_epoch``."""

    type_code: ClassVar[int] = 5

    header: Header


@frozen
class AuthAck:
    """A vote."""

    type_code: ClassVar[int] = 6

    header: Header


@frozen
class ManualFailoverStart:
    """MFSTART: a replica asks its primary to pause writers and to tell the offset at which it did."""

    type_code: ClassVar[int] = 8

    header: Header


@frozen
class Unknown:
    """A well-framed message whose type this node has no use for (module messages, types of later versions)."""

    header: Header
    type_code: int


Message = Ping | Pong | Meet | Fail | Publish | Update | AuthRequest | AuthAck | ManualFailoverStart | Unknown
