"""The cluster node as a pure state machine: events in, effects out, no clock, socket, file or randomness of its own.

    core = ClusterCore(config, rng, now_ms, nodes_conf_text)
    core.step(now_ms, event)            # events.py
    core.admin(now_ms).meet(...)        # orders, admin.py; ClusterRefusal when they are not possible
    for effect in core.take_effects():  # effects.py; carried out in order, Persist first
        ...
    sleep until core.next_deadline_ms(), then step a Tick

After every step and every order the effects have to be taken. The driver over real sockets (``bus``) and the simulator
(``tests/sim``) run this same class.

``now_ms`` is Unix time in ms that never steps back while the process lives: read the wall clock once at the start and
add the monotonic clock to it. Leases and timeouts rest on that. (A smaller value is taken for the last one.)

The parts, in the order of a message's way: ``links`` (connections, handshakes) -> ``inbound`` (who says what) ->
``topology`` (roles, slots), ``gossip``, ``detector`` (pfail, fail) -> ``election``, ``manual_failover`` ->
``health`` (cluster state). They share one ``view``.
"""

from __future__ import annotations

from slotmesh.cluster.admin import Admin
from slotmesh.cluster.config import ClusterConfig
from slotmesh.cluster.detector import FailureDetector
from slotmesh.cluster.effects import Effect, Persist, PersistSoon, SlotsChanged
from slotmesh.cluster.election import Candidate, Voter
from slotmesh.cluster.epochs import Epochs
from slotmesh.cluster.events import (
    Event,
    LinkAccepted,
    LinkDown,
    LinkUp,
    MessageReceived,
    ReplicationStatus,
    Tick,
    WritesPaused,
)
from slotmesh.cluster.gossip import Gossip
from slotmesh.cluster.guard import Fence, Guard, GuardReply
from slotmesh.cluster.guarded_member import GuardedMember
from slotmesh.cluster.health import Health
from slotmesh.cluster.heartbeat import broadcast, broadcast_pong, build_header
from slotmesh.cluster.inbound import Inbound
from slotmesh.cluster.links import Links
from slotmesh.cluster.manual_failover import ManualFailover
from slotmesh.cluster.members import Member, Members
from slotmesh.cluster.messages import Ping, Pong, Publish
from slotmesh.cluster.open_slots import OpenSlotSharing
from slotmesh.cluster.replica_migration import maybe_migrate
from slotmesh.cluster.slot_map import SlotMap
from slotmesh.cluster.slot_set import NO_SLOTS, SlotSet
from slotmesh.cluster.snapshot import foreign_vars, restore_guard, restore_members, save_view
from slotmesh.cluster.state_file import decode_state, encode_state
from slotmesh.cluster.terms import FLAG_PRIMARY
from slotmesh.cluster.topology import Topology
from slotmesh.cluster.view import ClusterView, Rng, random_id

TICK_MS = 100
"""How often the periodic work is done while something is going on."""

STREAM_MS = 10
"""How often a replica looks whether it has caught up in a manual failover: nobody can write meanwhile."""

REST_MS = 1000
"""How often it is done at least, while nothing is."""


class ClusterCore:
    """One node of the cluster. ``view`` is open for reading (routing, ``reports``); only the core writes it."""

    def __init__(self, config: ClusterConfig, rng: Rng, now_ms: int, nodes_conf: str = "") -> None:
        """Start from the text of ``nodes.conf``, or as a new node when it is empty.

        ``StateFileError`` when the text is damaged. A replica's first effects include ``RoleChanged``.
        """
        if nodes_conf.strip():
            saved = decode_state(nodes_conf)
            members, slots = restore_members(saved, now_ms)
            epochs = Epochs(saved.current_epoch, saved.last_vote_epoch)
            epochs.observe(members.max_config_epoch())
        else:
            saved = None
            me = Member(random_id(rng), now_ms, FLAG_PRIMARY, is_myself=True, shard_id=random_id(rng))
            members = Members(me)
            slots = SlotMap(members)
            epochs = Epochs()
        self.view = view = ClusterView(config, rng, members, slots, epochs, now_ms)
        self.guard = Guard(GuardedMember(view))
        self._extra_vars = foreign_vars(saved) if saved is not None else {}
        self._with_aux = saved is not None and saved.has_aux
        if saved is not None:
            restore_guard(self.guard, saved)
            if not view.myself.shard_id:
                view.myself.shard_id = random_id(rng)
        self._wire_up(view)
        self._told_slots = self._shard_slots()
        self._next_tick_ms = now_ms
        self.set_config(now_ms, config)
        view.save(sync=True)
        if view.myself.primary is not None:
            self._topology.announce_primary("start")

    def _wire_up(self, view: ClusterView) -> None:
        self._topology = Topology(view)
        self._links = Links(view, self._topology)
        self._detector = FailureDetector(view, self.guard)
        self.open_slots = OpenSlotSharing(view)
        self._gossip = Gossip(view, self._links, self._detector, self.open_slots)
        self._manual = ManualFailover(view, self.guard)
        self._candidate = Candidate(view, self._topology, self._manual, self.guard)
        self._voter = Voter(view)
        self._health = Health(view, self.guard)
        self._inbound = Inbound(
            view,
            self._topology,
            self._links,
            self._detector,
            self._gossip,
            self._manual,
            self._candidate,
            self._voter,
        )
        self._admin = Admin(
            view, self._topology, self._links, self._detector, self._manual, self._candidate, self.guard
        )

    # The machine

    def step(self, now_ms: int, event: Event) -> None:
        """Take one event."""
        self._advance_clock(now_ms)
        if isinstance(event, MessageReceived):
            self._inbound.on_message(event)
        elif isinstance(event, ReplicationStatus):
            self.view.replication = event
            self._manual.check_caught_up()
        elif isinstance(event, LinkUp):
            self._links.on_up(event)
        elif isinstance(event, LinkDown):
            self._links.on_down(event)
        elif isinstance(event, LinkAccepted):
            self._links.on_accepted(event)
        elif isinstance(event, WritesPaused):
            self._manual.on_writes_paused(event.offset)
        if not isinstance(event, Tick) and self._is_news(event):
            self._hasten()
        if self.view.now_ms >= self._next_tick_ms:
            self._tick()
        self._settle()

    def take_effects(self) -> list[Effect]:
        """What the steps and orders since the last call want done, in order; a ``Persist`` comes first."""
        view = self.view
        self._settle()
        slots = self._shard_slots()
        if slots != self._told_slots:
            view.emit(SlotsChanged(slots - self._told_slots, self._told_slots - slots))
            self._told_slots = slots
        effects = view.effects
        view.effects = []
        if view.sync_wanted or view.write_wanted:
            effects.insert(0, Persist(self.state_text(), view.sync_wanted))
        elif view.save_wanted:
            effects.insert(0, PersistSoon())
        view.save_wanted = view.write_wanted = view.sync_wanted = False
        return effects

    def next_deadline_ms(self) -> int:
        """When to step a ``Tick`` at the latest."""
        due_ms = min(self._next_tick_ms, self.view.pong_due_ms or self._next_tick_ms)
        return min(due_ms, self.view.now_ms + STREAM_MS) if self._manual.waits_for_stream else due_ms

    def _advance_clock(self, now_ms: int) -> None:
        if now_ms > self.view.now_ms:
            self.view.now_ms = now_ms

    def _is_news(self, event: Event) -> bool:
        """Whether an event may call for periodic work: all but replication's progress, and heartbeats and publications
        that changed nothing.
        """
        if isinstance(event, ReplicationStatus):
            return False
        view = self.view
        quiet = isinstance(event, MessageReceived) and isinstance(event.message, Ping | Pong | Publish)
        return not quiet or view.save_wanted or view.state_changed or view.election_changed

    def _hasten(self) -> None:
        """Something is going on."""
        self._next_tick_ms = min(self._next_tick_ms, self.view.now_ms + TICK_MS)

    def _tick(self) -> None:
        """The periodic work."""
        view = self.view
        due_ms = view.now_ms + REST_MS
        for member in view.members.all():
            if member.is_myself or self._links.expire_handshake(member):
                continue
            self._links.connect_missing(member)
            if not (member.in_handshake or member.no_address):
                self._gossip.maybe_relink(member)
                self._gossip.maybe_ping_due(member)
                self._detector.check_silence(member)
            due_ms = min(due_ms, self._gossip.due_ms(member))
        self._gossip.maybe_ping_random()
        self._manual.remind_partner()
        view.election_changed = True
        if view.myself.is_replica:
            maybe_migrate(view, self._topology)
        if not view.cluster_ok:
            view.state_changed = True
        if self._manual.in_progress or not view.cluster_ok:
            due_ms = 0
        elif self.guard.writable_until_ms > view.now_ms:
            due_ms = min(due_ms, self.guard.writable_until_ms)  # the host looks whether writes have to end
        self._next_tick_ms = max(due_ms, view.now_ms + TICK_MS)

    def _settle(self) -> None:
        """What follows from what just happened: elections move on, and the cluster state is computed anew."""
        view = self.view
        self._manual.check_end()
        self._manual.check_caught_up()
        if view.election_changed:
            view.election_changed = False
            self._candidate.advance()
            if view.election_changed:
                self._candidate.advance()
        if view.state_changed:
            self._health.update()
        if view.pong_wanted or 0 < view.pong_due_ms <= view.now_ms:
            view.pong_wanted, view.pong_due_ms, view.pong_told_ms = False, 0, view.now_ms
            self.open_slots.note_change()
            broadcast_pong(view)
        self.open_slots.tell_replicas()

    def _shard_slots(self) -> SlotSet:
        shard = self.view.myself.shard_primary
        return shard.slots if shard is not None else NO_SLOTS

    def state_text(self) -> str:
        """The text of ``nodes.conf`` as of now."""
        return encode_state(save_view(self.view, self.guard, with_aux=self._with_aux, extra=self._extra_vars))

    # Orders

    def admin(self, now_ms: int) -> Admin:
        """The orders, to be given at this moment; what follows from them is settled by ``take_effects``."""
        self._advance_clock(now_ms)
        self._hasten()
        return self._admin

    def save(self) -> None:
        """CLUSTER SAVECONFIG."""
        self.view.save(sync=True)

    def set_config(self, now_ms: int, config: ClusterConfig) -> None:
        """Obey new settings from now on."""
        self._advance_clock(now_ms)
        self._hasten()
        view = self.view
        me = view.myself
        if config.announce_ip != view.config.announce_ip:
            me.ip = ""
        view.config = config
        before = (me.ip, me.port, me.cport, me.pport, me.hostname, me.human_nodename, me.no_failover)
        me.ip = config.announce_ip or me.ip
        me.port, me.cport, me.pport = config.told_port, config.told_cport, config.told_pport
        me.hostname, me.human_nodename = config.announce_hostname, config.announce_human_nodename
        me.no_failover = config.replica_no_failover
        view.state_changed = True
        if before != (me.ip, me.port, me.cport, me.pport, me.hostname, me.human_nodename, me.no_failover):
            view.save()

    def publish(self, now_ms: int, channel: bytes, payload: bytes, *, sharded: bool = False) -> None:
        """Send a message to the subscribers on other nodes: of all, or, when ``sharded``, of our shard."""
        self._advance_clock(now_ms)
        view = self.view
        message = Publish(build_header(view), channel, payload, sharded)
        if not sharded:
            broadcast(view, message)
            return
        primary = view.myself.shard_primary
        if primary is None:
            return
        for member in (primary, *primary.replicas):
            if not member.is_myself:
                view.send(member.link, message)

    # Guarding by sentinels

    def on_guard(
        self,
        now_ms: int,
        guard_name: str,
        sentinel_id: str,
        lease_ms: int,
        voters: int,
        echo_ms: int,
        *,
        watch: bool = False,
    ) -> GuardReply:
        """A guard ping of a sentinel; see ``guard``. Send the reply after carrying out the effects."""
        self._advance_clock(now_ms)
        return self.guard.on_guard(guard_name, sentinel_id, lease_ms, voters, echo_ms, watch=watch)

    def release_guard(self, now_ms: int, guard_name: str) -> bool:
        """The sentinels no longer guard this node under this name; true when they did."""
        self._advance_clock(now_ms)
        return self.guard.release(guard_name)

    def is_fenced(self, now_ms: int) -> bool:
        """Whether a primary must refuse writes because a majority of its guards is silent.

        For a test per command compare with ``guard.writable_until_ms`` instead.
        """
        return self.guard.is_fenced(now_ms)


__all__ = ["ClusterCore", "Fence", "GuardReply"]
