"""A sentinel core on the bench: its connections are answered by the test, its effects are taken apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from attrs import define, field

from slotmesh.sentinel import statements
from slotmesh.sentinel.commands import execute
from slotmesh.sentinel.config import ConfigText, parse_config
from slotmesh.sentinel.core import SentinelCore
from slotmesh.sentinel.effects import (
    Closed,
    Connect,
    Connected,
    Effect,
    Emit,
    Persist,
    Replied,
    Reply,
    Request,
    Respond,
    Send,
    Tick,
)

MY_ID = "f" * 40
START_MS = 1_000_000
HOST = "10.0.1.1"


@define(eq=False)
class SentinelBench:
    """A core with the statements of a config file, at a time that only `advance` moves."""

    config: str
    seed: int = 1
    now_ms: int = START_MS
    core: SentinelCore = field(init=False)
    batch: list[Effect] = field(factory=list)
    history: list[Effect] = field(factory=list)
    ports: dict[int, int] = field(factory=dict)
    last_request: int = 0

    def __attrs_post_init__(self) -> None:
        parsed = parse_config(self.config)
        self.core = SentinelCore(Random(self.seed), self.now_ms, execute)
        self.core.ctx.my_id = MY_ID
        statements.load(self.core, parsed.statements, lambda path: path.startswith("/ok"))
        content = ConfigText(parsed.lines)
        self.core.render = lambda: content.rewrite(statements.dump(self.core))
        self.core.executable = lambda path: path.startswith("/ok")
        self.core.start()
        self.step(Tick())

    # Time and events

    def step(self, event: object) -> list[Effect]:
        """One event; its effects stay in `batch`."""
        self.core.step(self.now_ms, event)  # type: ignore[arg-type]
        self.batch = self.core.take_effects()
        self.history += self.batch
        for effect in self.batch:
            if isinstance(effect, Connect):
                self.ports[effect.conn_id] = effect.port
        return self.batch

    def advance(self, ms: int) -> list[Effect]:
        """Let time pass as a driver does: step whenever the core wants to be stepped. All effects of that time."""
        effects: list[Effect] = []
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            self.now_ms = min(max(self.core.next_deadline_ms(), self.now_ms + 1), end_ms)
            effects += self.step(Tick())
        self.batch = effects
        return effects

    # Connections

    def pending_connections(self, port: int) -> list[int]:
        """Connections to `port` that were asked for and are not answered yet."""
        channels = [channel for channel, _, _ in self.core.ctx.connections.values()]
        return [one.conn_id for one in channels if self.ports[one.conn_id] == port and not one.up]

    def open_connections(self, port: int) -> list[int]:
        channels = [channel for channel, _, _ in self.core.ctx.connections.values()]
        return [one.conn_id for one in channels if self.ports[one.conn_id] == port and one.up]

    def commands_to(self, port: int) -> int:
        """The open command connection to `port`."""
        found = [
            channel.conn_id
            for channel, _, _ in self.core.ctx.connections.values()
            if channel.up and not channel.pubsub and self.ports[channel.conn_id] == port
        ]
        assert len(found) == 1, f"{len(found)} command connections to {port}"
        return found[0]

    def accept(self, port: int) -> list[Effect]:
        """Let every pending connection to `port` succeed."""
        effects: list[Effect] = []
        for conn_id in self.pending_connections(port):
            effects += self.step(Connected(conn_id, HOST, "10.0.0.1"))
        self.batch = effects
        return effects

    def refuse(self, port: int) -> list[Effect]:
        """Nobody listens on `port`."""
        effects: list[Effect] = []
        for conn_id in self.pending_connections(port):
            effects += self.step(Closed(conn_id, True, "refused"))
        self.batch = effects
        return effects

    def drop(self, port: int) -> list[Effect]:
        """The process behind `port` closes its connections."""
        effects: list[Effect] = []
        for conn_id in self.open_connections(port):
            effects += self.step(Closed(conn_id, False, "closed"))
        self.batch = effects
        return effects

    def reply(self, port: int, *values: Reply) -> list[Effect]:
        """The next replies on the command connection to `port`."""
        effects: list[Effect] = []
        for value in values:
            effects += self.step(Replied(self.commands_to(port), value))
        self.batch = effects
        return effects

    def answer(self, port: int, answers: Mapping[str, Reply]) -> list[Effect]:
        """Answer all commands under way on `port`: by kind of command ("PING", "INFO"...), +OK for the others."""
        effects: list[Effect] = []
        channel = self.core.ctx.connections[self.commands_to(port)][0]
        for _ in range(len(channel.pending)):
            if not channel.pending:
                break  # an answer made the core end the connection
            kind = KINDS.get(channel.pending[0].kind, "")
            effects += self.step(Replied(channel.conn_id, answers.get(kind, b"OK")))
        self.batch = effects
        return effects

    def hear(self, port: int, payload: str) -> list[Effect]:
        """A hello message arrives on the pub/sub connection to `port`."""
        channel = next(
            channel
            for channel, _, _ in self.core.ctx.connections.values()
            if channel.pubsub and channel.up and self.ports[channel.conn_id] == port
        )
        while channel.pending:
            self.step(Replied(channel.conn_id, b"OK"))
        return self.step(Replied(channel.conn_id, [b"message", b"__sentinel__:hello", payload.encode()]))

    # Commands and effects

    def call(self, *words: str) -> Reply:
        """A client's command; its reply. The effects in front of it stay in `batch`."""
        self.last_request += 1
        self.step(Request(self.last_request, tuple(word.encode() for word in words)))
        (respond,) = [effect for effect in self.batch if isinstance(effect, Respond)]
        return respond.reply

    def events(self, effects: Sequence[Effect] | None = None) -> list[str]:
        """Channels of the sentinel events among `effects` (of the last step)."""
        return [e.channel for e in (self.batch if effects is None else effects) if isinstance(e, Emit)]

    def sent(self, effects: Sequence[Effect] | None = None) -> list[tuple[bytes, ...]]:
        return [e.argv for e in (self.batch if effects is None else effects) if isinstance(e, Send)]

    def saved(self, effects: Sequence[Effect] | None = None) -> str:
        """What was last written to the config file."""
        contents = [e.content for e in (self.batch if effects is None else effects) if isinstance(e, Persist)]
        assert contents, "nothing was written"
        return contents[-1]


KINDS = {
    1: "PING",
    2: "INFO",
    4: "DOWN",
    5: "GUARD",
    6: "MYID",
    7: "NODES",
    8: "EPOCHS",
    9: "SHARDS",
    10: "ORDER",
    11: "HAND_OVER",
}


def info(role: str = "master", **fields: object) -> bytes:
    """An INFO reply."""
    lines = [f"role:{role}", "run_id:" + "a" * 40, *(f"{name}:{value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode()
