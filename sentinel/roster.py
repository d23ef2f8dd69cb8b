"""Who belongs where: units, their replicas and their sentinels come, go, and change places here.

The roster keeps the records consistent (keys, roles, links, timers) and reports what changed; it never decides that
something should change.
"""

from __future__ import annotations

from slotmesh.sentinel.effects import NOTICE, WARNING
from slotmesh.sentinel.instance import (
    PRIMARY,
    REPLICA,
    SENTINEL,
    Address,
    FailoverState,
    Instance,
    Link,
    PeerState,
    ReplicaState,
    Settings,
    Unit,
    new_link,
)
from slotmesh.sentinel.links import Links
from slotmesh.sentinel.state import Context


class Roster:
    """All changes of membership."""

    def __init__(self, ctx: Context, links: Links) -> None:
        self._ctx = ctx
        self._links = links

    # --------------------------------------------------------------------------------------------------------- units

    def add_unit(self, name: str, address: Address, settings: Settings, *, listen: bool = True) -> Unit:
        """Start watching a primary. The name must be free."""
        assert name not in self._ctx.units, f"unit {name} exists"
        unit = Unit(name, settings)
        unit.primary = self.new_instance(PRIMARY, name, address, settings, unit, listen=listen)
        self._ctx.units[name] = unit
        self._ctx.touch_unit(unit)
        return unit

    def remove_unit(self, unit: Unit) -> None:
        """Stop watching: close every link that nobody else uses."""
        for instance in [*unit.members(), *unit.sentinels.values()]:
            self._links.release(instance)
        self.forget_unit(unit)

    def forget_unit(self, unit: Unit) -> None:
        """Drop the record of a unit whose instances live on elsewhere, or are released already."""
        unit.removed = True
        self._ctx.units.pop(unit.name, None)

    def new_instance(
        self,
        role: str,
        name: str,
        address: Address,
        settings: Settings,
        unit: Unit | None,
        link: Link | None = None,
        *,
        listen: bool = True,
    ) -> Instance:
        """A record with all its times set to now; a shared `link` counts one more user.

        `listen`: subscribe to the hello channel there (never with sentinels).
        """
        now = self._ctx.now_ms
        if link is None:
            link = new_link(now, pubsub=listen and role != SENTINEL)
        else:
            link.users += 1
        instance = Instance(role, name, address, link, settings, unit)
        instance.role_reported, instance.role_reported_ms = role, now
        instance.hello_sent_ms = now
        instance.replica.conf_change_ms = now
        instance.peer.hello_heard_ms = instance.peer.reply_ms = now
        self._ctx.touch(instance)
        return instance

    def by_address(self, host: str, port: int) -> Unit | None:
        """The unit whose primary listens at `host`:`port`."""
        wanted = self._ctx.address(host, port)
        return next((u for u in self._ctx.units.values() if u.primary.address.same_place(wanted)), None)

    # ------------------------------------------------------------------------------------------------------ replicas

    def find_replica(self, unit: Unit, address: Address) -> Instance | None:
        return next((r for r in unit.replicas.values() if r.address.same_place(address)), None)

    def add_replica(self, unit: Unit, address: Address, *, listen: bool = True) -> Instance | None:
        """Add a replica; None when it is known already, or when its address cannot be used yet."""
        if self.find_replica(unit, address) is not None or not self._ctx.reachable(address.host):
            return None
        label = self._ctx.label(address)
        replica = self.new_instance(REPLICA, label, address, unit.settings, unit, listen=listen)
        unit.replicas[label] = replica
        return replica

    # ----------------------------------------------------------------------------------------------------- sentinels

    def find_sentinel(self, unit: Unit, address: Address | None, run_id: str) -> Instance | None:
        """A sentinel by run id, by address (with an empty run id), or by both."""
        for peer in unit.sentinels.values():
            if run_id and peer.run_id != run_id:
                continue
            if address is None or peer.address.same_place(address):
                return peer
        return None

    def add_sentinel(self, unit: Unit, address: Address, run_id: str) -> Instance:
        """Add another sentinel, over the link that another unit may already have to it."""
        link = self._ctx.peer_links.get(run_id)
        peer = self.new_instance(SENTINEL, run_id, address, unit.settings, unit, link)
        peer.run_id = run_id
        self._ctx.peer_links[run_id] = peer.link
        unit.sentinels[run_id] = peer
        self._ctx.touch(unit)
        return peer

    def remove_sentinel(self, unit: Unit, run_id: str) -> bool:
        """Forget a sentinel of this unit; whether it was known."""
        peer = unit.sentinels.pop(run_id, None)
        if peer is None:
            return False
        self._links.release(peer)
        return True

    # ---------------------------------------------------------------------------------------------- resets, switches

    def reset(self, unit: Unit) -> None:
        """SENTINEL RESET: forget replicas, sentinels, failover and flags, and connect to the primary anew."""
        for instance in [*unit.replicas.values(), *unit.sentinels.values()]:
            self._links.release(instance)
        unit.replicas.clear()
        unit.sentinels.clear()
        self._links.close(unit.primary.link)
        unit.primary.link.retry_at_ms = unit.primary.link.refusals = 0
        unit.voted_for = ""
        unit.failover = FailoverState()
        self._refresh(unit)
        self._ctx.emit(WARNING, "+reset-master", unit)

    def switch_primary(self, unit: Unit, address: Address) -> None:
        """Make the process at `address` the unit's primary; the old one becomes a replica.

        Links are kept: the processes stay the same, only their roles change. As in stock, every replica is announced
        again, and everything the old configuration was judged by starts afresh.
        """
        old = unit.primary
        promoted = self.find_replica(unit, address)
        if promoted is None:
            promoted = self.new_instance(PRIMARY, unit.name, address, unit.settings, unit)
            promoted.guard = unit.guard
        else:
            del unit.replicas[promoted.name]
        if promoted.address.host == promoted.address.ip and address.host != address.ip:
            promoted.address = address  # a name says more than the IP it was known by
        unit.primary = promoted
        promoted.role, promoted.name = PRIMARY, unit.name
        old.role, old.name = REPLICA, self._ctx.label(old.address)
        if not old.address.same_place(address) and self.find_replica(unit, old.address) is None:
            unit.replicas[old.name] = old
        else:
            self._links.release(old)
        for peer in unit.sentinels.values():
            peer.peer.primary_down, peer.peer.voted_for, peer.peer.vote_epoch = False, "", 0
        unit.failover = FailoverState()
        unit.drop_settled_holds()
        unit.unconfirmed = True
        self._refresh(unit)
        for replica in unit.replicas.values():
            self._ctx.emit(NOTICE, "+slave", replica)
        self._ctx.persist()

    def _refresh(self, unit: Unit) -> None:
        """Judge every member afresh, as if it had just been found."""
        now = self._ctx.now_ms
        unit.odown, unit.odown_since_ms, unit.ask_gap_ms = False, 0, 0
        unit.heir = None
        for member in unit.members():
            member.sdown, member.sdown_since_ms = False, 0
            member.rebooted_ms = 0
            member.role_reported, member.role_reported_ms = member.role, now
            member.info_heard_ms = member.info_sent_ms = 0
            member.hello_sent_ms = now
            kept = member.replica
            member.replica = ReplicaState(priority=kept.priority, offset=kept.offset, announced=kept.announced)
            member.replica.conf_change_ms = now
            member.peer = PeerState()
            link = member.link
            if link.act_ping_ms or not link.commands.up:
                link.act_ping_ms = now
            link.last_avail_ms = link.last_pong_ms = now
        self._ctx.touch_unit(unit)
