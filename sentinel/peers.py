"""What hello messages teach: other sentinels, newer epochs, newer configurations - and telling the same about
ourselves.
"""

from __future__ import annotations

from collections.abc import Callable

from slotmesh.cluster.epochs import is_credible
from slotmesh.sentinel.effects import NOTICE, WARNING
from slotmesh.sentinel.failover import Failover
from slotmesh.sentinel.hello import HELLO_CHANNEL, Hello, decode_hello, encode_hello
from slotmesh.sentinel.instance import Instance, Unit
from slotmesh.sentinel.links import HELLO, Links
from slotmesh.sentinel.roster import Roster
from slotmesh.sentinel.state import Context

MAX_PEERS = 256
"""Other sentinels known per unit. Anybody may publish a hello, and each new sentinel costs a connection, a line of the
file and a share of the majority; stock takes them without end."""

NEW_MS, NEW_PERIOD_MS = 3_000, 250
"""So often, and for so long, a sentinel that starts to guard a cluster says hello while it knows no other one: those
that start with it may not listen yet."""

UNITS_PER_PERIOD = 4
"""Of a guarded cluster about so many units say hello over the bus per publish period. Each one costs a message to every
node: with 25 shards, three sentinels and a hello of each unit per period it was the most of what idle nodes did."""


class Peers:
    """Sends and understands hello messages."""

    def __init__(
        self,
        ctx: Context,
        links: Links,
        roster: Roster,
        failover: Failover,
        adopt_epoch: Callable[[int, Unit], None],
        find_unit: Callable[[Hello], Unit | None],
    ) -> None:
        self._ctx = ctx
        self._links = links
        self._roster = roster
        self._failover = failover
        self._adopt_epoch = adopt_epoch
        self._find_unit = find_unit

    # -------------------------------------------------------------------------------------------------------- sending

    def due_ms(self, instance: Instance) -> int:
        """When the next hello through an instance is due.

        In a large cluster the units take turns: every node gets every hello, and a few are enough to be found by. The
        sentinels that we know get one for each unit and period, over their own connections. A unit that has none yet
        does not wait for its turn: those that started with us may not have listened yet when it was told first.
        """
        return instance.hello_sent_ms + self._period_ms(instance) + 1

    def _period_ms(self, instance: Instance) -> int:
        unit, guard, period_ms = instance.unit, instance.guard, self._ctx.timing.publish_period
        if guard is None or unit is None:
            return period_ms
        turns = max(1, -(-len(guard.units) // UNITS_PER_PERIOD))
        if unit.sentinels:
            return turns * period_ms
        is_new = self._ctx.now_ms - guard.started_ms < NEW_MS
        return min(period_ms, turns * NEW_PERIOD_MS) if is_new else period_ms

    def say_again(self, instance: Instance) -> None:
        """The hello was not published: say it again before long."""
        instance.hello_sent_ms += self._ctx.timing.publish_period // 2 - self._period_ms(instance)

    def send_hello(self, instance: Instance) -> None:
        """Publish our hello for the unit of `instance` through it."""
        ctx, unit = self._ctx, instance.unit
        if unit is None or not instance.link.complete:
            return
        host = ctx.options.announce_ip or instance.link.local_ip
        if not host:
            return
        primary = self._failover.current_address(unit)
        hello = Hello(
            host,
            ctx.options.announce_port or ctx.port,
            ctx.my_id,
            ctx.current_epoch,
            unit.name,
            ctx.announce(primary),
            primary.port,
            unit.config_epoch,
        )
        if self._links.send(instance, HELLO, "PUBLISH", HELLO_CHANNEL, encode_hello(hello)):
            instance.hello_sent_ms = ctx.now_ms
            if self._period_ms(instance) > ctx.timing.publish_period:  # units that were told together part
                instance.hello_sent_ms -= ctx.rng.randrange(ctx.timing.publish_period)

    # ------------------------------------------------------------------------------------------------------ receiving

    def on_hello(self, payload: bytes) -> None:
        """A hello message from anywhere; our own, and what is no hello, is ignored."""
        hello = decode_hello(payload)
        if hello is None or hello.run_id == self._ctx.my_id:
            return
        ctx = self._ctx
        known = max(ctx.current_epoch, hello.current_epoch)
        if not is_credible(hello.current_epoch, ctx.current_epoch) or not is_credible(hello.config_epoch, known):
            return
        if not ctx.reachable(hello.host) or not ctx.reachable(hello.primary_host):
            return
        unit = ctx.units.get(hello.unit_name) or self._find_unit(hello)
        if unit is None:
            return
        peer = self._meet(unit, hello)
        if peer is None:
            return
        self._adopt_epoch(hello.current_epoch, unit)
        if hello.config_epoch > unit.config_epoch:
            self._adopt_config(unit, peer, hello)
        peer.peer.hello_heard_ms = self._ctx.now_ms

    def _meet(self, unit: Unit, hello: Hello) -> Instance | None:
        """The sentinel behind a hello, added or moved as need be; None where there are too many."""
        address = self._ctx.address(hello.host, hello.port)
        known = self._roster.find_sentinel(unit, address, hello.run_id)
        if known is not None:
            return known
        moved = self._roster.find_sentinel(unit, None, hello.run_id)
        if moved is not None:
            self._ctx.emit(
                NOTICE, "+sentinel-address-switch", unit, f" ip {hello.host} port {hello.port} for {hello.run_id}"
            )
            self._move(hello.run_id, hello)
            self._ctx.persist()
            return moved
        squatter = self._roster.find_sentinel(unit, address, "")
        if squatter is not None:
            # Another run id at this address: the old sentinel was replaced, its record is obsolete everywhere.
            self._ctx.emit(NOTICE, "+sentinel-invalid-addr", squatter)
            for other in self._ctx.units.values():
                self._roster.remove_sentinel(other, squatter.run_id)
        if len(unit.sentinels) >= MAX_PEERS:
            return None
        peer = self._roster.add_sentinel(unit, address, hello.run_id)
        self._ctx.emit(NOTICE, "+sentinel", peer)
        self._ctx.persist()
        # Answer at once: the other side learns of us now instead of at the next period.
        for member in unit.members():
            member.hello_sent_ms = 0
            self._ctx.touch(member)
        return peer

    def _move(self, run_id: str, hello: Hello) -> None:
        """A sentinel has a new address: the same for all units, over one new link."""
        moved = [unit.sentinels[run_id] for unit in self._ctx.units.values() if run_id in unit.sentinels]
        for peer in moved:
            peer.address = self._ctx.address(hello.host, hello.port)
            self._ctx.touch(peer)
        self._links.close(moved[0].link)
        moved[0].link.retry_at_ms = 0
        moved[0].link.refusals = 0
        if len(moved) > 1:
            self._ctx.emit(
                NOTICE, "+sentinel-address-update", moved[0], f" {len(moved) - 1} additional matching instances"
            )

    def _adopt_config(self, unit: Unit, peer: Instance, hello: Hello) -> None:
        """Somebody completed a failover that we know nothing of, or finished before us."""
        ctx = self._ctx
        address = ctx.address(hello.primary_host, hello.primary_port)
        same = ctx.same_host(unit.primary.address, hello.primary_host, hello.primary_port)
        if unit.guard is not None and not same and self._roster.find_replica(unit, address) is None:
            return  # who belongs to a shard is the cluster's word: the next view shows the node, or it is none
        unit.config_epoch = hello.config_epoch
        unit.drop_settled_holds()
        ctx.persist()
        if same:
            self._failover.overtaken(unit)
            return
        old = unit.primary.address
        ctx.emit(WARNING, "+config-update-from", peer)
        self._failover.switch(unit, address)
        self._failover.reconfigure_clients(unit, "observer", old, address)
