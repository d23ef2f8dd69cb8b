"""The state that all parts of the core share, and the small services around it: effects, events, timers, names.

One `Context` per sentinel. The parts (links, detector, election, failover, hello, guarding) hold a reference to it and
nothing else of each other's, but what `core` wires. Work is never done in the middle of something else: a part marks
what it changed with `touch`, and the core reviews it when the event at hand is finished.
"""

from __future__ import annotations

import heapq
from collections import deque
from random import Random

from attrs import Factory, define, field

from slotmesh.cluster.addresses import is_host_name, is_ip
from slotmesh.sentinel.effects import WARNING, Effect, Emit, Log, Persist, Resolve, Send, split_free
from slotmesh.sentinel.instance import PRIMARY, Address, Channel, Guard, Instance, Link, Unit, wire_role
from slotmesh.sentinel.scripts import ScriptQueue

Reviewable = Instance | Unit | Guard

REFUSED_RETRY_MS = 80
"""After a first refused connection the second try follows this soon. Two refusals in a row are taken as proof that the
process is gone. One is not: a server that restarts leaves its port closed for the time between exit and bind, some tens
of milliseconds. Longer rides over slower restarts, and adds as much to every failover after a crash."""

HEARTBEAT_MS = 500
"""The core wants to be stepped at least this often, or it could not tell a pause of its own process (TILT) from
quiet.
"""

MAX_NAMES = 4_096
"""Host names looked up: servers and other sentinels may tell any number of them."""

LEADER_TIME_MS = 3_000
"""The promotion order of a guarded shard is void this long after the start of the leader's attempt, by the clock of the
node that gets it. So long a voter leases nobody, if it hears of no outcome and gets no vote back."""


@define
class Timing:
    """The knobs of SENTINEL DEBUG, in milliseconds, with stock's defaults."""

    info_period: int = 10_000
    ping_period: int = 1_000
    ask_period: int = 1_000
    publish_period: int = 2_000
    default_down_after: int = 30_000
    default_failover_timeout: int = 180_000
    tilt_trigger: int = 2_000
    tilt_period: int = 30_000
    slave_reconf_timeout: int = 10_000
    min_link_reconnect_period: int = 15_000
    election_timeout: int = 10_000
    script_max_runtime: int = 60_000
    script_retry_delay: int = 30_000


@define
class Options:
    """Global sentinel options of the config file."""

    announce_ip: str = ""
    announce_port: int = 0
    resolve_hostnames: bool = False
    announce_hostnames: bool = False
    deny_scripts_reconfig: bool = True
    sentinel_user: str = ""
    sentinel_pass: str = ""


@define(eq=False)
class Context:
    """Everything one sentinel knows."""

    rng: Random
    my_id: str = ""
    port: int = 26379
    requirepass: str = ""
    options: Options = Factory(Options)
    timing: Timing = Factory(Timing)
    now_ms: int = 0
    started_ms: int = 0
    current_epoch: int = 0
    units: dict[str, Unit] = Factory(dict)
    guards: dict[str, Guard] = Factory(dict)
    peer_links: dict[str, Link] = Factory(dict)  # by run id of the other sentinel
    connections: dict[int, tuple[Channel, Link, Instance]] = Factory(dict)
    names: dict[str, str] = Factory(dict)  # host name -> IP
    scripts: ScriptQueue = Factory(ScriptQueue)
    tilt: bool = False
    tilt_start_ms: int = 0
    leader_time_ms: int = LEADER_TIME_MS
    storage_ok: bool = True
    crash_after_election: bool = False
    crash_after_promotion: bool = False
    dirty: bool = False
    _effects: list[Effect] = field(factory=list, init=False)
    _touched: deque[Reviewable] = field(factory=deque, init=False)
    _timers: list[tuple[int, int, Reviewable]] = field(factory=list, init=False)
    _sequence: int = field(default=0, init=False)
    _next_conn_id: int = field(default=1, init=False)

    # ------------------------------------------------------------------------------------------------------- effects

    def effect(self, effect: Effect) -> None:
        self._effects.append(effect)

    def persist(self) -> None:
        """The state on disk is out of date: it is written before any effect of this batch."""
        self.dirty = True

    def take_free(self, held: set[int]) -> list[Send]:
        """The effects that may be carried out while something is being saved that what is `held` waits for."""
        free, self._effects = split_free(self._effects, set(held))
        return free

    def drain(self, content: str | None) -> list[Effect]:
        """All effects since the last call, with `content` to persist in front when there is any."""
        effects, self._effects = self._effects, []
        if content is not None:
            effects.insert(0, Persist(content))
        self.dirty = False
        return effects

    @property
    def idle(self) -> bool:
        return not self._effects and not self.dirty

    def log(self, message: str, level: int = WARNING) -> None:
        self.effect(Log(level, message))

    def emit(self, level: int, channel: str, subject: Instance | Unit | None, text: str = "") -> None:
        """A sentinel event about `subject`; a `text` is added after the subject's description.

        WARNING events also go to the notification script of the unit, as in stock.
        """
        message = text if subject is None else self.describe(subject) + text
        self.emit_raw(level, channel, subject, message)

    def emit_raw(self, level: int, channel: str, subject: Instance | Unit | None, message: str) -> None:
        """Like `emit`, with a message that does not start with the description of the subject."""
        self.effect(Emit(level, channel, message))
        if level != WARNING or subject is None:
            return
        unit = subject if isinstance(subject, Unit) else subject.unit
        if unit is not None and unit.settings.notification_script:
            self.scripts.schedule((unit.settings.notification_script, channel, message))

    def describe(self, subject: Instance | Unit) -> str:
        """`<type> <name> <ip> <port>`, and `@ <unit> <ip> <port>` of its primary unless it is the primary itself."""
        instance = subject.primary if isinstance(subject, Unit) else subject
        host = self.announce(instance.address)
        own = f"{wire_role(instance.role)} {instance.name} {host} {instance.address.port}"
        unit = instance.unit
        if instance.role == PRIMARY or unit is None:
            return own
        above = unit.primary.address
        return f"{own} @ {unit.name} {self.announce(above)} {above.port}"

    # ----------------------------------------------------------------------------------------------------- addresses

    def announce(self, address: Address) -> str:
        """How an address is told to others: by name with announce-hostnames, else by IP."""
        return address.host if self.options.announce_hostnames or not address.ip else address.ip

    def address(self, host: str, port: int) -> Address:
        """`host` as an address; a name is looked up in what was resolved so far, and asked for when it is new."""
        return Address(host, port, self.ip_of(host))

    def ip_of(self, host: str) -> str:
        """The IP behind `host`; empty while unknown, and for names when resolve-hostnames is off."""
        if is_ip(host):
            return host
        if not self.options.resolve_hostnames:
            return ""
        if host not in self.names:
            if not is_host_name(host) or len(self.names) >= MAX_NAMES:
                return ""
            self.names[host] = ""
            self.effect(Resolve(host))
        return self.names[host]

    def reachable(self, host: str) -> bool:
        """Whether ``host`` is an address, or a name that may be looked up. Anybody may tell a host: what is neither is
        not connected to, and not saved."""
        return is_ip(host) or (self.options.resolve_hostnames and is_host_name(host))

    def same_host(self, address: Address, host: str, port: int) -> bool:
        """Whether `host`:`port`, as a server reported it, is `address`."""
        return address.same_place(Address(host, port, self.ip_of(host)))

    def label(self, address: Address) -> str:
        """`ip:port` (an IPv6 address in brackets): the name of a replica."""
        host = self.announce(address)
        return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"

    # -------------------------------------------------------------------------------------------------------- timers

    def next_conn_id(self) -> int:
        self._next_conn_id += 1
        return self._next_conn_id - 1

    def touch(self, item: Reviewable | None) -> None:
        """Have `item` reviewed at the end of this step."""
        if item is not None and not item.touched and not item.removed:
            item.touched = True
            self._touched.append(item)

    def touch_unit(self, unit: Unit | None) -> None:
        """Have a unit and all its members reviewed."""
        if unit is not None:
            self.touch(unit)
            for member in unit.members():
                self.touch(member)

    def schedule(self, item: Reviewable, due_ms: int) -> None:
        """Set when `item` is to be reviewed next; replaces what was set before."""
        due_ms = max(due_ms, self.now_ms + 1)
        if item.due_ms != due_ms:
            item.due_ms = due_ms
            self._sequence += 1
            heapq.heappush(self._timers, (due_ms, self._sequence, item))

    def next_review(self) -> Reviewable | None:
        """The next item that is touched or due now, or None."""
        while self._touched:
            item = self._touched.popleft()
            item.touched = False
            if not item.removed:
                return item
        while self._timers and self._timers[0][0] <= self.now_ms:
            due_ms, _, item = heapq.heappop(self._timers)
            if not item.removed and item.due_ms == due_ms:
                item.due_ms = 0
                return item
        return None

    def next_due_ms(self) -> int:
        """When the earliest review is due; never later than the heartbeat."""
        while self._timers and (self._timers[0][2].removed or self._timers[0][2].due_ms != self._timers[0][0]):
            heapq.heappop(self._timers)
        heartbeat = self.now_ms + min(HEARTBEAT_MS, max(1, self.timing.tilt_trigger // 4))
        return min(heartbeat, self._timers[0][0]) if self._timers else heartbeat


def touch_all(ctx: Context) -> None:
    """Have everything reviewed: after TILT, after a change of timing."""
    for unit in ctx.units.values():
        ctx.touch_unit(unit)
        for peer in unit.sentinels.values():
            ctx.touch(peer)
    for guard in ctx.guards.values():
        ctx.touch(guard)
        for spare in guard.spares.values():
            ctx.touch(spare)
