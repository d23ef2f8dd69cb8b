"""Damaged RDB files, logs, manifests, users and configurations: loaded, or refused by the exceptions for it."""

from __future__ import annotations

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from slotmesh.node.acl.users import check_user_lines
from slotmesh.node.config.kinds import ConfigFileError
from slotmesh.node.config.load import load_config
from slotmesh.node.persistence import aof_commands
from slotmesh.node.persistence.aof_load import load_log_steps
from slotmesh.node.persistence.aof_manifest import parse_manifest
from slotmesh.node.persistence.errors import LoadError
from slotmesh.node.persistence.loading import KeyspaceSink, Progress, run_steps
from slotmesh.node.persistence.rdb_file import load_rdb
from slotmesh.node.persistence.snapshot import SnapshotOptions
from tests.fuzz.node_payloads import saved
from tests.fuzz.node_support import fill, filled_node
from tests.fuzz.values import damage, damage_text
from tests.support.inprocess import InProcessNode

COUNT = 10
MANIFEST = (
    "file appendonly.aof.2.base.rdb seq 2 type b\nfile a.3.incr.aof seq 3 type h\nfile a.4.incr.aof seq 4 type i\n"
)
CONFIG = """\
maxmemory 100mb
hz 10
databases 16
client-output-buffer-limit normal 0 0 0
oom-score-adj-values 0 200 800
notify-keyspace-events KEA
unixsocketperm 700
user alice on >secret ~* +@all db=0,1 (~x* +get)
"""


def run(seed: int) -> int:
    """Files of each kind, damaged in some way."""
    rng = Random(seed)
    with filled_node(rng) as node:
        rdb, log = saved(node), _log_of(node)
        for _ in range(COUNT):
            _load_rdb(node, damage(rng, rdb))
            _load_log(node, damage(rng, rng.choice((log, rdb + log))))
            _parse(damage_text(rng, MANIFEST).decode("latin-1"))
            _configure(damage_text(rng, CONFIG))
        fill(node)
    return 4 * COUNT


def _log_of(node: InProcessNode) -> bytes:
    parts: list[bytes] = []
    aof_commands.write_commands(parts.append, node.server.keyspace, SnapshotOptions(), True)
    return b"".join(parts)


def _load_rdb(node: InProcessNode, data: bytes) -> None:
    node.server.keyspace.dbs[0].clear()
    try:
        load_rdb([data], KeyspaceSink(node.server.keyspace, lambda code: None), verify=False)
    except LoadError:
        return
    saved(node)


def _load_log(node: InProcessNode, data: bytes) -> None:
    keyspace = node.server.keyspace
    for db in keyspace.dbs:
        db.clear()
    with TemporaryDirectory() as directory, keyspace.expiry_ignored:
        path = Path(directory) / "log"
        path.write_bytes(data)
        sink, progress = KeyspaceSink(keyspace, lambda code: None), Progress(len(data), 0.0)
        try:
            run_steps(
                load_log_steps(node.server.new_client, str(path), sink, progress, verify=False, may_truncate=True)
            )
        except LoadError as error:
            if isinstance(error.__cause__, Exception) and "bug of this server" in str(error):
                raise AssertionError("a handler failed") from error
        else:
            saved(node)


def _parse(text: str) -> None:
    try:
        manifest = parse_manifest(text)
    except LoadError:
        return
    if text.isascii():  # other names are bytes, which only `read_manifest` turns into those of the system
        assert parse_manifest(manifest.text() or "#\n").files == manifest.files


def _configure(data: bytes) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "redis.conf"
        path.write_bytes(data)
        try:
            config = load_config([str(path)], check_user_lines)
        except ConfigFileError:
            return
        for words in (line.split() for line in data.split(b"\n")):
            if len(words) > 1:
                check_user_lines(config, words)
