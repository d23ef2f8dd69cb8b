"""What INFO of a server changes: roles, replicas found, promotions confirmed, strays brought back.

First the facts are noted, then - not in TILT - acted upon. The waiting times before a stray is brought back are
stock's: they give the sentinel that leads a failover time to tell what it did, before another one undoes it.

There is one stray that nobody has promoted: a process of ours that was gone, and that says it is a primary since it is
back. It takes writes that will be lost, so it is made a replica at once, provided that

- the primary we know, also ours, says after that that it is one, and
- most of the sentinels have said hello lately: what any of them did would have reached us (they say it at once), and
- it has just come back, and has no leases by what it says itself.

A guarded primary with leases is left alone in any case, and where there are leases a replica that follows another than
the primary we know is brought back as soon as a primary: that the known one is leased says that we know the right one.
"""

from __future__ import annotations

from slotmesh.sentinel.detector import STRAY_INFO_MS
from slotmesh.sentinel.effects import NOTICE, VERBOSE, Reply
from slotmesh.sentinel.failover import Failover
from slotmesh.sentinel.guarding import Guarding
from slotmesh.sentinel.info import InfoFacts, parse_info
from slotmesh.sentinel.instance import PRIMARY, RECONF, REPLICA, WAIT_PROMOTION, Instance, Unit, wire_role
from slotmesh.sentinel.leases import Leases
from slotmesh.sentinel.links import DISCARD, Links, transact
from slotmesh.sentinel.roster import Roster
from slotmesh.sentinel.state import Context

CONVERT_PUBLISH_PERIODS = 4
RECENT_HELLO_PERIODS = 2
RETURN_MS = 1_000
"""How fresh the news must be that it is back: whoever is not heard from for longer than that may have been promoted."""

PROMOTION_INFO_MS = 100
RECONF_INFO_MS = 250
FAST_INFO_MS = STRAY_INFO_MS


class Inspector:
    """Reads INFO replies."""

    def __init__(
        self, ctx: Context, links: Links, roster: Roster, failover: Failover, guarding: Guarding, leases: Leases
    ) -> None:
        self._ctx = ctx
        self._links = links
        self._roster = roster
        self._failover = failover
        self._guarding = guarding
        self._leases = leases

    def period_ms(self, instance: Instance) -> int:
        """How old the facts about a server may become: the more is in motion, the fresher they are wanted."""
        unit, usual = instance.unit, self._ctx.timing.info_period
        if unit is None:
            return usual
        failover = unit.failover
        if instance is failover.promoted and failover.state == WAIT_PROMOTION:
            return PROMOTION_INFO_MS
        if failover.state == RECONF and instance.replica.reconf in ("sent", "inprog"):
            return min(RECONF_INFO_MS, usual)
        moving = instance.role == REPLICA and (
            unit.odown or failover.active or instance.replica.primary_link_down_ms > 0
        )
        stray = instance.role_reported != instance.role
        return min(FAST_INFO_MS, usual) if moving or stray else usual

    def on_info(self, instance: Instance, reply: Reply) -> None:
        """A server answered INFO."""
        instance.info_sent_ms = 0
        if not isinstance(reply, bytes):
            return
        instance.info_text = reply
        facts = parse_info(reply)
        self._note(instance, facts)
        if facts.cluster_enabled and instance.guard is None and instance.unit is not None:
            if instance is instance.unit.primary:
                self._guarding.convert(instance.unit, unnamed=facts.ours and not facts.guarded)
            return
        if not self._ctx.tilt and instance.unit is not None:
            if instance.guard is not None:
                self._act_in_cluster(instance, instance.unit, facts)
            else:
                self._act(instance, instance.unit, facts)

    # ---------------------------------------------------------------------------------------------------------- noting

    def _note(self, instance: Instance, facts: InfoFacts) -> None:
        ctx, now = self._ctx, self._ctx.now_ms
        if facts.run_id and facts.run_id != instance.run_id:
            if instance.run_id:
                ctx.emit(NOTICE, "+reboot", instance)
                if instance.role == PRIMARY and instance.settings.reboot_down_after_ms:
                    instance.rebooted_ms = now
                instance.link.born_ms = now
                instance.returned_ms = now if facts.role == PRIMARY else 0
            instance.run_id = facts.run_id
        # We may have started long after it did.
        instance.link.born_ms = min(instance.link.born_ms or now, max(now - facts.uptime_ms, 1))
        instance.ours, instance.guarded, instance.leased = facts.ours, facts.guarded, facts.leased
        if not facts.ours and instance.guard is None:
            self._leases.forget(instance)
        if instance.role == PRIMARY and instance.guard is None and instance.unit is not None:
            self._find_replicas(instance.unit, facts)
        state = instance.replica
        state.primary_link_down_ms = facts.primary_link_down_ms
        if facts.role == REPLICA:
            if (state.primary_host.lower(), state.primary_port) != (facts.primary_host.lower(), facts.primary_port):
                state.primary_host, state.primary_port = facts.primary_host, facts.primary_port
                state.conf_change_ms = now
            state.primary_link_up, state.never_linked = facts.primary_link_up, facts.never_linked
            state.priority = state.priority if facts.priority is None else facts.priority
            state.offset = state.offset if facts.offset is None else facts.offset
            state.announced = state.announced if facts.announced is None else facts.announced
        instance.info_heard_ms, instance.info_wanted = now, False
        if facts.role and facts.role != instance.role_reported:
            instance.role_reported, instance.role_reported_ms = facts.role, now
            if facts.role == REPLICA:
                state.conf_change_ms, instance.returned_ms = now, 0
            sign = "+" if facts.role == instance.role else "-"
            ctx.emit(VERBOSE, f"{sign}role-change", instance, f" new reported role is {wire_role(facts.role)}")
        ctx.touch(instance)
        ctx.touch(instance.unit)

    def _find_replicas(self, unit: Unit, facts: InfoFacts) -> None:
        for host, port in facts.replicas:
            replica = self._roster.add_replica(unit, self._ctx.address(host, port))
            if replica is not None:
                self._ctx.emit(NOTICE, "+slave", replica)
                self._ctx.persist()

    # ---------------------------------------------------------------------------------------------------------- acting

    def _act(self, instance: Instance, unit: Unit, facts: InfoFacts) -> None:
        """Plain units."""
        if instance.role != REPLICA:
            for replica in unit.replicas.values():
                if self._returned(replica, unit):
                    self._bring_back(replica, unit, 0)
            return
        if facts.role == PRIMARY:
            if self._confirms(instance, unit):
                self._failover.on_promoted(unit)
            elif not instance.replica.promoted:
                self._maybe_convert(instance, unit)
        elif facts.role == REPLICA:
            self._maybe_fix(instance, unit)
            if instance.replica.reconf in ("sent", "inprog"):
                self._reconf_progress(instance, unit)

    def _act_in_cluster(self, instance: Instance, unit: Unit, facts: InfoFacts) -> None:
        """Shards: the bus reconfigures the members; only our own promotion is waited for here."""
        if facts.role == PRIMARY and instance.role == REPLICA:
            if self._confirms(instance, unit):
                self._failover.on_promoted(unit)
            self._guarding.ask_soon(instance.guard)
        elif facts.role == REPLICA and instance.role == PRIMARY:
            self._guarding.ask_soon(instance.guard)

    @staticmethod
    def _confirms(instance: Instance, unit: Unit) -> bool:
        return instance is unit.failover.promoted and unit.failover.state == WAIT_PROMOTION

    def _maybe_convert(self, instance: Instance, unit: Unit) -> None:
        """A replica says it is a primary: our configuration is right unless somebody tells otherwise in time."""
        wait_ms = self._ctx.timing.publish_period * CONVERT_PUBLISH_PERIODS
        if instance.leased:
            return  # most of the sentinels say that it leads: our configuration is old
        if self._ctx.now_ms - instance.role_reported_ms > wait_ms:
            self._bring_back(instance, unit, wait_ms)
        elif instance.returned_ms:
            unit.primary.info_wanted = True  # if it leads, the other one is brought back without that wait
            self._ctx.touch(unit.primary)

    def _bring_back(self, instance: Instance, unit: Unit, wait_ms: int) -> None:
        if self._follow(instance, unit, wait_ms):
            instance.returned_ms = 0
            self._ctx.emit(NOTICE, "+convert-to-slave", instance)

    def _returned(self, instance: Instance, unit: Unit) -> bool:
        """Whether a replica of ours came back as a primary that nobody can have promoted."""
        since_ms, primary = instance.returned_ms, unit.primary
        if not since_ms or unit.failover.active or not (instance.ours and primary.ours) or instance.leased:
            return False
        if self._ctx.now_ms - since_ms > RETURN_MS:
            return False
        heard_ms = self._ctx.now_ms - RECENT_HELLO_PERIODS * self._ctx.timing.publish_period
        hearing = 1 + sum(peer.peer.hello_heard_ms > heard_ms for peer in unit.sentinels.values())
        return primary.info_heard_ms > since_ms and 2 * hearing > unit.voters

    def _maybe_fix(self, instance: Instance, unit: Unit) -> None:
        """A replica follows somebody else."""
        state, primary = instance.replica, unit.primary.address
        if self._ctx.same_host(primary, state.primary_host, state.primary_port):
            return
        wait_ms = unit.settings.failover_timeout_ms
        if instance.leasable and unit.primary.leased:
            wait_ms = min(wait_ms, self._ctx.timing.publish_period * CONVERT_PUBLISH_PERIODS)
        settled = self._ctx.now_ms - state.conf_change_ms > wait_ms
        if settled and self._follow(instance, unit, wait_ms):
            self._ctx.emit(NOTICE, "+fix-slave-config", instance)

    def _follow(self, instance: Instance, unit: Unit, wait_ms: int) -> bool:
        """Make a stray replicate from the unit's primary, if primary and stray have been well for long enough."""
        if not self._looks_sane(unit.primary) or not self._not_down_for(instance, wait_ms):
            return False
        primary = unit.primary.address
        return transact(self._links, instance, DISCARD, "SLAVEOF", self._ctx.announce(primary), primary.port)

    def _reconf_progress(self, instance: Instance, unit: Unit) -> None:
        state, promoted = instance.replica, unit.failover.promoted
        if promoted is None:
            return
        follows = self._ctx.same_host(promoted.address, state.primary_host, state.primary_port)
        if state.reconf == "sent" and follows:
            state.reconf = "inprog"
            self._ctx.emit(NOTICE, "+slave-reconf-inprog", instance)
        if state.reconf == "inprog" and state.primary_link_up:
            state.reconf = "done"
            self._ctx.emit(NOTICE, "+slave-reconf-done", instance)

    def _looks_sane(self, primary: Instance) -> bool:
        fresh = self._ctx.now_ms - primary.info_heard_ms < 2 * self._ctx.timing.info_period
        unit = primary.unit
        down = primary.sdown or (unit is not None and unit.odown)
        return primary.role_reported == PRIMARY and not down and primary.info_heard_ms > 0 and fresh

    def _not_down_for(self, instance: Instance, ms: int) -> bool:
        return instance.sdown_since_ms == 0 or self._ctx.now_ms - instance.sdown_since_ms > ms
