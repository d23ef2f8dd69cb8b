"""Every command with hostile numbers, keys of every type and its own option words in every place."""

from __future__ import annotations

import re
from random import Random

from slotmesh.node.resp.encoder import encode_command
from slotmesh.node.spec import registry
from slotmesh.node.spec.registry import CommandSpec
from tests.fuzz.node_support import HOSTILE, KEYS, fill, filled_node

COUNT = 150
REFILL_EVERY = 50
#: Commands that end, fork, connect, wait or listen are none of this fuzzer's.
_NOT_THESE = frozenset(
    b"shutdown debug replicaof slaveof failover psync sync monitor bgsave bgrewriteaof save migrate quit restart reset "
    b"client|pause client|reply client|kill acl|deluser script|debug cluster|meet".split()
)
#: Directives that change where the node listens, what it may do or where its files lie.
_NOT_SET = re.compile(
    rb"port|bind|dir|file|socket|rename|protected|requirepass|user|appendonly|max-?clients|tls|oom-score|save|min-"
)


def candidates() -> list[CommandSpec]:
    """What may be called."""
    return [
        spec
        for spec in registry.every_spec()
        if spec.handler is not None and not {spec.full_name, spec.full_name.partition(b"|")[0]} & _NOT_THESE
    ]


def request(rng: Random, spec: CommandSpec) -> list[bytes]:
    """A request for `spec`, which is refused or not."""
    words = spec.full_name.split(b"|")
    options = re.findall(r"[A-Z]{2,}", spec.syntax)
    size = max(spec.min_arity, len(words)) + rng.choice((0, 0, 0, 1, 2, 3, 4))
    if rng.random() < 0.97:
        size = min(size, spec.max_arity)
    if spec.full_name == b"config|set":
        return [*words, rng.choice(_directives()), rng.choice(HOSTILE)]
    while len(words) < size:
        kind = rng.random()
        place = len(words)
        if (place == spec.first_key and kind < 0.9) or kind < 0.15:
            words.append(rng.choice(KEYS))
        elif kind < 0.4 and options:
            words.append(rng.choice(options).encode())
        elif kind < 0.5:
            words.append(rng.choice((b"a", b"f", b"g", b"me", b"1", b"2", b"u8", b"i64", b"#1", b"LEFT", b"m")))
        else:
            words.append(rng.choice(HOSTILE))
    return words


def _directives() -> list[bytes]:
    from slotmesh.node.config.directives import BY_NAME  # after the commands, as at the start of a node

    return [name.encode() for name in BY_NAME if not _NOT_SET.search(name.encode())]


def run(seed: int) -> int:
    """Requests to one node."""
    rng = Random(seed)
    with filled_node(rng) as node:
        specs = candidates()
        client = node.client(resp3=rng.random() < 0.5)
        for number in range(COUNT):
            argv = request(rng, rng.choice(specs))
            reply = client.send(encode_command(argv))
            assert b"internal error" not in reply, (argv, reply)
            if not reply or client.served.sock is None:  # blocked, silenced or gone
                client.sock.close()
                node.pump()
                client = node.client(resp3=rng.random() < 0.5)
            if number % REFILL_EVERY == REFILL_EVERY - 1:
                node.client().call("CONFIG", "SET", "maxmemory", "0")
                fill(node)
    return COUNT
