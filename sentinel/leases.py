"""Write leases: why two primaries of one shard never accept writes at the same time.

To every guarded node of ours goes, once per ping period,

    CLUSTER GUARD <guard> <sentinel id> <sentinel epoch> <lease ms> <voters> <echo ms> [WATCH]
    -> [node clock, fence epoch, ...]

A node that is guarded accepts writes only while sentinels that are a majority of `voters` lease it. `echo` is the
node's clock from its previous reply; the lease ends at echo + lease ms *by the node's clock*, whenever the message
arrives. So a delayed message never prolongs a lease, and we know without synchronised clocks when a lease of ours is
over at the latest: that reply left the node before we received it, hence the lease ends before (receipt + lease ms),
plus what two clocks can drift apart meanwhile (`drift_ms`). An echo of 0 leases nothing. With WATCH the node is
guarded (it leaves elections to us for that long) but not leased, and an earlier lease of ours ends at once: that is
what replicas get, and primaries that we must not lease.

Three rules, kept by every sentinel on its own:

 1. *One lease per shard.* A node is leased only while it is the shard's primary as far as we know, or the heir that
    this primary named in a planned failover, and only when no lease of ours to another member can be alive (it ran
    out, the member confirmed its end, or the process is dead).
 2. *No vote over a live lease.* We vote in a failover of the shard only when no lease of ours to any member can be
    alive.
 3. *No lease after a vote*, until its outcome is known (a configuration of that epoch or a later one), or the candidate
    has given the vote back, or no order that rests on it can be obeyed any more.

Safety. A writable node has a majority of leases. By rule 1 each sentinel leases at most one member of a shard at a
time, and two majorities share a sentinel: at most one member is writable at any time, whatever elections, partitions,
delays and restarts do. Rules 2 and 3 add that an old primary has stopped *before* its successor is promoted, so that
nothing is acknowledged by the old one that the new one could have missed because of us: the leader has votes of a
majority, each given over no live lease and leasing nothing since; every majority of leases would need one of those
voters.

How long a vote holds. What it protects against is the candidate's promotion order: obeyed while the old primary is
leased again, it would depose a primary that acknowledges writes. Fencing epochs do not help there: they rank orders,
and the old primary gets none. So a hold ends only by what rules the order out:

- the candidate says so. One that ends an attempt without having sent the order, or whose order was refused, will never
  send it in that epoch, and gives the votes back (SENTINEL GIVE-BACK-VOTE <epoch> <its run id>). That is the usual end
  when the primary is back, or when votes were split, and takes one message;
- the order is void. It carries the last moment at which it may be obeyed, on the clock of the node that gets it and
  derived from an echo, as leases are: `LEADER_TIME_MS` after the start of the attempt, wherever the order or its sender
  was held up. The vote was given after that start, so a hold of that length (plus drift) outlasts the order. That is
  the end when the candidate died, or was cut off;
- each vote holds for itself (`Unit.holds`, by epoch): that a later candidate gave up says nothing about an earlier one.

A voter that sees the old primary alive does not end its hold for that: the leader may see it down, have a majority, and
send its order the next moment.

This costs nothing in the usual cases. A dead process has no leases (two refused connections: rule 2 holds at once). And
down-after-milliseconds is also the length of the lease: a sentinel that has heard nothing for that long has no echo
younger than that, so its lease is over when it declares SDOWN, but for the drift.

Restarts: leases live in a sentinel's memory, and the one node it may have leased is on disk (`known-shard ... holder`,
written before the first lease to a new one); after a restart that node counts as leased for one lease period, during
which the sentinel votes in no failover of the shard.

Planned failovers. A primary that has paused its writers answers GUARD with the id of its heir behind the rest; with
that answer it holds no lease of ours any more, and the heir gets one, before it is elected. It keeps that until a view
shows it as the primary, until the primary answers without an heir (the failover failed: first the heir's lease has to
end), or until the primary is down. Rules 1 and 2 are as ever: the heir is a member like others.

Without a cluster all of this holds for a primary and replicas of ours, if there are enough sentinels (`applies`) and
the servers answer GUARD. Their config epochs are SENTINEL's, members are known by where they listen, and whether this
sentinel leased the primary of its file before it restarted is not in that file: it may have, until INFO or a refused
connection say otherwise.

What is assumed: the drift bound, and that a refused connection means a dead process (a firewall that forges a reset
for a process that lives breaks it). Nodes of stock know no leases; a stock primary is promoted over as stock Sentinel
does it.
"""

from __future__ import annotations

import re

from slotmesh.cluster.epochs import is_credible
from slotmesh.cluster.numbers import INT64_MAX, to_uint
from slotmesh.sentinel.effects import WARNING, ErrorReply, Reply
from slotmesh.sentinel.hello import MAX_PORT
from slotmesh.sentinel.instance import GUARD_AUTO, GUARD_NO, LOST, REPLICA, Hold, Instance, Unit
from slotmesh.sentinel.links import DISCARD, GUARD, NODE_ID, Links, ping_period_ms
from slotmesh.sentinel.state import Context

MIN_DRIFT_MS = 20
DRIFT_PART = 100
"""Two clocks may drift apart by a hundredth of the measured time: a hundred times more than a sick quartz does."""


LEAST_VOTERS = 3
"""With so many sentinels a majority is left when one is lost."""

ASK_AGAIN_MS = 10_000
"""A server that refused GUARD is asked again this much later."""

CALL = b"guard,"
_CALL = re.compile(rb"guard,([0-9A-Za-z_-]{1,64}),([0-9]{1,19})")


def drift_ms(lease_ms: int) -> int:
    """How far two clocks may be apart after one lease."""
    return MIN_DRIFT_MS + lease_ms // DRIFT_PART


class Leases:
    """Grants, withholds and counts the write leases of this sentinel."""

    def __init__(self, ctx: Context, links: Links) -> None:
        self._ctx = ctx
        self._links = links

    # ---------------------------------------------------------------------------------------------------------- rules

    def clear_at_ms(self, unit: Unit, besides: Instance | None = None) -> int:
        """When no lease of ours to any member (but `besides`) can be alive any more; 0 if that is so already."""
        ends = [m.lease.granted_until_ms for m in unit.members() if m is not besides]
        latest = max(unit.left_until_ms, *ends) if ends else unit.left_until_ms
        return latest if latest > self._ctx.now_ms else 0

    def may_grant(self, unit: Unit, instance: Instance) -> bool:
        """Rules 1 and 3."""
        held = unit.hold_until_ms > self._ctx.now_ms
        if unit.heir is not None and unit.serving is unit.primary:
            claimed = instance is unit.heir and not unit.primary.sdown
        else:
            claimed = instance is unit.serving and instance.role_reported != REPLICA
        return claimed and not held and self.clear_at_ms(unit, besides=instance) == 0

    def on_node_id(self, instance: Instance, reply: Reply) -> bool:
        """The process told its node id; False when it is not the node we take it for."""
        if not isinstance(reply, bytes):
            return True  # not a cluster node, or not ready: it just gets no lease
        told = reply.decode("utf-8", "surrogateescape")
        if instance.node_id and told != instance.node_id:
            return False
        instance.confirmed_conn_id = instance.link.commands.conn_id
        self.renew(instance)
        return True

    def may_vote_at_ms(self, unit: Unit) -> int:
        """Rule 2, and the silence after a restart: when we may vote in a failover of `unit`; 0 at once."""
        start = unit.no_vote_before_ms if unit.no_vote_before_ms > self._ctx.now_ms else 0
        return max(self.clear_at_ms(unit), start)

    def leased(self, unit: Unit) -> bool:
        """Whether leases matter for this unit: a shard whose primary understands them, or that we leased before.

        (After a restart INFO may not have told yet whose the primary is; the holder of our last lease is on disk.)
        Without a cluster: one that is to be guarded, and has members that take leases.
        """
        if unit.guard is not None:
            return unit.primary.ours or unit.lease_holder != ""
        return self.applies(unit) and any(member.leasable for member in unit.members())

    @staticmethod
    def applies(unit: Unit) -> bool:
        """Whether this unit is to be guarded. Clusters are.

        A primary without one by itself only where it stays writable when one sentinel is lost. A primary that is
        guarded already needs us, however many we know just now.
        """
        wanted = unit.settings.guard
        if unit.guard is not None or wanted != GUARD_AUTO:
            return wanted != GUARD_NO or unit.guard is not None
        return unit.voters >= LEAST_VOTERS or unit.primary.guarded or unit.lease_holder != ""

    def guards(self, instance: Instance) -> bool:
        """Whether GUARD is to be sent to this server."""
        unit = instance.unit
        return unit is not None and instance.ours and (instance.guard is not None or self.applies(unit))

    def hold(self, unit: Unit, epoch: int, candidate: str) -> None:
        """Rule 3: we voted for `candidate` in a failover of `unit`."""
        if self.leased(unit) or self.applies(unit):
            now, leader_ms = self._ctx.now_ms, self._ctx.leader_time_ms
            unit.holds = {when: hold for when, hold in unit.holds.items() if hold.until_ms > now}
            unit.holds[epoch] = Hold(candidate, now + leader_ms + drift_ms(leader_ms))
            self.renew(unit.primary)  # ends what may be left of a lease, instead of only letting it run out

    def drop_hold(self, unit: Unit, epoch: int, candidate: str) -> None:
        """`candidate` promotes nobody in `epoch` any more: our vote for it stands in nobody's way."""
        hold = unit.holds.get(epoch)
        if hold is not None and hold.candidate == candidate:
            del unit.holds[epoch]
            self._ctx.touch_unit(unit)

    def order_void_ms(self, replica: Instance, attempt_ms: int) -> int:
        """Until when, by the clock of `replica`, it may obey the order of an attempt that started at `attempt_ms`.

        0 while we know too little of its clock.
        """
        lease = replica.lease
        left_ms = attempt_ms + self._ctx.leader_time_ms - lease.echo_heard_ms
        return lease.echo_ms + left_ms if lease.echo_ms else 0

    def died(self, instance: Instance) -> None:
        """The process is dead, and its leases with it."""
        lease = instance.lease
        lease.granted_until_ms = lease.grant_conn_id = lease.echo_ms = 0
        if instance.unit is not None:
            self._ctx.touch_unit(instance.unit)

    def restarted(self, unit: Unit) -> None:
        """We restart, and may have leased the holder on disk before.

        Of a primary without a cluster the file says only whom else we leased than itself, if anybody. As long as it is
        silent, it may have a lease of ours: its INFO, or that it is dead, says more.
        """
        if not self.applies(unit):
            return
        lease_ms = unit.settings.down_after_ms
        end_ms = self._ctx.now_ms + lease_ms + drift_ms(lease_ms)
        holder = next((m for m in unit.members() if unit.lease_holder in ("", m.lease_id)), None)
        if holder is None and unit.guard is None:
            unit.left_until_ms = end_ms
            return
        holder = holder or unit.primary
        holder.lease.granted_until_ms = end_ms
        holder.lease.grant_conn_id = LOST
        if unit.guard is not None:
            unit.no_vote_before_ms = end_ms

    def forget(self, instance: Instance) -> None:
        """This server, outside a cluster, takes no leases: it is none of ours."""
        instance.leasable = False
        instance.lease.granted_until_ms = instance.lease.grant_conn_id = 0

    def release(self, unit: Unit) -> None:
        """We guard this unit, one without a cluster, no longer: its servers are free unless other sentinels go on.

        Those arm them again with their next pings; the last majority to leave frees them.
        """
        for member in unit.members():
            if member.ours:
                self._links.send(member, DISCARD, "CLUSTER", "UNGUARD", unit.name)
            member.leasable = member.guarded = False
        unit.lease_holder = ""

    # ------------------------------------------------------------------------------------------------------- messages

    def due_ms(self, instance: Instance) -> int:
        """When the next GUARD is to be sent to a guarded node of ours."""
        due = max(instance.lease.sent_ms + ping_period_ms(self._ctx, instance), instance.lease.refused_until_ms)
        unit = instance.unit
        if unit is None or instance.lease.granted_until_ms > self._ctx.now_ms:
            return due
        if instance is not (unit.heir or unit.serving):
            return due
        # A primary without a lease cannot serve: lease it as soon as the rules allow.
        lease = instance.lease
        if lease.echo_ms not in (0, lease.granted_echo_ms) and self.may_grant(unit, instance):
            return self._ctx.now_ms
        allowed = max(unit.hold_until_ms, self.clear_at_ms(unit, besides=instance))
        return min(due, allowed) if allowed > self._ctx.now_ms else due

    def renew(self, instance: Instance) -> None:
        """Send one GUARD: a lease to the primary if the rules allow it, else only the word that it is guarded."""
        unit, lease = instance.unit, instance.lease
        if (
            unit is None
            or not (instance.guard is not None or self.guards(instance))
            or not instance.link.commands.up
            or not self._links.has_room(instance)
        ):
            return
        lease_ms = instance.settings.down_after_ms
        if instance.guard is not None and instance.confirmed_conn_id != instance.link.commands.conn_id:
            # Another node may listen at this address by now: first it tells who it is.
            lease.sent_ms = self._ctx.now_ms
            self._links.send(instance, NODE_ID, "CLUSTER", "MYID")
            return
        grant = bool(lease.echo_ms) and self.may_grant(unit, instance)
        if grant:
            self._note_grant(unit, instance, lease_ms)
        lease.sent_ms = self._ctx.now_ms
        name = unit.name if instance.guard is None else instance.guard.name
        words = (name, self._ctx.my_id, self._ctx.current_epoch, lease_ms, unit.voters, lease.echo_ms)
        watch = () if grant else ("WATCH",)
        sent = self._links.send(instance, GUARD, "CLUSTER", "GUARD", *words, *watch, note=int(grant))
        if sent and (instance.guard is not None or instance.leasable):
            self._links.note_ping(instance)

    def _note_grant(self, unit: Unit, instance: Instance, grant_ms: int) -> None:
        lease = instance.lease
        end_ms = lease.echo_heard_ms + grant_ms + drift_ms(grant_ms)
        conn_id = instance.link.commands.conn_id
        if lease.grant_conn_id == LOST:
            lease.elsewhere_until_ms = lease.granted_until_ms
        lease.grant_conn_id = conn_id
        lease.granted_until_ms, lease.granted_echo_ms = max(lease.granted_until_ms, end_ms), lease.echo_ms
        if unit.lease_holder != instance.lease_id:
            if not unit.lease_holder and unit.guard is None:
                self._ctx.log(f"{unit.name} takes writes only with leases of most of its {unit.voters} sentinels")
            unit.lease_holder = instance.lease_id
            self._ctx.persist()  # before the lease is sent: a Persist precedes every Send of its batch

    def _learn_fence(self, instance: Instance, epoch: int) -> None:
        """A node has obeyed an order of this epoch: one of ours would have to be newer. (All state files were lost.)"""
        known = self._ctx.current_epoch
        if epoch > known and is_credible(epoch, known) and instance.unit is not None:
            self._ctx.current_epoch = epoch
            self._ctx.persist()
            self._ctx.emit_raw(WARNING, "+new-epoch", instance.unit, str(epoch))

    def _nothing_later(self, instance: Instance) -> bool:
        """Whether the node has seen every lease of ours: none is under way to it, on this connection or an old one."""
        channel = instance.link.commands
        lease = instance.lease
        # A connection that is gone, but had an answer to every grant, has nothing under way either.
        known = lease.grant_conn_id != LOST and lease.elsewhere_until_ms <= self._ctx.now_ms
        return known and not any(pending.kind == GUARD and pending.note for pending in channel.pending)

    def left(self, unit: Unit, member: Instance) -> None:
        """A member leaves the unit; a lease of it that may be alive still counts."""
        unit.left_until_ms = max(unit.left_until_ms, member.lease.granted_until_ms)

    def on_reply(self, instance: Instance, reply: Reply, granted: bool) -> None:
        """A node answered GUARD. An error means it cannot be leased now; its lease just runs out."""
        lease, now = instance.lease, self._ctx.now_ms
        if instance.guard is None:
            self._note_ability(instance, reply)
        if not isinstance(reply, list) or len(reply) < 2:
            return
        echo_ms, fence_epoch = reply[0], reply[1]
        if not isinstance(echo_ms, int) or not isinstance(fence_epoch, int) or not 0 <= echo_ms <= INT64_MAX:
            return
        first = lease.echo_ms == 0
        lease.echo_ms, lease.echo_heard_ms = echo_ms, now
        self._learn_fence(instance, fence_epoch)
        heir = reply[4] if len(reply) > 4 else b""
        if (not granted or heir) and self._nothing_later(instance):
            # Replies come in order: the node has seen all our leases, and then this end of them.
            lease.granted_until_ms = lease.grant_conn_id = 0
            if instance.unit is not None:
                self._ctx.touch_unit(instance.unit)
        unit = instance.unit
        if unit is not None and instance is unit.serving:
            self._follow_heir(unit, heir.decode("utf-8", "surrogateescape") if isinstance(heir, bytes) else "")
        if first and unit is not None:
            if instance is unit.serving:
                lease.sent_ms = 0  # lease it now that there is an echo
                self._ctx.touch(instance)
            self._ctx.touch(unit)  # an order to this node may have waited for its clock

    def _note_ability(self, instance: Instance, reply: Reply) -> None:
        """Outside a cluster nobody has to take leases: a node may be set not to, or we may not be allowed to ask."""
        lease, able, was_able = instance.lease, isinstance(reply, list), instance.leasable
        if isinstance(reply, ErrorReply) and (was_able or not lease.refused_until_ms):
            self._ctx.log(f"{instance.name} takes no lease: {reply.text}")
        again_ms = 0 if was_able and lease.granted_until_ms > self._ctx.now_ms else ASK_AGAIN_MS
        lease.refused_until_ms = 0 if able else self._ctx.now_ms + again_ms
        instance.leasable = able
        if able != was_able:
            self._ctx.touch_unit(instance.unit)

    def move(self, unit: Unit) -> None:
        """Another member is to be leased: the lease that the one before may have ends now, not at the next ping."""
        for member in unit.members():
            if member is not unit.serving and member.lease.granted_until_ms:
                self.renew(member)
        self._ctx.touch_unit(unit)

    def _is(self, member: Instance, told: str) -> bool:
        """Whether a node calls this member so: by node id in a cluster, else `host:port`."""
        if member.guard is not None:
            return member.node_id == told
        host, _, port = told.rpartition(":")
        return self._ctx.same_host(member.address, host, to_uint(port, MAX_PORT) or 0)

    def _follow_heir(self, unit: Unit, node_id: str) -> None:
        """The primary names its heir, or (an empty id) has none."""
        before = unit.heir
        unit.heir = next((member for member in unit.replicas.values() if node_id and self._is(member, node_id)), None)
        if unit.heir is not before:
            for member in (before, unit.heir):
                if member is not None:
                    self.renew(member)  # ends the lease of the one, and gives the other its own if the rules allow it
            self._ctx.touch_unit(unit)

    def on_call(self, payload: bytes) -> None:
        """A node says on the hello channel that it wants a GUARD now; anything else is ignored."""
        called = _CALL.fullmatch(payload)
        clock_ms = to_uint(called[2].decode()) if called is not None else None
        if called is None or clock_ms is None:
            return
        node_id = called[1].decode()
        for unit in self._ctx.units.values():
            for node in {id(one): one for one in (unit.serving, unit.heir or unit.serving)}.values():
                lease = node.lease
                news = lease.called_ms < clock_ms and lease.echo_ms <= clock_ms
                if node_id == (node.run_id if node.guard is None else node.node_id) and news:
                    lease.called_ms = clock_ms  # many nodes pass the call on
                    self.renew(node)
