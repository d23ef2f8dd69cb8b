"""Hostile hellos, INFO, views, replies and commands against a sentinel, with a restart from its file after each.

The sentinel watches a plain primary or guards a cluster, with host names resolved or not. Whatever it hears, its file
must say the same after it was read again, and whatever it sends, logs and saves must be text that can be written.
"""

from __future__ import annotations

from random import Random
from typing import Any

from slotmesh.cluster.addresses import is_host_name, is_ip
from slotmesh.sentinel import statements
from slotmesh.sentinel.core import SentinelCore
from slotmesh.sentinel.effects import (
    Connect,
    Emit,
    ErrorReply,
    Log,
    Persist,
    Replied,
    Reply,
    Request,
    Resolve,
    Resolved,
)
from slotmesh.sentinel.hello import HELLO_CHANNEL
from slotmesh.sentinel.links import DOWN, EPOCHS, GUARD, INFO, NODE_ID, NODES, PING, SHARDS
from tests.fuzz.values import HOSTS, NUMBER_TEXTS, NUMBERS, TEXTS, assert_same, damage
from tests.support.sentinel_bench import SentinelBench

STEPS = 60
IDS = ("a" * 40, "b" * 40, "c" * 40, "d" * 40)
NAMES = ("m", "m/aaaaaaaa", "m/bbbbbbbb", "m/zz", "m/", "other", "m/a b")
CONFIG = """\
sentinel resolve-hostnames {resolve}
sentinel monitor m 10.0.0.1 7001 1
sentinel down-after-milliseconds m 2000
sentinel failover-timeout m 5000
"""


class Liar:
    """Makes up what others say: the truth about four nodes, with a lie now and then."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.rate = rng.choice((0.01, 0.05, 0.2))
        self.clustered = rng.random() < 0.6

    def lies(self) -> bool:
        return self.rng.random() < self.rate

    def number(self, usual: object) -> str:
        return self.rng.choice(NUMBER_TEXTS) if self.lies() else str(usual)

    def host(self) -> str:
        return self.rng.choice((*HOSTS, *TEXTS)) if self.lies() else "10.0.0.1"

    def run_id(self) -> str:
        if self.lies():
            return self.rng.choice((f"{self.rng.getrandbits(160):040x}", *TEXTS))
        return self.rng.choice(("e" * 40, "0" * 40, "1" * 40))

    def bytes_of(self, text: str) -> bytes:
        data = text.encode("utf-8", "surrogateescape")
        return damage(self.rng, data) if self.lies() else data

    def hello(self) -> bytes:
        port, epoch = self.number(26379), self.number(self.rng.randrange(5))
        claim = f"{self.host()},{self.number(7001)},{self.number(self.rng.randrange(5))}"
        usual = self.rng.choice(("m/aaaaaaaa", "m/bbbbbbbb")) if self.clustered else "m"
        name = self.rng.choice(NAMES) if self.lies() else usual
        return self.bytes_of(f"{self.host()},{port},{self.run_id()},{epoch},{name},{claim}")

    def info(self, teller: int) -> bytes:
        """INFO of the node number `teller`: the first (and, in a cluster, the second) is a primary."""
        primary = teller == 0 or (self.clustered and teller == 1)
        role = self.rng.choice(("master", "slave", "sentinel", "", "\udcff")) if self.lies() else ""
        lines = [
            f"role:{role or ('master' if primary else 'slave')}",
            f"run_id:{self.rng.choice(TEXTS) if self.lies() else IDS[teller]}",
            f"cluster_enabled:{self.number(int(self.clustered))}",
            "server_name:slotmesh",
            f"master_host:{self.host()}",
            f"master_port:{self.number(7001)}",
            f"master_link_status:{self.rng.choice(('up', 'up', 'down', 'x'))}",
            f"master_link_down_since_seconds:{self.number(1)}",
            f"slave_priority:{self.number(100)}",
            f"slave_repl_offset:{self.number(10)}",
            f"replica_announced:{self.number(1)}",
        ]
        if primary:
            lines += [f"slave{n}:ip={self.host()},port={self.number(7003 + n)},state=online" for n in range(2)]
        return self.bytes_of("\r\n".join(lines))

    def nodes(self, teller: int) -> bytes:
        """CLUSTER NODES of two shards with a replica each."""
        lines = []
        for number, node in enumerate(IDS):
            flags = ("myself," if number == teller else "") + ("master" if number < 2 else "slave")
            if self.lies():
                flags = self.rng.choice(("master", "slave", "myself,master", "noaddr", "x,y"))
            primary = self.run_id() if self.lies() else ("-", "-", IDS[0], IDS[1])[number]
            place = f"{self.host()}:{self.number(7001 + number)}@{self.number(17001)}"
            slots = ("", " 0-5000", " [5-<-x]", " 9")[self.rng.randrange(4) if self.lies() else int(number < 2)]
            node_id = self.run_id() if self.lies() else node
            epoch = self.number(number + 1 + self.rng.randrange(3))
            lines.append(f"{node_id} {place} {flags} {primary} 0 0 {epoch} connected{slots}")
        return self.bytes_of("\n".join(lines))

    def nonsense(self, depth: int = 0) -> Reply:
        choices: list[Reply] = [
            None,
            True,
            self.rng.choice(NUMBERS) - 2**63,
            ErrorReply(self.rng.choice(TEXTS)),
            self.rng.choice(TEXTS).encode("utf-8", "surrogateescape"),
            self.rng.randbytes(10),
        ]
        if depth < 3 and self.rng.random() < 0.5:
            return [self.nonsense(depth + 1) for _ in range(self.rng.randrange(5))]
        return self.rng.choice(choices)

    def reply(self, kind: int, port: int) -> Reply:
        """An answer to a command, of its kind mostly, of what listens on `port`."""
        if self.lies():
            return self.nonsense()
        teller = port - 7001 if 7001 <= port <= 7004 else 0
        extremes = (*(number - 2**63 for number in NUMBERS), 2**63 - 1)
        number = self.rng.choice(extremes) if self.lies() else self.rng.randrange(1, 1000)
        shard_ids: list[Reply] = [
            [
                b"id",
                self.bytes_of(self.run_id() if self.lies() else IDS[shard]),
                b"nodes",
                [[b"id", IDS[node].encode()]],
            ]
            for shard, node in ((0, 0), (1, 1), (0, 2), (1, 3))
        ]
        answers: dict[Any, Reply] = {
            PING: b"PONG",
            INFO: self.info(teller),
            DOWN: [self.rng.choice((0, 1, 7)), self.bytes_of(self.run_id()), number],
            GUARD: [number, self.rng.choice((0, 3, number)), 1, 0],
            NODE_ID: self.bytes_of(IDS[teller]),
            NODES: self.nodes(teller),
            EPOCHS: f"cluster_current_epoch:{self.number(4)}\r\n".encode(),
            SHARDS: shard_ids,
        }
        return answers.get(kind, b"OK")

    def command(self) -> tuple[bytes, ...]:
        """What a client may ask for; it is allowed all of it."""
        text, number = self.rng.choice(TEXTS), self.rng.choice(NUMBER_TEXTS)
        run_id, name = self.run_id(), self.rng.choice(("m", *NAMES))
        option, value = self.rng.choice(SETTINGS)
        words = self.rng.choice(
            (
                ("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", self.host(), self.number(7001), self.number(3), run_id),
                ("SENTINEL", "MONITOR", self.rng.choice(("n", text)), self.host(), self.number(1), self.number(1)),
                ("SENTINEL", "SET", name, option, text if value == "text" else number),
                ("SENTINEL", "SET", name, "rename-command", text, self.rng.choice(TEXTS)),
                ("SENTINEL", "CONFIG", "SET", self.rng.choice(OPTIONS), self.rng.choice((text, number, "yes", "no"))),
                ("SENTINEL", "RESET", self.rng.choice(("*", text))),
                ("SENTINEL", "REMOVE", self.rng.choice(("n", text))),
                ("SENTINEL", "MASTERS"),
                ("SENTINEL", "REPLICAS", name),
                ("SENTINEL", "SENTINELS", name),
                ("SENTINEL", "INFO-CACHE", name),
                ("SENTINEL", "CKQUORUM", name),
                ("SENTINEL", "FAILOVER", name),
                ("SENTINEL", text, number),
            )
        )
        return tuple(word.encode("utf-8", "surrogateescape") for word in words)


SETTINGS = (
    ("quorum", "number"),
    ("down-after-milliseconds", "number"),
    ("failover-timeout", "number"),
    ("parallel-syncs", "number"),
    ("master-reboot-down-after-period", "number"),
    ("auth-pass", "text"),
    ("auth-user", "text"),
    ("notification-script", "text"),
)
OPTIONS = ("announce-ip", "announce-port", "sentinel-user", "sentinel-pass", "resolve-hostnames", "announce-hostnames")


def run(seed: int) -> int:
    """One history."""
    rng = Random(seed)
    bench = SentinelBench(CONFIG.format(resolve=rng.choice(("yes", "no"))), seed=seed)
    liar = Liar(rng)
    for _ in range(STEPS):
        happen(bench, liar)
        check(bench)
        bench.history.clear()
    return STEPS


def happen(bench: SentinelBench, liar: Liar) -> None:
    """Something arrives, or time passes."""
    rng, ctx = liar.rng, bench.core.ctx
    for port in {bench.ports[conn_id] for conn_id in ctx.connections}:
        if rng.random() < 0.8:
            bench.accept(port)
    what = rng.random()
    if what < 0.55:
        converse(bench, liar)
    elif what < 0.7:
        bench.step(Request(1, (b"PUBLISH", HELLO_CHANNEL.encode(), liar.hello())))
    elif what < 0.75:
        bench.step(Request(1, liar.command()))
    elif what < 0.8 and ctx.names:
        bench.step(Resolved(rng.choice(list(ctx.names)), rng.choice(("", "10.0.0.8", "::8"))))
    elif what < 0.85 and ctx.connections:
        port = bench.ports[rng.choice(list(ctx.connections))]
        bench.drop(port)
        bench.refuse(port)
    else:
        bench.advance(rng.choice((10, 300, 2500)))


def converse(bench: SentinelBench, liar: Liar) -> None:
    """Everybody answers what was asked; on the other connections hellos arrive."""
    for conn_id, (channel, _, _) in list(bench.core.ctx.connections.items()):
        if not channel.up:
            continue
        if channel.pubsub:
            bench.step(Replied(conn_id, [b"message", HELLO_CHANNEL.encode(), liar.hello()]))
            continue
        for _ in range(len(channel.pending)):
            if channel.conn_id == conn_id and channel.pending:
                bench.step(Replied(conn_id, liar.reply(channel.pending[0].kind, bench.ports[conn_id])))


def state_of(core: SentinelCore, original: SentinelCore) -> list[tuple[str, ...]]:
    """The statements of a core, but for what a restart may change.

    A guard that knows no shard yet is saved as its `monitor` line, and found out to be a guard again; of a guard, that
    line tells any node that works. The current epoch is no less than any config epoch.
    """
    bare = {name for name, guard in original.ctx.guards.items() if not guard.units}
    epochs = [core.ctx.current_epoch, *(unit.config_epoch for unit in core.ctx.units.values())]
    state: list[tuple[str, ...]] = [("current-epoch", str(max(epochs)))]
    for words in statements.dump(core):
        of_guard = len(words) > 1 and words[1] in original.ctx.guards
        if words[0] in ("config-epoch", "leader-epoch") and words[1] in bare:
            continue
        if words[0] != "current-epoch":
            state.append((*words[:2], *words[4:]) if words[0] == "monitor" and of_guard else words)
    return sorted(set(state))


def check(bench: SentinelBench) -> None:
    """What is saved is read back as it is; what is told can be written; nobody is connected to who is none."""
    for effect in bench.history:
        if isinstance(effect, Emit | Log):
            effect.message.encode("utf-8", "surrogateescape")
        elif isinstance(effect, Persist):
            effect.content.encode("utf-8", "surrogateescape")
        elif isinstance(effect, Connect):
            assert is_ip(effect.host) or is_host_name(effect.host), effect
            assert 0 < effect.port < 65536, effect
        elif isinstance(effect, Resolve):
            assert is_host_name(effect.host), effect
    core = bench.core
    text = core.render().encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    assert "\0" not in text
    again = SentinelBench(text, now_ms=bench.now_ms).core
    assert_same(state_of(again, core), state_of(core, core))
