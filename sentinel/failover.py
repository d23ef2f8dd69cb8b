"""The failover itself, step by step, as its leader.

    none -> wait_start -> select_slave -> send_slaveof_noone -> wait_promotion -> reconf_slaves -> update_config -> none

wait_start: until elected. select_slave: the best replica (once each has told its offset, or has had time to).
send_slaveof_noone: one promotion order. wait_promotion: until the replica itself says that it is a primary; only then
is the new configuration real: it gets the epoch of the election as its config epoch, is on disk, and is told to
everybody. Up to the order an attempt ends as soon as its reason is gone (the primary answers again: the event is
-failover-abort-master-is-back); up to the confirmation it can be aborted; from here on it is finished, by timeout if
need be. reconf_slaves: point the other replicas at the new primary, `parallel-syncs` at a time. update_config: switch.

A plain primary is failed over as by stock. A replica that takes leases gets another order, though: CLUSTER FAILOVER
TAKEOVER FENCE, as in a cluster. And when an operator asks for it, both ends are ours and the primary is well, it is a
coordinated failover: FAILOVER to the primary, which pauses its writers until the replica has everything, becomes its
replica and tells it to be the primary. Then both save their roles, and the clients of both are disconnected.

In a guarded cluster

- the order is CLUSTER FAILOVER TAKEOVER. Our nodes get FENCE <epoch of the election> <smallest config epoch to take>
  <last moment on the node's clock> behind it: a node refuses an order of an older election than one it has obeyed, and
  one that comes too late;
- nobody is reconfigured: the other members follow over the cluster bus;
- what makes the old primary harmless is the voters' leases (see `leases`): having the votes is having it fenced;
- a failover that an operator asks for while the primary is well is a coordinated one (CLUSTER FAILOVER to the replica):
  the primary pauses its writers until the replica has everything, and nothing is lost.

Every step is taken when the event that permits it arrives; the timers here are only for what does not arrive.

After a failed attempt the next one follows within a second as long as the primary is ODOWN - but not while there is
nobody to promote: an election a second would only fill logs and disks. It follows when a replica has become fit.
"""

from __future__ import annotations

from slotmesh.sentinel.detector import NEVER
from slotmesh.sentinel.effects import NOTICE, WARNING, ErrorReply, Exit, Reply
from slotmesh.sentinel.election import Election
from slotmesh.sentinel.instance import (
    NONE,
    RECONF,
    SELECT,
    SEND_ORDER,
    UPDATE_CONFIG,
    WAIT_PROMOTION,
    WAIT_START,
    Address,
    Instance,
    Unit,
)
from slotmesh.sentinel.leases import Leases
from slotmesh.sentinel.links import DISCARD, HAND_OVER, ORDER, Links, transact
from slotmesh.sentinel.roster import Roster
from slotmesh.sentinel.selection import facts_awaited, promotable_at_ms, select_replica
from slotmesh.sentinel.state import Context

FACTS_WAIT_MS = 500
"""How long to wait for the replicas' fresh offsets before choosing among those that answered."""

RETRY_MS = 500
"""Least pause between an attempt that failed after its election and the next one; up to as much again is random."""

CONFIRM_MS = 1_000
"""How long after the last moment of its order a replica of ours may take to say that it is a primary."""

GRACEFUL_MS = 10_000
"""How long a coordinated cluster failover may take (stock's own limit for it is 5 s) before it counts as failed."""


HAND_OVER_MS = 5_000
"""How long a plain primary waits, its writers paused, for its replica: the limit that cluster nodes have."""


class Failover:
    """Starts, advances and ends the failovers that this sentinel leads."""

    def __init__(self, ctx: Context, links: Links, roster: Roster, election: Election, leases: Leases) -> None:
        self._ctx = ctx
        self._links = links
        self._roster = roster
        self._election = election
        self._leases = leases

    # ------------------------------------------------------------------------------------------------------- starting

    def maybe_start(self, unit: Unit) -> int:
        """Start an attempt if it is due and permitted; otherwise when to look again."""
        failover, now = unit.failover, self._ctx.now_ms
        if failover.active or not unit.odown or not self._ctx.storage_ok:
            return NEVER
        self._election.check_leader(unit)
        start_at_ms = self._election.start_at_ms(unit)
        if failover.hopeless:
            promotable_ms = promotable_at_ms(unit, self._ctx.timing, now)
            start_at_ms = NEVER if promotable_ms is None else max(start_at_ms, promotable_ms)
        if start_at_ms > now:
            return start_at_ms
        self._election.start(unit)
        self._election.ask(unit, forced=True)
        unit.ask_gap_ms = 0
        return NEVER

    def force(self, unit: Unit) -> None:
        """SENTINEL FAILOVER: an attempt that asks nobody. The caller has checked that a replica can be promoted."""
        self._ctx.log(f"Executing user requested FAILOVER of '{unit.name}'")
        self._election.start(unit)
        # A leased primary that is down may only be replaced by the votes of those who leased it.
        unit.failover.forced = not (unit.primary.sdown and self._leases.leased(unit))
        if unit.failover.forced:
            # Nobody else votes, so nobody else would hear of this epoch: have the next election use a later one.
            self._election.cast_vote(unit, unit.failover.epoch, self._ctx.my_id)
            self.announce_soon(unit)
        self._ctx.touch(unit)

    # ------------------------------------------------------------------------------------------------------ advancing

    def advance(self, unit: Unit) -> int:
        """Take every step that is possible now; returns when to look again."""
        steps = {
            WAIT_START: self._wait_start,
            SELECT: self._select,
            SEND_ORDER: self._send_order,
            WAIT_PROMOTION: self._wait_promotion,
            RECONF: self._reconfigure,
            UPDATE_CONFIG: self._switch,
        }
        while True:
            state = unit.failover.state
            if state == NONE:
                return NEVER
            due_ms = steps[state](unit)
            if unit.failover.state == state:
                return due_ms

    def end_if_primary_is_back(self, unit: Unit) -> None:
        """End an attempt whose reason is gone. An order that is out cannot be called back, and is waited for."""
        failover = unit.failover
        if failover.active and not failover.forced and not failover.order_sent and not unit.primary.sdown:
            self.abort(unit, "master-is-back")

    def abort(self, unit: Unit, why: str) -> None:
        """Give up an attempt that is not confirmed; the old primary may be leased again."""
        self._ctx.emit(WARNING, f"-failover-abort-{why}", unit)
        self._election.abandon(unit)
        unit.failover.hopeless = why == "no-good-slave"
        unit.failover.blocked_until_ms = self._ctx.now_ms + RETRY_MS + self._ctx.rng.randrange(RETRY_MS)
        self._ctx.touch_unit(unit)

    def _wait_start(self, unit: Unit) -> int:
        ctx, failover = self._ctx, unit.failover
        winner, possible = (ctx.my_id, True) if failover.forced else self._election.count(unit)
        if not failover.active:
            return NEVER  # counting made us vote for somebody else
        if winner != ctx.my_id:
            limit_ms = min(ctx.timing.election_timeout, unit.settings.failover_timeout_ms)
            over_ms = failover.start_ms + limit_ms
            if winner is not None or not possible or ctx.now_ms > over_ms:
                self._election.lost(unit, winner)
                return NEVER
            voting_ms = self._leases.may_vote_at_ms(unit)
            return min(over_ms + 1, voting_ms or NEVER)
        failover.attempts = 0
        ctx.emit(WARNING, "+elected-leader", unit)
        if ctx.crash_after_election:
            self._crash()
        failover.enter(SELECT, ctx.now_ms)
        ctx.emit(WARNING, "+failover-state-select-slave", unit)
        return NEVER

    def _select(self, unit: Unit) -> int:
        ctx, failover = self._ctx, unit.failover
        decide_ms = failover.change_ms + FACTS_WAIT_MS
        if facts_awaited(unit) and ctx.now_ms < decide_ms:
            return decide_ms
        replica = select_replica(unit, ctx.timing, ctx.now_ms)
        if replica is None:
            self.abort(unit, "no-good-slave")
            return NEVER
        ctx.emit(WARNING, "+selected-slave", replica)
        replica.replica.promoted = True
        failover.promoted = replica
        failover.enter(SEND_ORDER, ctx.now_ms)
        ctx.emit(NOTICE, "+failover-state-send-slaveof-noone", replica)
        return NEVER

    def _send_order(self, unit: Unit) -> int:
        ctx, failover = self._ctx, unit.failover
        replica = failover.promoted
        assert replica is not None, "an order without a selected replica"
        over_ms = failover.change_ms + unit.settings.failover_timeout_ms
        if self._leases.leased(unit) and not failover.forced:
            over_ms = min(over_ms, failover.start_ms + ctx.leader_time_ms)  # the order is void then
        if ctx.now_ms > over_ms or replica.sdown:
            self.abort(unit, "slave-timeout")
            return NEVER
        if not self._order(unit, replica):
            return over_ms + 1
        failover.order_sent = True
        ctx.emit(NOTICE, "+failover-state-wait-promotion", replica)
        failover.enter(WAIT_PROMOTION, ctx.now_ms)
        return NEVER

    def _order(self, unit: Unit, replica: Instance) -> bool:
        """Send the promotion order; False when the replica cannot be reached now."""
        guard = unit.guard
        if guard is None:
            if self._hands_over(unit, replica):
                return self._order_hand_over(unit, replica)
            return self._order_plain(unit, replica)
        if unit.failover.forced and not unit.primary.sdown:
            unit.failover.graceful_until_ms = self._ctx.now_ms + GRACEFUL_MS
            return self._links.send(replica, ORDER, "CLUSTER", "FAILOVER")
        words: list[str | int] = ["CLUSTER", "FAILOVER", "TAKEOVER"]
        if replica.ours:
            void_ms = self._leases.order_void_ms(replica, unit.failover.start_ms)
            if not void_ms:
                return False  # its clock comes with the answer to the next GUARD
            guard.max_cluster_epoch += 1  # the node may take it and die before any view shows it: never twice
            words += ["FENCE", unit.failover.epoch, guard.max_cluster_epoch, void_ms]
        return self._links.send(replica, ORDER, *words)

    def _order_plain(self, unit: Unit, replica: Instance) -> bool:
        """As stock does it; with an epoch and an end where the replica takes leases and the others gave their votes."""
        if unit.failover.forced or not replica.leasable:
            return transact(self._links, replica, ORDER, "SLAVEOF", "NO", "ONE")
        void_ms = self._leases.order_void_ms(replica, unit.failover.start_ms)
        words = ("CLUSTER", "FAILOVER", "TAKEOVER", "FENCE", unit.failover.epoch, 0, void_ms)
        return bool(void_ms) and transact(self._links, replica, ORDER, *words)

    @staticmethod
    def _hands_over(unit: Unit, replica: Instance) -> bool:
        """Whether the plain primary itself is asked to let the replica take its place."""
        failover, primary = unit.failover, unit.primary
        well = not primary.sdown and primary.link.commands.up
        return failover.forced and not failover.hand_over_refused and well and primary.ours and replica.ours

    def _order_hand_over(self, unit: Unit, replica: Instance) -> bool:
        unit.failover.graceful_until_ms = self._ctx.now_ms + GRACEFUL_MS
        address = replica.address
        words = ("FAILOVER", "TO", address.ip or address.host, address.port, "TIMEOUT", HAND_OVER_MS)
        return self._links.send(unit.primary, HAND_OVER, *words)

    def on_hand_over_reply(self, primary: Instance, reply: Reply) -> None:
        """The primary answered FAILOVER. When it may not or cannot do it, the replica is promoted as by stock."""
        unit = primary.unit
        if unit is None or unit.primary is not primary or unit.failover.state != WAIT_PROMOTION:
            return
        replica = unit.failover.promoted
        assert replica is not None, "an order without a selected replica"
        if not isinstance(reply, ErrorReply):
            replica.info_wanted = True
            self._ctx.touch(replica)
            return
        self._ctx.log(f"{unit.name} refuses to hand over: {reply.text}")
        unit.failover.graceful_until_ms = 0
        unit.failover.hand_over_refused = True
        if not self._order(unit, replica):
            unit.failover.order_sent = False
            self.abort(unit, "slave-timeout")

    def on_order_reply(self, replica: Instance, reply: Reply) -> None:
        """The replica answered the order: look at once whether it is a primary now."""
        unit = replica.unit
        if unit is None or unit.failover.promoted is not replica or unit.failover.state != WAIT_PROMOTION:
            return
        if isinstance(reply, list) and reply:
            reply = reply[0]  # of a transaction, whose first command is the order
        if isinstance(reply, ErrorReply):
            self._ctx.log(f"{replica.name} refuses its promotion: {reply.text}")
            unit.failover.order_sent = False  # it will not be obeyed
            self.abort(unit, "slave-timeout")
            return
        replica.info_wanted = True
        self._ctx.touch(replica)

    def _wait_promotion(self, unit: Unit) -> int:
        failover = unit.failover
        over_ms = failover.change_ms + unit.settings.failover_timeout_ms
        if failover.graceful_until_ms:
            over_ms = min(over_ms, failover.graceful_until_ms)
        elif self._leases.leased(unit):
            over_ms = min(over_ms, failover.start_ms + self._ctx.leader_time_ms + CONFIRM_MS)
        promoted = failover.promoted
        assert promoted is not None, "an order without a selected replica"
        orphaned = failover.graceful_until_ms and unit.primary.sdown  # nobody hands anything over any more
        if self._ctx.now_ms > over_ms or promoted.sdown or orphaned:
            self.abort(unit, "slave-timeout")
            return NEVER
        return over_ms + 1

    def on_promoted(self, unit: Unit) -> None:
        """The selected replica says it is a primary: from here on the new configuration exists."""
        ctx, failover = self._ctx, unit.failover
        replica = failover.promoted
        assert replica is not None, "a promotion without a selected replica"
        unit.config_epoch = failover.epoch
        unit.drop_settled_holds()
        failover.enter(RECONF, ctx.now_ms)
        ctx.persist()
        ctx.emit(WARNING, "+promoted-slave", replica)
        if unit.guard is None and failover.graceful_until_ms:
            for server in (replica, unit.primary):
                transact(self._links, server, DISCARD)
        if ctx.crash_after_promotion:
            self._crash()
        ctx.emit(WARNING, "+failover-state-reconf-slaves", unit)
        self.reconfigure_clients(unit, "leader", unit.primary.address, replica.address)
        self._leases.move(unit)
        self.announce_soon(unit)
        ctx.touch_unit(unit)

    def announce_soon(self, unit: Unit) -> None:
        """Have the hello message sent to everybody at the end of this step."""
        for instance in [*unit.members(), *unit.sentinels.values()]:
            instance.hello_sent_ms = 0
            self._ctx.touch(instance)

    def reconfigure_clients(self, unit: Unit, role: str, old: Address, new: Address) -> None:
        """Run the client-reconfig-script, if there is one."""
        path = unit.settings.client_reconfig_script
        if path:
            ends = (self._ctx.announce(old), str(old.port), self._ctx.announce(new), str(new.port))
            self._ctx.scripts.schedule((path, unit.name, role, "start", *ends))

    # -------------------------------------------------------------------------------------------------- the last steps

    def _reconfigure(self, unit: Unit) -> int:
        ctx, failover = self._ctx, unit.failover
        promoted = failover.promoted
        assert promoted is not None, "reconfiguring without a promoted replica"
        if unit.guard is not None:
            self._end(unit)
            return NEVER
        busy = sum(r.replica.reconf in ("sent", "inprog") for r in unit.replicas.values())
        due_ms = failover.change_ms + unit.settings.failover_timeout_ms + 1
        for replica in unit.replicas.values():
            state = replica.replica
            if busy >= unit.settings.parallel_syncs:
                break
            if state.promoted or state.reconf == "done":
                continue
            sent_over_ms = state.reconf_sent_ms + ctx.timing.slave_reconf_timeout
            if state.reconf == "sent" and ctx.now_ms > sent_over_ms:
                ctx.emit(NOTICE, "-slave-reconf-sent-timeout", replica)
                state.reconf = "done"  # whoever sees it replicate from the wrong primary later will mend it
            if state.reconf == "" and self._follow(replica, promoted.address):
                state.reconf, state.reconf_sent_ms = "sent", ctx.now_ms
                ctx.emit(NOTICE, "+slave-reconf-sent", replica)
                busy += 1
        for replica in unit.replicas.values():
            if replica.replica.reconf == "sent":
                due_ms = min(due_ms, replica.replica.reconf_sent_ms + ctx.timing.slave_reconf_timeout + 1)
        self._maybe_end(unit, promoted)
        return due_ms

    def _follow(self, replica: Instance, primary: Address) -> bool:
        """Make a server replicate from `primary`."""
        return transact(self._links, replica, DISCARD, "SLAVEOF", self._ctx.announce(primary), primary.port)

    def _maybe_end(self, unit: Unit, promoted: Instance) -> None:
        ctx, failover = self._ctx, unit.failover
        open_replicas = [
            r for r in unit.replicas.values() if not r.replica.promoted and r.replica.reconf != "done" and not r.sdown
        ]
        timed_out = ctx.now_ms > failover.change_ms + unit.settings.failover_timeout_ms
        timed_out = (
            timed_out or promoted.sdown
        )  # it died as well: the next failover must not wait for the end of this one
        if timed_out:
            ctx.emit(WARNING, "+failover-end-for-timeout", unit)
        elif open_replicas:
            return
        for replica in unit.replicas.values():
            state = replica.replica
            if timed_out and not state.promoted and state.reconf == "" and self._follow(replica, promoted.address):
                ctx.emit(NOTICE, "+slave-reconf-sent-be", replica)
                state.reconf = "sent"
        self._end(unit)

    def _end(self, unit: Unit) -> None:
        self._ctx.emit(WARNING, "+failover-end", unit)
        unit.failover.enter(UPDATE_CONFIG, self._ctx.now_ms)

    def _switch(self, unit: Unit) -> int:
        promoted = unit.failover.promoted
        assert promoted is not None, "switching without a promoted replica"
        self.switch(unit, promoted.address)
        return NEVER

    def switch(self, unit: Unit, address: Address) -> None:
        """Make `address` the primary of the unit, and say so."""
        if unit.failover.active and not unit.failover.order_sent:
            self._election.abandon(unit)  # somebody else was quicker
        self.say_switch(unit, address)
        self._roster.switch_primary(unit, address)
        self._leases.move(unit)

    def overtaken(self, unit: Unit) -> None:
        """A newer configuration keeps the primary that we are replacing: finishing would claim its epoch for ours."""
        if unit.failover.active:
            self._ctx.log(f"the failover of {unit.name} ends: a newer configuration keeps its primary")
            self._election.abandon(unit)
            for replica in unit.replicas.values():
                replica.replica.reconf = ""

    def say_switch(self, unit: Unit, address: Address) -> None:
        ctx, old = self._ctx, unit.primary.address
        message = f"{unit.name} {ctx.announce(old)} {old.port} {ctx.announce(address)} {address.port}"
        ctx.emit_raw(WARNING, "+switch-master", unit, message)

    def current_address(self, unit: Unit) -> Address:
        """Where clients find the primary: the promoted replica as soon as its promotion is confirmed."""
        return unit.serving.address

    def _crash(self) -> None:
        self._ctx.log("Sentinel CRASH because of SENTINEL simulate-failure")
        self._ctx.effect(Exit(99))
