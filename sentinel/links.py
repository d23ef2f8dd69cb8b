"""Connections to the watched processes: when to open, what to send, which reply belongs to what.

Two connections per server (commands; pub/sub for the hello channel), one per sentinel, shared by all units that know
it. Replies come in the order of the commands, so a queue of `Pending` per connection is all the bookkeeping there is.

Reconnecting is where a crash is told from a hiccup. A connection that breaks is tried again at once: a server that is
up answers, a crashed one refuses. The first refusal is followed by a second try after `REFUSED_RETRY_MS`; two in a row
are evidence (`refused`) that the detector acts on without waiting for silence to add up; it stands until the process
answers a PING again. So is, where the process has hung up on us, one refusal and then no answer at all to the second
try for `UNANSWERED_MS`: a container that ends takes its address along soon after its process. Everything else
(timeouts, unreachable networks) is no evidence and waits for the usual period. Nor is a refusal by a process that
never answered us: after a restart of the whole machine it is only starting, and a sentinel, which is up sooner, would
fail over what nobody has lost.
"""

from __future__ import annotations

from slotmesh.sentinel.effects import Closed, Connect, Connected, Disconnect, Replied, Send
from slotmesh.sentinel.hello import HELLO_CHANNEL
from slotmesh.sentinel.instance import LOST, SENTINEL, Address, Channel, Instance, Link, Pending
from slotmesh.sentinel.state import REFUSED_RETRY_MS, Context

# What a reply is for.
DISCARD, PING, INFO, HELLO, DOWN, GUARD, NODE_ID, NODES, EPOCHS, SHARDS, ORDER, HAND_OVER = range(12)

_QUESTIONS = frozenset((PING, INFO, GUARD, NODE_ID, NODES, EPOCHS, SHARDS))
"""What may be sent while something is being saved. A GUARD promises something, too, but a lease that needs the disk,
the first one to a node, leaves the state to be saved when it is sent."""

MAX_PENDING = 100
"""Periodic commands stop at this many unanswered ones: a silent peer must not make us hoard memory."""

MIN_RECONNECT_MS = 100
"""At most one attempt per this long for a connection that worked: no busy loop with a peer that accepts and drops."""

REFUSALS_AS_EVIDENCE = 2

UNANSWERED_MS = 150
"""A host that is there answers a connection within a round trip, with a yes or a no."""


def ping_period_ms(ctx: Context, instance: Instance) -> int:
    """How often to ping: stock's period, and for guarded nodes often enough to renew a lease five times over."""
    if instance.guard is not None or instance.leasable:
        return min(ctx.timing.ping_period, max(50, instance.settings.down_after_ms // 5))
    return min(ctx.timing.ping_period, instance.settings.down_after_ms)


def absent(instance: Instance) -> bool:
    """Whether nobody listens there at present: no process, so no lease of its either."""
    return instance.link.refusals >= REFUSALS_AS_EVIDENCE


def refused(instance: Instance) -> bool:
    """Whether the process is known to be gone: nobody listens where it once answered us."""
    return instance.link.met and absent(instance)


class Links:
    """Opens, closes, sends and matches replies. Decides nothing about anybody's health."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    # ------------------------------------------------------------------------------------------------------- opening

    def open_missing(self, instance: Instance) -> None:
        """Open what is not open, no earlier than the link's next try."""
        link, now = instance.link, self._ctx.now_ms
        if instance.address.port == 0 or now < link.retry_at_ms:
            return
        closed = [channel for channel in link.channels() if channel.conn_id == 0]
        if not closed:
            return
        link.retry_at_ms = now + ping_period_ms(self._ctx, instance)
        for channel in closed:
            channel.conn_id = self._ctx.next_conn_id()
            channel.up, channel.since_ms = False, now
            self._ctx.connections[channel.conn_id] = (channel, link, instance)
            self._ctx.effect(Connect(channel.conn_id, self._target(instance.address), instance.address.port))

    def _target(self, address: Address) -> str:
        # A name is resolved anew at every attempt: a container that moved is found again.
        return address.host if self._ctx.options.resolve_hostnames or not address.ip else address.ip

    def probe(self, instance: Instance) -> None:
        """Find out now whether the process is there: ping it, or connect without waiting for the next try."""
        link = instance.link
        if link.commands.up:
            if self._ctx.now_ms - link.last_ping_ms > MIN_RECONNECT_MS:
                self.ping(instance)
        elif link.commands.conn_id == 0 and link.refusals == 0:
            link.retry_at_ms = min(link.retry_at_ms, self._ctx.now_ms)
        self._ctx.touch(instance)

    # ------------------------------------------------------------------------------------------------------- closing

    def unanswered_at_ms(self, link: Link) -> int | None:
        """When the try under way counts as one more refusal if it gets no answer; None if it never does."""
        commands = link.commands
        if commands.up or not commands.conn_id or not link.hung_up or link.refusals != 1:
            return None
        return commands.since_ms + UNANSWERED_MS

    def note_unanswered(self, instance: Instance) -> bool:
        """Count the try under way as a refusal if its time is over; true if that was the last piece of evidence."""
        link = instance.link
        at_ms = self.unanswered_at_ms(link)
        if at_ms is None or at_ms > self._ctx.now_ms:
            return False
        link.refusals += 1
        return absent(instance)

    def close_channel(self, channel: Channel) -> None:
        """Drop one connection, forgetting what was under way on it."""
        if channel.conn_id:
            self._ctx.effect(Disconnect(channel.conn_id))
            self._forget(channel)

    def close(self, link: Link) -> None:
        for channel in link.channels():
            self.close_channel(channel)

    def release(self, instance: Instance) -> None:
        """An instance is removed: close its link unless others use it."""
        instance.removed = True
        instance.link.users -= 1
        if instance.link.users > 0:
            return
        self.close(instance.link)
        if instance.role == SENTINEL and self._ctx.peer_links.get(instance.run_id) is instance.link:
            del self._ctx.peer_links[instance.run_id]

    def _forget(self, channel: Channel) -> None:
        self._ctx.connections.pop(channel.conn_id, None)
        for pending in channel.pending:
            if pending.kind == INFO:
                pending.instance.info_sent_ms = 0
            elif pending.kind == DOWN:
                pending.instance.peer.asking = 0
            elif pending.kind == GUARD and pending.note:
                pending.instance.lease.grant_conn_id = LOST
        channel.pending.clear()
        channel.conn_id, channel.up = 0, False
        channel.since_ms = self._ctx.now_ms

    # -------------------------------------------------------------------------------------------------------- events

    def on_connected(self, event: Connected) -> Instance | None:
        """A connection stands: introduce ourselves. Returns the instance it leads to."""
        known = self._ctx.connections.get(event.conn_id)
        if known is None:
            return None
        channel, link, instance = known
        channel.up, channel.since_ms = True, self._ctx.now_ms
        link.hung_up &= channel.pubsub
        if event.local_ip:
            link.local_ip = event.local_ip
        self._learn_ip(instance, event.remote_ip)
        self._authenticate(instance, channel)
        kind = "pubsub" if channel.pubsub else "cmd"
        self._send_on(channel, instance, DISCARD, self._words(instance, "CLIENT", "SETNAME", self._name(kind)))
        if channel.pubsub:
            link.heard_ms = self._ctx.now_ms
            self._write(channel, self._words(instance, "SUBSCRIBE", HELLO_CHANNEL))
        else:
            instance.lease.echo_ms = instance.lease.called_ms = instance.lease.sent_ms = 0
            self.ping(instance)
        return instance

    def on_closed(self, event: Closed) -> Instance | None:
        """A connection is gone or could not be made. Returns the instance it led to."""
        known = self._ctx.connections.get(event.conn_id)
        if known is None:
            return None
        channel, link, instance = known
        now, was_up, since_ms = self._ctx.now_ms, channel.up, channel.since_ms
        self._forget(channel)
        if not channel.pubsub and link.act_ping_ms == 0:
            link.act_ping_ms = now  # no sign of life can come any more: silence starts here
        if was_up and (channel.pubsub or link.last_pong_ms >= since_ms):
            link.hung_up |= not channel.pubsub
            link.retry_at_ms = max(now, since_ms + MIN_RECONNECT_MS)
        elif not channel.pubsub and event.refused:
            link.refusals += 1
            link.born_ms = 0
            first = link.refusals < REFUSALS_AS_EVIDENCE
            link.retry_at_ms = now + (REFUSED_RETRY_MS if first else ping_period_ms(self._ctx, instance))
        return instance

    def on_replied(self, event: Replied) -> tuple[Channel, Pending | None, Instance] | None:
        """Match a reply with its command; the pending part is None for pub/sub messages."""
        known = self._ctx.connections.get(event.conn_id)
        if known is None:
            return None
        channel, _, instance = known
        if not channel.pubsub:
            # A reply without a command is a peer's bug: drop the connection, like any other nonsense.
            if not channel.pending:
                self.close_channel(channel)
                return None
            return channel, channel.pending.popleft(), instance
        pending = channel.pending.popleft() if channel.pending else None
        return channel, pending, instance

    # ------------------------------------------------------------------------------------------------------- sending

    def send(self, instance: Instance, kind: int, *words: str | int, note: int = 0) -> bool:
        """Send a command on the command connection; False (and nothing sent) when it is not up."""
        channel = instance.link.commands
        if not channel.up:
            return False
        self._send_on(channel, instance, kind, self._words(instance, *words), note)
        return True

    def ping(self, instance: Instance) -> None:
        """PING, unless the command connection is down."""
        if self.send(instance, PING, "PING"):
            self.note_ping(instance)

    def note_ping(self, instance: Instance) -> None:
        """A PING has been sent, or something else that is answered at once by a process that is well."""
        link, now = instance.link, self._ctx.now_ms
        link.last_ping_ms = now
        if link.act_ping_ms == 0:
            link.act_ping_ms = now

    def has_room(self, instance: Instance) -> bool:
        """Whether another periodic command may be sent."""
        return len(instance.link.commands.pending) < MAX_PENDING * instance.link.users

    def _send_on(self, channel: Channel, instance: Instance, kind: int, argv: tuple[bytes, ...], note: int = 0) -> None:
        channel.pending.append(Pending(kind, instance, note))
        self._write(channel, argv, free=kind in _QUESTIONS and not self._ctx.dirty)

    def _write(self, channel: Channel, argv: tuple[bytes, ...], *, free: bool = False) -> None:
        self._ctx.effect(Send(channel.conn_id, argv, free))

    def _words(self, instance: Instance, *words: str | int) -> tuple[bytes, ...]:
        """A command as bytes, its first word translated if the operator renamed it."""
        first = str(words[0])
        if instance.role != SENTINEL:
            first = instance.settings.renamed.get(first.upper(), first)
        return tuple(str(word).encode("utf-8", "surrogateescape") for word in (first, *words[1:]))

    def _authenticate(self, instance: Instance, channel: Channel) -> None:
        if instance.role == SENTINEL:
            options = self._ctx.options
            user, password = options.sentinel_user, options.sentinel_pass
            if not password:
                user, password = "", self._ctx.requirepass
        else:
            user, password = instance.settings.auth_user, instance.settings.auth_pass
        if password:
            words = ("AUTH", user, password) if user else ("AUTH", password)
            self._send_on(channel, instance, DISCARD, self._words(instance, *words))

    def _name(self, kind: str) -> str:
        return f"sentinel-{self._ctx.my_id[:8]}-{kind}"

    def _learn_ip(self, instance: Instance, ip: str) -> None:
        address = instance.address
        if ip and address.ip != ip and address.host in self._ctx.names:
            self._ctx.names[address.host] = ip
            instance.address = Address(address.host, address.port, ip)


def transact(links: Links, instance: Instance, kind: int, *order: str | int) -> bool:
    """Change a server's role in one transaction; False when it cannot be reached. The reply of EXEC comes as `kind`.
    Without an order its role has changed already.

    Behind the order: CONFIG REWRITE, so that a restart keeps the role, and CLIENT KILL, so that every client of the
    server connects anew and asks where the primary is.
    """
    if not instance.link.commands.up:
        return False
    links.send(instance, DISCARD, "MULTI")
    if order:
        links.send(instance, DISCARD, *order)
    links.send(instance, DISCARD, "CONFIG", "REWRITE")
    links.send(instance, DISCARD, "CLIENT", "KILL", "TYPE", "normal")
    links.send(instance, DISCARD, "CLIENT", "KILL", "TYPE", "pubsub")
    return links.send(instance, kind, "EXEC")
