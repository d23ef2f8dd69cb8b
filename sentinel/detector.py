"""Who is down: subjectively (our own evidence) and objectively (a quorum says so).

SDOWN of an instance, any of:
- silence: a PING unanswered for down-after-milliseconds (-LOADING and -BUSY are answers);
- refusal: two refused connections in a row - the kernel over there says the process is gone - or one by a process that
  hung up on us, and then no answer at all: it took its address along, as containers do. Stock waits for silence here
  too; this is what makes our failover after a crash fast. It counts only where this sentinel has seen a living
  process: one that never answered may be starting, and has down-after-milliseconds as in stock;
- a primary that says it is a replica for longer than down-after plus two INFO periods (of a second where it is leased);
- a primary that restarted and does not answer within master-reboot-down-after-period.

ODOWN of a primary: we see it SDOWN, and with the others that lately told us the same there are `quorum` of us. ODOWN is
a weak statement (nothing says that the observations overlap in time); it only permits to ask for votes.
"""

from __future__ import annotations

from slotmesh.sentinel.effects import WARNING
from slotmesh.sentinel.instance import PRIMARY, REPLICA, Instance, Unit
from slotmesh.sentinel.links import Links, refused
from slotmesh.sentinel.state import Context

NEVER = 1 << 62
STRAY_INFO_MS = 1_000
"""How often a server is asked for INFO that says it has another role than we know."""


class Detector:
    """Sets and clears SDOWN and ODOWN; refreshes links that look dead."""

    def __init__(self, ctx: Context, links: Links) -> None:
        self._ctx = ctx
        self._links = links

    def judge(self, instance: Instance) -> None:
        """Bring the SDOWN flag up to date."""
        self._refresh_links(instance)
        if self._down(instance):
            if not instance.sdown:
                self._ctx.emit(WARNING, "+sdown", instance)
                instance.sdown, instance.sdown_since_ms = True, self._ctx.now_ms
                self._changed(instance)
        elif instance.sdown:
            self._ctx.emit(WARNING, "-sdown", instance)
            instance.sdown = False
            self._changed(instance)

    def _changed(self, instance: Instance) -> None:
        unit = instance.unit
        if unit is None:
            return
        self._ctx.touch(unit)
        if instance is unit.primary:
            unit.ask_gap_ms = 0  # ask the others at once
            for replica in unit.replicas.values():
                replica.info_wanted = True  # their offsets decide who is promoted: fresh ones are wanted now
                self._ctx.touch(replica)

    def _down(self, instance: Instance) -> bool:
        if refused(instance):
            return True
        silent_at = self._silent_since(instance) + instance.settings.down_after_ms
        return min(silent_at, self._wrong_role_at(instance), self._reboot_at(instance)) < self._ctx.now_ms

    def _silent_since(self, instance: Instance) -> int:
        link = instance.link
        if link.act_ping_ms:
            return link.act_ping_ms
        return NEVER if link.complete else link.last_avail_ms

    def _wrong_role_at(self, instance: Instance) -> int:
        if instance.role != PRIMARY or instance.role_reported != REPLICA:
            return NEVER
        # Nobody leases it, so nobody writes; and its INFO comes once a second while it is a stray.
        info_ms = min(self._ctx.timing.info_period, STRAY_INFO_MS if instance.leasable else NEVER)
        return instance.role_reported_ms + instance.settings.down_after_ms + 2 * info_ms

    def _reboot_at(self, instance: Instance) -> int:
        if not instance.rebooted_ms:
            return NEVER
        return instance.rebooted_ms + instance.settings.reboot_down_after_ms

    def due_ms(self, instance: Instance) -> int:
        """When `judge` may come to another verdict, or drop a connection, if nothing happens until then."""
        unanswered_at = self._links.unanswered_at_ms(instance.link)
        waits = [] if unanswered_at is None else [unanswered_at]
        return min([self._verdict_at(instance), *self._drops_at(instance).values(), *waits])

    def _verdict_at(self, instance: Instance) -> int:
        if instance.sdown:
            return NEVER  # only an event can clear it
        silent_at = self._silent_since(instance)
        if silent_at < NEVER:
            silent_at += instance.settings.down_after_ms
        return min(silent_at, self._wrong_role_at(instance), self._reboot_at(instance)) + 1

    def _refresh_links(self, instance: Instance) -> None:
        """Drop connections that are up by name only: half-open ones never report an error by themselves."""
        for pubsub, at_ms in self._drops_at(instance).items():
            channel = instance.link.pubsub if pubsub else instance.link.commands
            if at_ms <= self._ctx.now_ms and channel is not None:
                self._links.close_channel(channel)

    def _drops_at(self, instance: Instance) -> dict[bool, int]:
        """When to drop the connections (True: that for pub/sub) unless the other side gives a sign of life.

        The kernel says things again after pauses that double, so after some seconds of a partition it would notice the
        end of it seconds too late. A new connection says it at once; a lease cannot wait longer.
        """
        link, timing = instance.link, self._ctx.timing
        half_ms = instance.settings.down_after_ms // 2
        youth_ms = timing.min_link_reconnect_period
        if instance.guard is not None or instance.leasable:
            youth_ms = min(youth_ms, instance.settings.down_after_ms)
        drops = {channel.pubsub: channel.since_ms + half_ms for channel in link.channels() if channel.conn_id}
        if link.commands.up:
            silent_at = max(link.act_ping_ms, link.last_pong_ms) + half_ms
            drops[False] = max(silent_at, link.commands.since_ms + youth_ms) if link.act_ping_ms else NEVER
        if link.pubsub is not None and link.pubsub.up:
            drops[True] = max(link.heard_ms + 3 * timing.publish_period, link.pubsub.since_ms + youth_ms)
        return {pubsub: at_ms + 1 for pubsub, at_ms in drops.items()}

    # --------------------------------------------------------------------------------------------------------- ODOWN

    def agreeing(self, unit: Unit) -> int:
        """How many sentinels, we included, lately said that the primary is down."""
        if not unit.primary.sdown:
            return 0
        return 1 + sum(peer.peer.primary_down for peer in unit.sentinels.values())

    def judge_unit(self, unit: Unit) -> None:
        """Bring the ODOWN flag up to date."""
        agreeing = self.agreeing(unit)
        if agreeing >= unit.settings.quorum:
            if not unit.odown:
                unit.odown, unit.odown_since_ms = True, self._ctx.now_ms
                self._ctx.emit(WARNING, "+odown", unit, f" #quorum {agreeing}/{unit.settings.quorum}")
                self._ctx.touch_unit(unit)
        elif unit.odown:
            unit.odown = False
            self._ctx.emit(WARNING, "-odown", unit)
            self._ctx.touch_unit(unit)
