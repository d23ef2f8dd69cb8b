from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slotmesh.sentinel.effects import Reply
from slotmesh.sentinel.info import parse_info
from slotmesh.sentinel.instance import PRIMARY, REPLICA
from slotmesh.sentinel.topology import group_shards, parse_current_epoch, parse_nodes, parse_shard_ids

NODES = b"""\
07c37df 127.0.0.1:30004@31004,host slave e7d1eec 0 1426238317239 4 connected
67ed2db 127.0.0.1:30002@31002 master - 0 1426238316232 2 connected 5461-10922 [5000->-e7d1eec]
292f8b3 127.0.0.1:30003@31003 master - 0 1426238318243 3 disconnected 10923-16383
6ec23923 127.0.0.1:30005@31005 slave,fail 67ed2db 0 1426238316232 5 connected
824fe11 [::1]:30006@31006 master,nofailover - 0 0 6 connected
e7d1eec :30001@31001 myself,master - 0 0 1 connected 0-5460
abcdef0 :0@0 slave,noaddr e7d1eec 0 0 1 disconnected
bad line
"""


def test_cluster_nodes_is_read_with_all_its_oddities() -> None:
    views = {view.node_id: view for view in parse_nodes(NODES)}
    assert len(views) == 7
    assert views["07c37df"].primary_id == "e7d1eec"
    assert (views["07c37df"].host, views["07c37df"].port) == ("127.0.0.1", 30004)
    assert views["67ed2db"].has_slots
    assert not views["824fe11"].has_slots
    assert views["e7d1eec"].myself
    assert views["e7d1eec"].host == "", "a node that does not know its own address"
    assert not views["292f8b3"].linked
    assert not views["abcdef0"].usable
    assert views["67ed2db"].config_epoch == 2


def test_only_a_primary_with_slots_makes_a_shard() -> None:
    shards = group_shards(parse_nodes(NODES), {"67ed2db": "shard-b"})
    assert {shard.primary.node_id: [r.node_id for r in shard.replicas] for shard in shards} == {
        "67ed2db": ["6ec23923"],
        "292f8b3": [],
        "e7d1eec": ["07c37df"],
    }
    assert [shard.shard_id for shard in shards] == ["shard-b", "", ""]


def test_slots_only_under_migration_are_no_slots() -> None:
    (view,) = parse_nodes(b"a 1.1.1.1:1@2 master - 0 0 1 connected [5-<-b]")
    assert not view.has_slots


def test_shard_ids_are_taken_where_the_server_gives_them() -> None:
    reply: Reply = [
        [b"slots", [0, 1], b"nodes", [[b"id", b"n1", b"port", 1], [b"id", b"n2"]], b"id", b"s1"],
        [b"nodes", []],
        7,
    ]
    assert parse_shard_ids(reply) == {"n1": "s1", "n2": "s1"}
    assert parse_shard_ids(None) == {}


def test_current_epoch_is_found_in_cluster_info() -> None:
    assert parse_current_epoch(b"cluster_state:ok\r\ncluster_current_epoch:17\r\ncluster_my_epoch:2\r\n") == 17
    assert parse_current_epoch(b"") == 0


@given(st.binary(max_size=300))
def test_parsers_never_raise(data: bytes) -> None:
    parse_nodes(data)
    parse_info(data)
    parse_current_epoch(data)


def test_info_of_a_primary_lists_its_replicas_in_both_notations() -> None:
    facts = parse_info(
        b"# Replication\r\nrole:master\r\nrun_id:" + b"a" * 40 + b"\r\nslave0:ip=10.0.0.2,port=6380,state=online\r\n"
        b"slave1:10.0.0.3,6381,online\r\nslave2:ip=,port=x\r\nserver_name:slotmesh\r\ncluster_enabled:1\r\n"
    )
    assert facts.role == PRIMARY
    assert facts.replicas == (("10.0.0.2", 6380), ("10.0.0.3", 6381))
    assert facts.run_id == "a" * 40
    assert facts.ours
    assert facts.cluster_enabled


def test_info_of_a_replica_tells_its_link_and_offset() -> None:
    facts = parse_info(
        b"role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\nmaster_link_status:down\r\n"
        b"master_link_down_since_seconds:7\r\nslave_priority:0\r\nslave_repl_offset:123\r\nreplica_announced:0\r\n"
    )
    assert facts.role == REPLICA
    assert (facts.primary_host, facts.primary_port, facts.primary_link_up) == ("10.0.0.1", 6379, False)
    assert (facts.primary_link_down_ms, facts.priority, facts.offset, facts.announced) == (7000, 0, 123, False)
