"""Damaged nodes.conf and sentinel.conf: read as something that is written back the same, or refused in one line."""

from __future__ import annotations

from random import Random

from slotmesh.cluster.core import ClusterCore
from slotmesh.cluster.state_file import StateFileError
from slotmesh.sentinel import statements
from slotmesh.sentinel.config import ConfigFileError
from tests.fuzz.bus import fingerprint
from tests.fuzz.values import assert_same, damage_text
from tests.support.lone_core import LoneCore
from tests.support.sentinel_bench import SentinelBench

COUNT = 40
MAX_COMPLAINT = 300
SENTINEL_CONF = """\
port 26379
bind 127.0.0.1
maxclients 100
requirepass "a b"
sentinel myid ffffffffffffffffffffffffffffffffffffffff
sentinel deny-scripts-reconfig no
sentinel resolve-hostnames no
sentinel monitor m 10.0.0.1 7001 2
sentinel monitor shop 10.0.0.2 7001 2
sentinel down-after-milliseconds m 2000
sentinel auth-pass m "s e c"
sentinel rename-command m CONFIG guarded
sentinel config-epoch m 4
sentinel leader-epoch m 4
sentinel guard m yes
sentinel known-holder m 10.0.0.4 7001
sentinel known-replica m 10.0.0.3 7001
sentinel known-replica m 10.0.0.4 7001
sentinel known-sentinel m 10.0.0.5 26379 eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee
sentinel known-shard shop aaaaaaaa - {a} 7 {a}
sentinel known-node shop aaaaaaaa {a} 10.0.0.2 7001
sentinel known-node shop aaaaaaaa {b} 10.0.0.2 7002
sentinel config-epoch shop/aaaaaaaa 3
sentinel current-epoch 9
sentinel announce-ip 10.0.0.9
sentinel announce-port 26380
""".format(a="a" * 40, b="b" * 40)


def run(seed: int) -> int:
    """Damaged files of both kinds."""
    rng = Random(seed)
    lone = LoneCore("P1", variables={"fenceEpoch": "5", "guard": "mesh/3", "later": "x"})
    healthy = lone.core.state_text()
    with_aux = healthy.replace("@17000", f"@17000,h.example,shard-id={'5' * 40},nodename=n1")
    for _ in range(COUNT):
        nodes_conf(lone, damage_text(rng, rng.choice((healthy, with_aux))))
        sentinel_conf(damage_text(rng, SENTINEL_CONF).decode("utf-8", "surrogateescape"))
    return 2 * COUNT


def nodes_conf(lone: LoneCore, data: bytes) -> None:
    """A node starts from `data`, or says in one line why not."""
    view = lone.core.view
    try:
        core = ClusterCore(view.config, view.rng, lone.now_ms, data.decode("ascii"))
    except (StateFileError, UnicodeDecodeError) as error:
        complaint = str(error)
        assert complaint.isprintable(), complaint
        assert len(complaint) < MAX_COMPLAINT, complaint
        return
    again = ClusterCore(view.config, view.rng, lone.now_ms, core.state_text())
    assert_same(fingerprint(again), fingerprint(core))


def sentinel_conf(text: str) -> None:
    """A sentinel starts from `text`, or says which line it does not understand."""
    try:
        core = SentinelBench(text).core
    except ConfigFileError as error:
        complaint = str(error)
        assert "Reading the configuration file, at line" in complaint
        return
    again = SentinelBench(core.render()).core
    assert_same(statements.dump(again), statements.dump(core))
