"""The sentinel as a pure state machine: events in, effects out.

`step(now_ms, event)` takes one event, then reviews every record that the event touched or whose time has come;
`take_effects()` hands out what the driver is to do; `next_deadline_ms()` says when it wants to be stepped again at the
latest. `now_ms` is monotonic. There is no polling loop: a record is reviewed when something happened to it or when a
time it named itself has come, so a failover takes the time of its messages.

Reviews: an instance reconnects, sends what is periodic (PING, INFO, hello, GUARD), and is judged. A unit is judged
(ODOWN), starts or advances a failover, and asks the other sentinels. A guard asks for a view of its cluster.

TILT. When the steps show that this process did not run for a while, or the wall clock jumped, everything looks late
without being so. For `tilt_period` the sentinel then only watches: it judges nobody, votes and leads as little as stock
does (it answers "not down" and starts nothing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from slotmesh.sentinel.detector import NEVER, Detector
from slotmesh.sentinel.effects import (
    DEBUG,
    WARNING,
    Closed,
    Connected,
    Effect,
    ErrorReply,
    Event,
    KillScript,
    Replied,
    Reply,
    Request,
    Resolved,
    Respond,
    RunScript,
    ScriptEnded,
    ScriptStarted,
    Stored,
    Tick,
)
from slotmesh.sentinel.election import Election
from slotmesh.sentinel.failover import Failover
from slotmesh.sentinel.guarding import Guarding
from slotmesh.sentinel.inspection import Inspector
from slotmesh.sentinel.instance import SENTINEL, Address, Guard, Instance, Pending, Unit
from slotmesh.sentinel.leases import CALL, Leases
from slotmesh.sentinel.links import (
    DOWN,
    EPOCHS,
    GUARD,
    HAND_OVER,
    HELLO,
    INFO,
    NODE_ID,
    NODES,
    ORDER,
    PING,
    SHARDS,
    Links,
    absent,
    ping_period_ms,
)
from slotmesh.sentinel.peers import Peers
from slotmesh.sentinel.roster import Roster
from slotmesh.sentinel.state import Context, touch_all

_ALIVE = (b"PONG", b"LOADING", b"MASTERDOWN", b"BUSY")
RETRY_STORE_MS = 1_000


class SentinelCore:
    """One sentinel. `ctx` is its state; the parts are public for commands and tests."""

    def __init__(self, rng: Random, now_ms: int, execute: Callable[[SentinelCore, Sequence[bytes]], Reply]) -> None:
        """`execute` runs a client's command on this core (`commands.execute`, which knows the core)."""
        self._execute = execute
        ctx = Context(rng)
        ctx.now_ms = ctx.started_ms = now_ms
        self.ctx = ctx
        self.links = Links(ctx)
        self.roster = Roster(ctx, self.links)
        self.leases = Leases(ctx, self.links)
        self.detector = Detector(ctx, self.links)
        self.election = Election(ctx, self.links, self.leases)
        self.failover = Failover(ctx, self.links, self.roster, self.election, self.leases)
        self.guarding = Guarding(ctx, self.links, self.roster, self.leases, self.failover)
        self.inspector = Inspector(ctx, self.links, self.roster, self.failover, self.guarding, self.leases)
        self.peers = Peers(
            ctx, self.links, self.roster, self.failover, self.election.adopt_epoch, self.guarding.names.find_unit
        )
        self.render: Callable[[], str] = str  # how the state is written; set by whoever loads the config
        self.executable: Callable[[str], bool] = lambda path: False  # may a script be run? set by the driver
        self._previous_ms = now_ms
        self._wall_offset_ms: int | None = None
        self._retry_store_ms = NEVER

    def start(self) -> None:
        """The config is loaded: announce what is watched."""
        self.ctx.log(f"Sentinel ID is {self.ctx.my_id}")
        for unit in self.ctx.units.values():
            self.ctx.emit(WARNING, "+monitor", unit, f" quorum {unit.settings.quorum}")

    def reset(self, unit: Unit) -> None:
        """SENTINEL RESET. A shard's replicas and sentinels are found again within seconds; until then no vote of ours
        counts against a number of voters that is too small."""
        lease_ms, leased = unit.settings.down_after_ms, self.leases.leased(unit)
        for member in unit.replicas.values():
            self.leases.left(unit, member)
        if unit.failover.active and not unit.failover.order_sent:
            self.election.abandon(unit)
        self.roster.reset(unit)
        if unit.guard is not None or leased:
            unit.no_vote_before_ms = self.ctx.now_ms + max(lease_ms, 2 * self.ctx.timing.publish_period)
        if unit.guard is not None:
            self.guarding.ask_soon(unit.guard)

    # ---------------------------------------------------------------------------------------------------------- driving

    def step(self, now_ms: int, event: Event) -> None:
        """Take one event at `now_ms`, which never goes back."""
        assert now_ms >= self.ctx.now_ms, "monotonic time went back"
        self.ctx.now_ms = now_ms
        self._check_tilt(event)
        self._dispatch(event)
        self._run_reviews()
        self._run_scripts()

    def take_effects(self) -> list[Effect]:
        """What to do, in order; a Persist comes first."""
        return self.ctx.drain(self.render() if self.ctx.dirty else None)

    @property
    def is_hurried(self) -> bool:
        """Whether something is wrong with a primary, so that milliseconds count."""
        return any(
            unit.odown or unit.primary.sdown or unit.primary.link.refusals or unit.failover.active
            for unit in self.ctx.units.values()
        )

    def next_deadline_ms(self) -> int:
        """When to step with a Tick at the latest."""
        queue = self.ctx.scripts
        scripts = queue.next_due_ms(self.ctx.timing.script_max_runtime) if queue.jobs else None
        due = min(self.ctx.next_due_ms(), self._retry_store_ms)
        return due if scripts is None else min(due, max(scripts, self.ctx.now_ms + 1))

    def _dispatch(self, event: Event) -> None:
        ctx = self.ctx
        if isinstance(event, Replied):
            self._on_replied(event)
        elif isinstance(event, Connected):
            self._touch_link(self.links.on_connected(event))
        elif isinstance(event, Closed):
            self._on_closed(event)
        elif isinstance(event, Request):
            ctx.effect(Respond(event.request_id, self._execute(self, event.argv)))
        elif isinstance(event, Resolved):
            self._on_resolved(event)
        elif isinstance(event, ScriptStarted):
            ctx.scripts.started(event.job_id, event.pid)
            ctx.emit(DEBUG, "+script-child", None, str(event.pid))
        elif isinstance(event, ScriptEnded):
            self._on_script_ended(event)
        elif isinstance(event, Stored):
            ctx.storage_ok = event.ok
            self._retry_store_ms = NEVER if event.ok else ctx.now_ms + RETRY_STORE_MS
        if ctx.now_ms >= self._retry_store_ms:
            self._retry_store_ms = NEVER
            ctx.persist()

    # ----------------------------------------------------------------------------------------------------------- events

    def _on_replied(self, event: Replied) -> None:
        matched = self.links.on_replied(event)
        if matched is None:
            return
        channel, pending, instance = matched
        if pending is None:
            self._on_message(instance, event.value)
        elif not channel.pubsub and not pending.instance.removed:
            self._on_reply(pending, event.value)

    def _on_message(self, instance: Instance, value: Reply) -> None:
        """Something on a pub/sub connection; our own messages come back as well and prove that it works."""
        instance.link.heard_ms = self.ctx.now_ms
        if isinstance(value, list) and len(value) == 3 and value[0] == b"message" and isinstance(value[2], bytes):
            if value[2].startswith(CALL):
                self.leases.on_call(value[2])
            else:
                self.peers.on_hello(value[2])

    def _on_reply(self, pending: Pending, value: Reply) -> None:
        kind, instance = pending.kind, pending.instance
        if kind == PING:
            self._on_pong(instance, value)
        elif kind == INFO:
            self.inspector.on_info(instance, value)
        elif kind == HELLO:
            if isinstance(value, ErrorReply):
                self.peers.say_again(instance)
        elif kind == DOWN:
            self.election.on_reply(instance, value)
        elif kind == GUARD:
            if isinstance(value, list):
                self._on_alive(instance)
            self.leases.on_reply(instance, value, bool(pending.note))
        elif kind == NODE_ID:
            if not self.leases.on_node_id(instance, value):
                self.links.close_channel(instance.link.commands)
                self.guarding.ask_soon(instance.guard)
        elif kind == NODES:
            self.guarding.on_nodes(instance, value)
        elif kind == EPOCHS:
            self.guarding.on_epochs(instance, value)
        elif kind == SHARDS:
            self.guarding.on_shards(instance, value)
        elif kind == HAND_OVER:
            self.failover.on_hand_over_reply(instance, value)
        elif kind == ORDER:
            self.failover.on_order_reply(instance, value)

    def _on_pong(self, instance: Instance, value: Reply) -> None:
        """Any answer shows that the link works; only some show that the server does."""
        text = value.text.encode("utf-8", "surrogateescape") if isinstance(value, ErrorReply) else value
        if isinstance(text, bytes) and text.startswith(_ALIVE):
            self._on_alive(instance)
            if text.startswith(b"PONG"):
                instance.rebooted_ms = 0
        instance.link.last_pong_ms = self.ctx.now_ms
        self._touch_link(instance)

    def _on_alive(self, instance: Instance) -> None:
        """It answered a PING, or a GUARD, which is as good and makes PINGs needless."""
        link, now = instance.link, self.ctx.now_ms
        link.last_avail_ms, link.act_ping_ms, link.refusals, link.met = now, 0, 0, True
        link.born_ms = link.born_ms or now
        link.last_pong_ms = now

    def _on_closed(self, event: Closed) -> None:
        instance = self.links.on_closed(event)
        if instance is None:
            return
        if absent(instance) and instance.lease.granted_until_ms:
            self.leases.died(instance)
        self._touch_link(instance)

    def _touch_link(self, instance: Instance | None) -> None:
        """Have all that use the link of `instance` reviewed."""
        if instance is None:
            return
        self.ctx.touch(instance)
        self.ctx.touch(instance.unit)
        self.ctx.touch(instance.guard)
        if instance.role == SENTINEL and instance.link.users > 1:
            for unit in self.ctx.units.values():
                peer = unit.sentinels.get(instance.run_id)
                if peer is not None:
                    self.ctx.touch(peer)
                    self.ctx.touch(unit)

    def _on_resolved(self, event: Resolved) -> None:
        self.ctx.names[event.host] = event.ip
        for unit in self.ctx.units.values():
            for instance in [*unit.members(), *unit.sentinels.values()]:
                if instance.address.host == event.host and event.ip:
                    instance.address = Address(event.host, instance.address.port, event.ip)
                    self.ctx.touch(instance)

    def _on_script_ended(self, event: ScriptEnded) -> None:
        ctx = self.ctx
        delay_ms = ctx.timing.script_retry_delay
        failed = ctx.scripts.ended(event.job_id, event.exit_code, event.signal, ctx.now_ms, delay_ms)
        if failed is not None:
            ctx.emit(WARNING, "-script-error", None, f"{failed.argv[0]} {event.signal} {event.exit_code}")

    # ------------------------------------------------------------------------------------------------------------- TILT

    def _check_tilt(self, event: Event) -> None:
        ctx = self.ctx
        paused_ms = ctx.now_ms - self._previous_ms
        self._previous_ms = ctx.now_ms
        jumped_ms = 0
        if isinstance(event, Tick) and event.wall_ms is not None:
            offset_ms = event.wall_ms - ctx.now_ms
            if self._wall_offset_ms is not None:
                jumped_ms = abs(offset_ms - self._wall_offset_ms)
            self._wall_offset_ms = offset_ms
        if max(paused_ms, jumped_ms) > ctx.timing.tilt_trigger:
            ctx.tilt, ctx.tilt_start_ms = True, ctx.now_ms
            ctx.emit(WARNING, "+tilt", None, "#tilt mode entered")
        elif ctx.tilt and ctx.now_ms - ctx.tilt_start_ms >= ctx.timing.tilt_period:
            ctx.tilt = False
            ctx.emit(WARNING, "-tilt", None, "#tilt mode exited")
            touch_all(ctx)

    # ---------------------------------------------------------------------------------------------------------- reviews

    def _run_reviews(self) -> None:
        while (item := self.ctx.next_review()) is not None:
            if isinstance(item, Instance):
                due_ms = self._review_instance(item)
            elif isinstance(item, Unit):
                due_ms = self._review_unit(item)
            else:
                due_ms = self._review_guard(item)
            if due_ms < NEVER and not item.removed:
                self.ctx.schedule(item, due_ms)

    def _review_instance(self, instance: Instance) -> int:
        self.links.open_missing(instance)
        due_ms = self._send_periodic(instance)
        if not self.ctx.tilt:
            if self.links.note_unanswered(instance) and instance.lease.granted_until_ms:
                self.leases.died(instance)
            self.detector.judge(instance)
            due_ms = min(due_ms, self.detector.due_ms(instance))
        if any(channel.conn_id == 0 for channel in instance.link.channels()):
            due_ms = min(due_ms, instance.link.retry_at_ms)
        return due_ms

    def _send_periodic(self, instance: Instance) -> int:
        """PING, INFO, hello and GUARD, each when due; returns when the next one is."""
        ctx, link, now = self.ctx, instance.link, self.ctx.now_ms
        if not link.commands.up:
            return NEVER
        if not self.links.has_room(instance):
            return now + ping_period_ms(ctx, instance)
        due = []
        if instance.role != SENTINEL:
            info_due = 0 if instance.info_wanted else instance.info_heard_ms + self.inspector.period_ms(instance) + 1
            if instance.info_sent_ms == 0 and (now >= info_due or not instance.info_heard_ms):
                if self.links.send(instance, INFO, "INFO"):
                    instance.info_sent_ms = now
            elif instance.info_sent_ms == 0:
                due.append(info_due)
        period_ms = ping_period_ms(ctx, instance)
        ping_due = max(link.last_pong_ms + period_ms, link.last_ping_ms + period_ms // 2) + 1
        if now >= ping_due:
            self.links.ping(instance)
            ping_due = now + period_ms
        due.append(ping_due)
        if self._says_hello(instance):
            if now >= self.peers.due_ms(instance):
                self.peers.send_hello(instance)
            due.append(max(self.peers.due_ms(instance), now + 1) if link.complete else NEVER)
        if self.leases.guards(instance):
            if now >= self.leases.due_ms(instance):
                self.leases.renew(instance)
            due.append(max(self.leases.due_ms(instance), now + 1))
        return min(due)

    @staticmethod
    def _says_hello(instance: Instance) -> bool:
        """On a cluster one PUBLISH reaches all nodes: the primary's is enough, or any member's while it is gone."""
        unit = instance.unit
        if unit is None:
            return False
        if instance.guard is None or instance is unit.primary:
            return True
        return not unit.primary.link.commands.up

    def _review_unit(self, unit: Unit) -> int:
        if self.ctx.tilt:
            return self.ctx.tilt_start_ms + self.ctx.timing.tilt_period
        was_odown = unit.odown
        self.detector.judge_unit(unit)
        if unit.odown and not was_odown:
            self.election.queue_up(unit)
        elif was_odown and not unit.odown:
            self.election.stand_down(unit)
        self.failover.end_if_primary_is_back(unit)
        due_ms = self.failover.maybe_start(unit)
        due_ms = min(due_ms, self.failover.advance(unit))
        if unit.primary.sdown and unit.sentinels:
            due_ms = min(due_ms, self.election.ask(unit))
        return due_ms

    def _review_guard(self, guard: Guard) -> int:
        return self.guarding.review(guard)

    def _run_scripts(self) -> None:
        ctx = self.ctx
        if not ctx.scripts.jobs:
            return
        for job in ctx.scripts.startable(ctx.now_ms):
            ctx.effect(RunScript(job.job_id, job.argv))
        for job in ctx.scripts.overdue(ctx.now_ms, ctx.timing.script_max_runtime):
            ctx.emit(WARNING, "-script-timeout", None, f"{job.argv[0]} {job.pid}")
            ctx.effect(KillScript(job.job_id))
