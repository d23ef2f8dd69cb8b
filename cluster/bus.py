"""The cluster bus over real sockets: the thin trio driver of ``ClusterCore``.

It turns sockets and time into events, steps the core, and carries the effects out in their order: frames go to links,
the state goes to disk, everything else goes to the host (the node). It decides nothing about the cluster.

A fault of ours while one link's data is handled, or while one effect is carried out, costs that link or effect and is
logged; only a state file that cannot be written ends the process, which is the host's business (`BusHost.persist`).

One task serves all links (``poller``): it takes in what has come on every one of them, and only then carries out what
follows, so that a round of heartbeats costs one wake-up. Frames are sent at once as far as the socket takes them; the
rest waits until the socket is writable. A frame that goes to many links is encoded once. Saving with ``sync`` blocks
the loop for as long as the disk takes, on purpose: no frame that promises something may leave before the promise is on
disk.
"""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import trio

from slotmesh.cluster.bus_link import BusLink
from slotmesh.cluster.core import ClusterCore
from slotmesh.cluster.effects import Connect, Disconnect, Effect, Persist, PersistSoon, Send
from slotmesh.cluster.events import (
    Event,
    LinkAccepted,
    LinkDown,
    LinkUp,
    MessageReceived,
    ReplicationStatus,
    Tick,
)
from slotmesh.cluster.faults import EXHAUSTED, Complaints
from slotmesh.cluster.messages import Message
from slotmesh.cluster.poller import OUT, Poller
from slotmesh.cluster.wire import (
    MAX_FRAME_BYTES,
    MAX_STRANGER_FRAME_BYTES,
    BusProtocolError,
    encode_message,
)

log = logging.getLogger("cluster")

ACCEPT_PAUSE_S = 0.1
FAULT_PAUSE_S = 0.1
_LINK_BYTES = 2048
"""What a link costs besides what waits on it: its objects, its receive buffer."""


class BusHost(Protocol):
    """What the bus needs of the node it runs in."""

    def persist(self, text: str, *, sync: bool) -> None:
        """Replace the state file; see ``effects.Persist``. Must not return before it is done, nor when it cannot be."""

    def persist_soon(self) -> None:
        """Save the state before long; see ``effects.PersistSoon``."""

    def carry_out(self, effect: Effect) -> None:
        """An effect that is not for the bus."""

    def settled(self) -> None:
        """All effects of a step are carried out: time to refresh what is derived from the core's view."""

    def replication_status(self) -> ReplicationStatus:
        """How replication stands now."""


class BusClock:
    """Unix ms that never step back: the wall clock once, the monotonic clock from then on."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def now_ms(self) -> int:
        """The present."""
        return (time.monotonic_ns() + self._offset_ns) // 1_000_000


class Bus:
    """Drives one core. ``step`` and ``settle`` may be called by the host at any time, from the trio thread."""

    def __init__(self, core: ClusterCore, host: BusHost, clock: BusClock, send_limit: Callable[[], int]) -> None:
        """``send_limit``: bytes a link may have waiting (``cluster-link-sendbuf-limit``); 0 for no limit."""
        self.core = core
        self.clock = clock
        self._host = host
        self._send_limit = send_limit
        self._links: dict[int, BusLink] = {}
        self._poller = Poller(self._end_pass)
        self._accepted = 0
        self._nursery: trio.Nursery | None = None
        self._early: list[Connect] = []
        self._status = ReplicationStatus(0, False)
        self._framed: Message | None = None
        self._frame = b""
        self._settling = False
        self._rearm = trio.Event()
        self._armed_ms = 0
        self.drop_type = -1
        """Messages with this `type_code` do not arrive; a fault for tests (DEBUG DROP-CLUSTER-PACKET-FILTER)."""
        self.close_on_drop = False
        """Whether a message that is dropped takes its link with it."""
        self.buffer_limit_exceeded = 0
        """Links freed because too much waited on them, as in CLUSTER INFO."""
        self.violations = 0
        """Links dropped because a peer sent what no node may send."""
        self._complaints = Complaints(log, time.monotonic)

    # Stepping

    def step(self, event: Event) -> None:
        """Feed an event and carry out what follows."""
        self._feed(event)
        self.settle()

    def _feed(self, event: Event) -> None:
        """Step the core; what follows from it waits for `settle`."""
        now_ms = self.clock.now_ms()
        status = self._host.replication_status()
        if status != self._status:
            self._status = status
            self.core.step(now_ms, status)
        self.core.step(now_ms, event)

    def settle(self) -> None:
        """Carry out all effects there are. What they cause themselves is carried out by the outermost call."""
        if self._settling:
            return
        self._settling = True
        unsaved = False
        try:
            while effects := self.core.take_effects():
                unsaved |= self._carry_out_all(effects)
        finally:
            self._settling = False
        if unsaved:
            self.core.save()  # with the next step
        self._host.settled()
        if self.core.next_deadline_ms() < self._armed_ms:
            self._rearm.set()

    def _carry_out_all(self, effects: list[Effect]) -> bool:
        """Carry out one batch. True when a bug of ours kept the state from being saved: nothing is sent then."""
        unsaved = False
        for effect in effects:
            if unsaved and isinstance(effect, Send):
                continue
            try:
                self._carry_out(effect)
            except Exception:  # a bug of ours: the effects behind it are as due as before
                self._complaints.fault(f"an effect of the cluster, {type(effect).__name__},")
                unsaved |= isinstance(effect, Persist)
        return unsaved

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self._send(effect.link, effect.message)
        elif isinstance(effect, Persist):
            self._host.persist(effect.text, sync=effect.sync)
        elif isinstance(effect, PersistSoon):
            self._host.persist_soon()
        elif isinstance(effect, Connect):
            if self._nursery is None:
                self._early.append(effect)
            else:
                self._nursery.start_soon(self._connect, effect)
        elif isinstance(effect, Disconnect):
            link = self._links.pop(effect.link, None)
            if link is not None:
                self._close(link)
            if effect.violation:
                self._count_violation(effect.violation)
        else:
            self._host.carry_out(effect)

    # Running

    async def run(self, listeners: list[socket.socket]) -> None:
        """Serve the bus on bound, listening, non-blocking sockets until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for listener in listeners:
                    nursery.start_soon(self._accept, listener)
                early, self._early = self._early, []
                for effect in early:
                    nursery.start_soon(self._connect, effect)
                nursery.start_soon(self._poller.run)
                self.settle()
                await self._keep_time()
        finally:
            self._nursery = None
            for link in self._links.values():
                self._close(link)
            self._links.clear()
            self._poller.close()
            for listener in listeners:
                listener.close()

    async def _keep_time(self) -> None:
        while True:
            self._armed_ms = self.core.next_deadline_ms()
            wait_ms = self._armed_ms - self.clock.now_ms()
            if wait_ms > 0:
                self._rearm = trio.Event()
                with trio.move_on_after(wait_ms / 1000):
                    await self._rearm.wait()
                continue  # the deadline may be another one by now
            if not self._step_or_complain(Tick()):
                await trio.sleep(FAULT_PAUSE_S)  # the deadline may still stand

    async def _accept(self, listener: socket.socket) -> None:
        assert self._nursery is not None
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                self._complaints.warn(f"cannot accept a bus connection: {error}")
                await trio.sleep(ACCEPT_PAUSE_S if error.errno in EXHAUSTED else 0)
                continue
            try:
                self._prepare(sock)
                local_ip = sock.getsockname()[0]
            except OSError:  # it is gone already
                sock.close()
                continue
            self._accepted -= 1
            link = self._links[self._accepted] = BusLink(self._accepted, sock)
            self._begin(link, LinkAccepted(link.number, address[0], local_ip))

    @staticmethod
    def _prepare(sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    async def _connect(self, effect: Connect) -> None:
        """Life of one link of ours."""
        link: BusLink | None = None
        try:
            # A name can only stand here when the state file had one, of a stock node that announced it.
            found = await trio.socket.getaddrinfo(effect.ip, effect.cport, type=socket.SOCK_STREAM)
            if effect.link not in self.core.view.links:
                return  # not wanted any more
            sock = socket.socket(found[0][0], socket.SOCK_STREAM)
            link = self._links[effect.link] = BusLink(effect.link, sock)
            self._prepare(sock)
            code = sock.connect_ex(found[0][4])
            if code == errno.EINPROGRESS:
                await trio.lowlevel.wait_writable(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except trio.ClosedResourceError:
            return
        except (OSError, ValueError) as error:  # ValueError: not even the form of a name
            code = (error.errno if isinstance(error, OSError) else None) or errno.EIO
        reason = errno.errorcode.get(code, str(code))
        if link is None:
            self._step_or_complain(LinkDown(effect.link, reason))
        elif code:
            self._lose(link, reason, refused=code == errno.ECONNREFUSED)
        elif not link.closed:
            self._begin(link, LinkUp(link.number))

    # Links

    def _begin(self, link: BusLink, event: Event) -> None:
        """Tell the core of a link that is there. From now on it is read; what could not be sent goes out when it
        can."""
        if not self._step_or_complain(event):
            self._lose(link, "internal error")
        if not link.closed:
            self._poller.watch(link.sock.fileno(), partial(self._on_ready, link))
            self._poller.want(link.sock.fileno(), writable=bool(link.out))

    def _on_ready(self, link: BusLink, what: int) -> None:
        """A link has something to say, or takes more."""
        try:
            if what & OUT and link.send_more():
                self._poller.want(link.sock.fileno(), writable=False)
            if what & ~OUT:
                self._read(link)
        except BusProtocolError as error:
            self._count_violation(str(error))
            self._lose(link, str(error))
        except OSError as error:
            self._lose(link, error.strerror or str(error))
        except Exception:  # a bug of ours
            self._fail(link)

    def _read(self, link: BusLink) -> None:
        """Take in what came on a link. Raises OSError, BusProtocolError."""
        data = link.receive()
        if data is None:
            return
        if not data:
            self._lose(link, "closed by the peer")
            return
        for message in link.decoder.feed(data, self._most_bytes(link)):
            if link.closed:
                return
            if message.type_code == self.drop_type:
                self._drop(link, message)
            else:
                self._feed(MessageReceived(link.number, message))

    def _end_pass(self) -> None:
        """What came on all links is taken in: carry out what follows from it."""
        try:
            self.settle()
        except Exception:  # a bug of ours
            self._complaints.fault("the effects of what came on the bus")

    def _close(self, link: BusLink) -> None:
        if not link.closed:
            link.closed = True
            self._poller.forget(link.sock.fileno())
            trio.lowlevel.notify_closing(link.sock)  # it may be connecting still
            link.sock.close()

    def _most_bytes(self, link: BusLink) -> int:
        """How long a frame may be: only members publish, and only what is published is long."""
        known = self.core.view.links.get(link.number)
        return MAX_FRAME_BYTES if known is not None and known.member is not None else MAX_STRANGER_FRAME_BYTES

    def _count_violation(self, what: str) -> None:
        self.violations += 1
        self._complaints.warn(f"bus protocol violated by a peer, dropping its link: {what}")

    def _fail(self, link: BusLink) -> None:
        """A bug of ours showed while the data of a link were handled: it costs that link."""
        self._complaints.fault(f"bus link {link.number}")
        self._lose(link, "internal error")

    def _step_or_complain(self, event: Event) -> bool:
        """False when a bug of ours showed, which is logged: a task that many links or all timers need must go on."""
        try:
            self.step(event)
        except Exception:  # a bug of ours
            self._complaints.fault(f"an event of the cluster, {type(event).__name__},")
            return False
        return True

    def _drop(self, link: BusLink, message: Message) -> None:
        self.core.view.received_by_type[message.type_code] += 1  # it came, and is not heeded
        log.warning("Dropping packet that matches debug drop filter")
        if self.close_on_drop:
            log.warning("Closing link for matching packet type %d", self.drop_type)
            self._lose(link, "closed with a dropped message")

    def break_link(self, number: int) -> None:
        """End a link as if the network had; a fault for tests."""
        link = self._links.get(number)
        if link is not None:
            self._lose(link, "broken on purpose")

    def _lose(self, link: BusLink, reason: str, *, refused: bool = False) -> None:
        """The link is gone: tell the core, unless the core ended it itself."""
        if self._links.pop(link.number, None) is None:
            return
        self._close(link)
        self._step_or_complain(LinkDown(link.number, reason, refused))

    # Sending

    def _send(self, number: int, message: Message) -> None:
        link = self._links.get(number)
        if link is None or link.closed:
            return
        if message is not self._framed:
            self._framed, self._frame = message, encode_message(message)
        if link.send(self._frame):
            return
        self._poller.want(link.sock.fileno(), writable=True)
        limit = self._send_limit()
        if limit and len(link.out) > limit:
            self.buffer_limit_exceeded += 1
            log.warning("freeing a bus link with %d bytes waiting to be sent", len(link.out))
            assert self._nursery is not None
            self._nursery.start_soon(self._lose_later, link)

    async def _lose_later(self, link: BusLink) -> None:
        """`_lose` outside the step that filled the link."""
        self._lose(link, "send buffer limit")

    @property
    def link_count(self) -> int:
        """Open connections of the bus, of either direction."""
        return len(self._links)

    @property
    def memory_bytes(self) -> int:
        """What all links make us hold, about."""
        return sum(_LINK_BYTES + len(link.out) for link in self._links.values())

    def backlog_bytes(self, number: int) -> int:
        """Bytes waiting to be sent on a link, for CLUSTER LINKS."""
        link = self._links.get(number)
        return len(link.out) if link is not None else 0
