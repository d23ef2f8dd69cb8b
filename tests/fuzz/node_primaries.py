"""What false primaries say, to the parts of a replica that listen: refused as a broken protocol, or applied."""

from __future__ import annotations

from random import Random

from slotmesh.node.keyspace.keyspace import Keyspace
from slotmesh.node.persistence.errors import LoadError
from slotmesh.node.persistence.loading import KeyspaceSink
from slotmesh.node.persistence.rdb_file import load_rdb
from slotmesh.node.replication.applier import Applier, new_primary_client
from slotmesh.node.replication.handshake import FullSync, Handshake, HandshakePlan, OldSync
from slotmesh.node.replication.stream_parser import ProtocolError
from slotmesh.node.replication.transfer import Transfer, TransferError
from slotmesh.node.resp.encoder import encode_command
from tests.fuzz.node_commands import candidates, request
from tests.fuzz.node_payloads import saved
from tests.fuzz.node_support import HOSTILE, fill, filled_node
from tests.fuzz.values import damage
from tests.support.inprocess import InProcessNode

COUNT = 12
COMMANDS = 15
_ANSWERS = (b"+FULLRESYNC %b %b", b"+CONTINUE %b", b"-NOMASTERLINK %b", b"-ERR %b", b"+FULLRESYNC %b %b %b", b"+%b")


def run(seed: int) -> int:
    """Handshakes, snapshots and streams."""
    rng = Random(seed)
    with filled_node(rng) as node:
        rdb = saved(node)
        for _ in range(COUNT):
            _shake_hands(rng, node)
            _take_snapshot(rng, node, rdb)
            _apply(rng, node)
        fill(node)
    return 3 * COUNT


def _word(rng: Random) -> bytes:
    return rng.choice((b"a" * 40, b"\xff" * 40, rng.choice(HOSTILE)))


def _shake_hands(rng: Random, node: InProcessNode) -> None:
    handshake = Handshake(HandshakePlan(6379))
    handshake.start()
    lines = [b"+PONG", b"+OK", b"+OK"]
    answer = rng.choice(_ANSWERS)
    lines.append(answer % tuple(_word(rng) for _ in range(answer.count(b"%b"))))
    for line in lines:
        if handshake.outcome is None:
            handshake.on_line(damage(rng, line).replace(b"\n", b"") if rng.random() < 0.2 else line)
    if isinstance(handshake.outcome, FullSync | OldSync):
        aux = {name: _word(rng) for name in (b"repl-stream-db", b"repl-id", b"repl-offset")}
        node.server.replication.on_snapshot_loaded(handshake.outcome, aux)
        node.server.replication.restore(aux, ())
        assert b"master_repl_offset" in node.client().call("INFO", "replication")


def _take_snapshot(rng: Random, node: InProcessNode, rdb: bytes) -> None:
    header = rng.choice((b"$%d" % len(rdb), b"$EOF:" + b"m" * 40, b"$" + _word(rng), _word(rng)))
    said = header + b"\r\n" + rdb + b"m" * 40
    transfer, received = Transfer(), []
    try:
        for piece in (said[:7], said[7:100], said[100:]):
            if not transfer.finished:
                received.append(transfer.feed(damage(rng, piece) if rng.random() < 0.2 else piece))
        fresh = Keyspace(node.server.config.databases, clustered=False)
        load_rdb(received, KeyspaceSink(fresh, lambda code: None))
    except (TransferError, LoadError):
        pass


def _apply(rng: Random, node: InProcessNode) -> None:
    client = new_primary_client(node.server.new_client())
    replication = node.server.replication
    applier = Applier(replication._link_parts.applying(), replication.stream, client)
    # Offsets of gigabytes are a primary's to choose, and this machine's to pay for.
    specs = [spec for spec in candidates() if spec.name not in (b"setrange", b"setbit", b"bitfield")]
    commands = [request(rng, rng.choice(specs)) for _ in range(COMMANDS)]
    for name in (b"MULTI", b"EXEC"):
        commands.insert(rng.randrange(len(commands)), [name])
    commands.append([b"SELECT", rng.choice(HOSTILE)])
    data = b"".join(map(encode_command, commands))
    try:
        applier.take(damage(rng, data) if rng.random() < 0.5 else data)
        while applier.has_work:
            applier.run(1_000_000)
    except ProtocolError:
        pass
    finally:
        node.server.replication.reset_primary_client(client)
