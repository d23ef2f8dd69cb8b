"""The hosts of the sentinels' simulation: real sentinel cores, and model servers that obey them.

`SimSentinel` drives the real core over the virtual network, with the same duties as the trio driver: effects in
order, a Persist is on disk before the next effect goes on (and lost with all that follows when the process dies
first), one request per connection at a time. Its config file is real text, parsed anew at every start.

`SimServer` is a model: replication is an offset that follows the primary, the cluster bus is a map shard -> (owner,
config epoch) in which the larger epoch wins, and the guard's rules are those of `cluster.guard` in a few lines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from attrs import Factory, define, field, frozen

from slotmesh.node.resp.values import NullArray, Status, Verbatim
from slotmesh.sentinel import statements
from slotmesh.sentinel.commands import execute
from slotmesh.sentinel.config import ConfigText, parse_config
from slotmesh.sentinel.core import SentinelCore
from slotmesh.sentinel.effects import (
    Closed,
    Connect,
    Connected,
    Disconnect,
    Effect,
    Emit,
    ErrorReply,
    Persist,
    Replied,
    Request,
    Respond,
    Send,
    Stored,
    Tick,
    split_free,
)
from slotmesh.sentinel.instance import Unit
from tests.sim.network import Connection, Network

SENTINEL_PORT = 26379
SERVER_PORT = 6379
EPOCH_MS = 1_700_000_000_000
LEASE_MARGIN_MS = 5


def wire_value(value: Any) -> Any:
    """A reply as it arrives at a client that speaks RESP2."""
    if isinstance(value, dict):
        return [wire_value(part) for pair in value.items() for part in pair]
    if isinstance(value, (list, tuple)):
        return [wire_value(part) for part in value]
    if isinstance(value, (Status, Verbatim)):
        return value.text
    return None if isinstance(value, NullArray) else value


@define(eq=False)
class SimHost:
    """A process on a host of its own: it can die, freeze and come back; its clock runs a little wrong."""

    network: Network
    address: str
    rng: Random
    up: bool = False
    rate: float = 1.0
    skew_ms: int = 0
    frozen_until_ms: int = 0
    incarnation: int = 0
    connections: dict[int, Connection] = Factory(dict)
    _inbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = field(factory=deque, init=False)
    _next_key: int = field(default=-1, init=False)

    def clock_ms(self) -> int:
        """This machine's clock: right but for a constant and a slightly wrong rate."""
        return EPOCH_MS + int(self.network.now_ms * self.rate) + self.skew_ms

    def start(self) -> None:
        assert not self.up, f"{self.address} runs"
        self.up = True
        self.incarnation += 1
        self.frozen_until_ms = 0
        self._inbox.clear()
        self.boot()

    def boot(self) -> None:
        """What the process does first."""

    def crash(self) -> None:
        """kill -9: the kernel closes its connections, and refuses new ones until it runs again."""
        assert self.up, f"{self.address} is dead"
        self.up = False
        self.incarnation += 1
        self.network.kill(self)
        self.connections.clear()

    def freeze(self, duration_ms: int) -> None:
        """SIGSTOP for a while: what arrives waits."""
        self.frozen_until_ms = self.network.now_ms + duration_ms
        self.network.at(self.frozen_until_ms, self._thaw, self.incarnation)

    @property
    def frozen(self) -> bool:
        return self.network.now_ms < self.frozen_until_ms

    def _thaw(self, incarnation: int) -> None:
        if incarnation != self.incarnation or self.frozen:
            return
        while self._inbox and self.up:
            call, args = self._inbox.popleft()
            call(*args)

    def offer(self, call: Callable[..., None], *args: Any) -> None:
        """Do something in this process: now, or when it runs again."""
        if not self.up:
            return
        if self.frozen:
            self._inbox.append((call, args))
        else:
            call(*args)

    def later(self, delay_ms: int, call: Callable[..., None], *args: Any) -> None:
        """A timer of this incarnation of the process."""
        self.network.after(delay_ms, self._fire, self.incarnation, call, args)

    def _fire(self, incarnation: int, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        if incarnation == self.incarnation:
            self.offer(call, *args)

    # Network side

    def on_accept(self, connection: Connection, port: int) -> None:
        connection.key[1] = self._next_key
        self.connections[self._next_key] = connection
        self._next_key -= 1

    def on_connected(self, connection: Connection) -> None:
        if self._mine(connection):
            self.offer(self.connected, connection.key[connection.side(self)], connection)

    def on_closed(self, connection: Connection, *, refused: bool) -> None:
        if self._mine(connection):
            key = connection.key[connection.side(self)]
            del self.connections[key]
            self.offer(self.closed, key, refused)

    def on_payload(self, connection: Connection, payload: Any) -> None:
        if self._mine(connection):
            self.offer(self.received, connection.key[connection.side(self)], payload)

    def _mine(self, connection: Connection) -> bool:
        return self.up and self.connections.get(connection.key[connection.side(self)]) is connection

    def reply(self, key: int, value: Any) -> None:
        connection = self.connections.get(key)
        if connection is not None:
            self.network.send(connection, self, wire_value(value))

    def connected(self, key: int, connection: Connection) -> None: ...

    def closed(self, key: int, refused: bool) -> None: ...

    def received(self, key: int, payload: Any) -> None: ...


@frozen
class VoteSaved:
    """A vote is on disk from here on; in the queue of effects it follows the Persist that holds it."""

    unit_name: str
    epoch: int
    candidate: str


@frozen
class EpochsTold:
    """The epochs as they were when a batch of effects was decided: whoever sees an effect of it may learn them."""

    epochs: tuple[tuple[str, int], ...]


#: What the simulator itself puts between the effects.
Note = VoteSaved | EpochsTold


@define(eq=False)
class SimSentinel(SimHost):
    """A sentinel process: the real core over the simulated network."""

    disk: str = ""
    tune: Callable[[SentinelCore], None] = lambda core: None
    watch: Callable[[SimSentinel, Effect | Note], None] = lambda host, effect: None
    wall_jump_ms: int = 0
    disk_ms: int = 4
    """How long its disk takes at most."""
    core: SentinelCore = field(init=False)
    _queue: deque[Effect | Note] = field(factory=deque, init=False)
    _new_votes: list[VoteSaved] = field(factory=list, init=False)
    _storing: bool = field(default=False, init=False)
    _requests: dict[int, int] = field(factory=dict, init=False)
    _backlog: dict[int, deque[tuple[bytes, ...]]] = field(factory=dict, init=False)
    _last_request: int = field(default=0, init=False)

    def mono_ms(self) -> int:
        return self.clock_ms() - EPOCH_MS + 1_000_000

    def boot(self) -> None:
        config = parse_config(self.disk)
        self._queue.clear()
        self._new_votes.clear()
        self._storing = False
        self._requests.clear()
        self._backlog.clear()
        self.core = core = SentinelCore(Random(self.rng.getrandbits(64)), self.mono_ms(), execute)
        self.tune(core)
        self._note_votes(core)
        statements.load(core, config.statements, lambda path: True)
        content = ConfigText(config.lines)
        core.render = lambda: content.rewrite(statements.dump(core))
        core.start()
        self._step(Tick(self._wall_ms()))
        self._tick()

    def _note_votes(self, core: SentinelCore) -> None:
        """Learn of every vote the core casts."""
        cast = core.election.cast_vote

        def noting(unit: Unit, epoch: int, candidate: str) -> tuple[str, int]:
            before = unit.last_vote_epoch
            outcome = cast(unit, epoch, candidate)
            if unit.last_vote_epoch != before:
                self._new_votes.append(VoteSaved(unit.name, epoch, candidate))
            return outcome

        core.election.cast_vote = noting  # type: ignore[method-assign]

    def _wall_ms(self) -> int:
        return self.clock_ms() + self.wall_jump_ms

    def _tick(self) -> None:
        self._step(Tick(self._wall_ms()))
        delay_ms = max(1, self.core.next_deadline_ms() - self.mono_ms())
        self.later(min(delay_ms, 200), self._tick)

    def _step(self, event: Any) -> None:
        self.core.step(max(self.mono_ms(), self.core.ctx.now_ms), event)
        if not self.core.ctx.idle:
            effects: list[Effect | Note] = list(self.core.take_effects())
            saved = int(isinstance(effects[0], Persist))
            effects[saved:saved] = [EpochsTold(self._epochs()), *self._new_votes]
            self._new_votes.clear()
            if self._storing or saved:
                free, effects = self._overtaking(effects)
                for effect in free:
                    self.watch(self, effect)
                    self._do(effect)
            self._queue.extend(effects)
            self._carry_out()

    def _epochs(self) -> tuple[tuple[str, int], ...]:
        ctx = self.core.ctx
        units = ctx.units.values()
        return (
            ("current", ctx.current_epoch),
            *((f"config {unit.name}", unit.config_epoch) for unit in units),
            *((f"vote {unit.name}", unit.last_vote_epoch) for unit in units),
        )

    def _overtaking(self, effects: list[Effect | Note]) -> tuple[list[Send], list[Effect | Note]]:
        """What need not wait for the disk, as in the driver; all else, in its order."""
        held = {one.conn_id for one in self._queue if isinstance(one, Send | Connect | Disconnect)}
        free, _ = split_free([one for one in effects if not isinstance(one, Note)], held)
        sent = {id(one) for one in free}
        return free, [one for one in effects if id(one) not in sent]

    def _carry_out(self) -> None:
        while self._queue and not self._storing:
            effect = self._queue.popleft()
            if isinstance(effect, Persist):
                self._storing = True
                self.later(int(self.rng.random() * self.disk_ms), self._stored, effect.content)
                return
            self.watch(self, effect)
            if not isinstance(effect, Note):
                self._do(effect)

    def _stored(self, content: str) -> None:
        self.disk = content
        self._storing = False
        self._step(Stored(True))
        self._carry_out()

    def _do(self, effect: Effect) -> None:
        if isinstance(effect, Connect):
            self.connections[effect.conn_id] = self.network.connect(self, effect.host, effect.port, effect.conn_id)
        elif isinstance(effect, Disconnect):
            connection = self.connections.pop(effect.conn_id, None)
            if connection is not None:
                self.network.close(connection, self)
        elif isinstance(effect, Send):
            connection = self.connections.get(effect.conn_id)
            if connection is not None:
                self.network.send(connection, self, effect.argv)
        elif isinstance(effect, Respond):
            key = self._requests.pop(effect.request_id)
            self.reply(key, effect.reply)
            self._next_request(key)

    def order(self, argv: tuple[bytes, ...]) -> None:
        """A command of an operator; its reply is not looked at."""
        self._last_request += 1
        self._requests[self._last_request] = 0
        self._step(Request(self._last_request, argv))

    # Events

    def connected(self, key: int, connection: Connection) -> None:
        self._step(Connected(key, self.address, connection.peer(self).address))

    def closed(self, key: int, refused: bool) -> None:
        self._backlog.pop(key, None)
        if key > 0:
            self._step(Closed(key, refused, "closed"))

    def received(self, key: int, payload: Any) -> None:
        if key > 0:
            self._step(Replied(key, payload))
            return
        waiting = self._backlog.setdefault(key, deque())
        waiting.append(payload)
        if len(waiting) == 1:
            self._ask_core(key, payload)

    def _ask_core(self, key: int, argv: tuple[bytes, ...]) -> None:
        self._last_request += 1
        self._requests[self._last_request] = key
        self._step(Request(self._last_request, argv))

    def _next_request(self, key: int) -> None:
        waiting = self._backlog.get(key)
        if waiting:
            waiting.popleft()
            if waiting:
                self.later(0, self._ask_core, key, waiting[0])


def emitted(effect: Effect | Note, channel: str) -> str | None:
    """The message of an event, if `effect` is that event."""
    return effect.message if isinstance(effect, Emit) and effect.channel == channel else None


__all__ = [
    "EPOCH_MS",
    "EpochsTold",
    "ErrorReply",
    "Note",
    "SimHost",
    "SimSentinel",
    "VoteSaved",
    "emitted",
    "wire_value",
]
