"""What can happen to a cluster node: the inputs of ``ClusterCore.step``.

The driver (``bus`` over sockets, or the simulator) turns everything it sees into one of these records. Links are named
by ints: the core picks **positive** numbers for the links it asks for with ``Connect``; the driver picks **negative**
ones for the links it accepts. A number is never used twice in the life of a process. Ordering promise of the driver:
messages of one link arrive in the order they were sent, and nothing comes from a link after its ``LinkDown``.

Times are in the ``now_ms`` that goes with the step: Unix milliseconds.
"""

from __future__ import annotations

from attrs import frozen

from slotmesh.cluster.messages import Message


@frozen
class LinkAccepted:
    """A peer connected to our bus port. ``link`` < 0. The IPs are the two ends of the socket as text."""

    link: int
    peer_ip: str
    local_ip: str


@frozen
class LinkUp:
    """The connection asked for by ``Connect`` stands. ``link`` > 0."""

    link: int


@frozen
class LinkDown:
    """A link broke, was closed by the peer, sent garbage, or could not be made (``reason`` is for the log only).

    ``refused`` is true only when the peer's machine said that nobody listens on the port: the process is gone. It
    is not sent for links the core itself ended with ``Disconnect``.
    """

    link: int
    reason: str = ""
    refused: bool = False


@frozen
class MessageReceived:
    """A frame arrived and was decoded."""

    link: int
    message: Message


@frozen
class Tick:
    """Time passed; due when ``next_deadline_ms`` is reached. Extra ticks do no harm."""


@frozen
class ReplicationStatus:
    """How replication stands on this node; to be reported before other events whenever it differs from the last.

    ``offset``: bytes of the replication stream produced (primary) or applied (replica). ``link_up``: a replica's link
    to its primary is in sync. ``last_io_ms``: when the primary was last heard over that link, or, while it is down,
    when it went down; 0 when it never was up.
    """

    offset: int
    link_up: bool = True
    last_io_ms: int = 0


@frozen
class WritesPaused:
    """The writers were paused, as ``PauseWrites`` asked, and the stream stands still at ``offset``."""

    offset: int


Event = LinkAccepted | LinkUp | LinkDown | MessageReceived | Tick | ReplicationStatus | WritesPaused
