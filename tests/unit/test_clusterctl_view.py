from __future__ import annotations

import attrs
import pytest

from slotmesh.cluster.plan import Address
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.tools.clusterctl.errors import OperationFailed, UsageMistake
from slotmesh.tools.clusterctl.health import Strays, find_problems, has_errors
from slotmesh.tools.clusterctl.view import ClusterView, Node, NodeLine, parse_info, parse_nodes

A, B, C, R = "a" * 40, "b" * 40, "c" * 40, "d" * 40
ASKED = Address("10.0.0.9", 7001)


def test_parse_nodes_every_field_is_understood() -> None:
    text = (
        f"{A} 10.0.0.1:7001@17001,host-a,shard-id=69bc myself,master - 0 0 7 connected "
        f"0-99 200 [300->-{B}] [301-<-{C}]\n"
        f"{R} 10.0.0.2:7002@17002 slave,fail? {A} 1 2 7 disconnected\n"
    )
    mine, replica = parse_nodes(text, ASKED)
    assert (mine.id, mine.address, mine.config_epoch, mine.link_up) == (A, Address("10.0.0.1", 7001), 7, True)
    assert mine.slots.to_text() == "0-99 200"
    assert (dict(mine.migrating), dict(mine.importing)) == ({300: B}, {301: C})
    assert not mine.is_replica
    assert replica.is_replica
    assert (replica.primary_id, replica.link_up) == (A, False)


def test_parse_nodes_own_address_unknown_is_the_one_asked() -> None:
    (mine,) = parse_nodes(f"{A} :7001@17001 myself,master - 0 0 0 connected", ASKED)
    assert mine.address == ASKED


def test_parse_nodes_unknown_flag_is_ignored_and_ipv6_is_read() -> None:
    (line,) = parse_nodes(f"{A} fe80::1:7001@17001 master,brand-new - 0 0 0 connected", ASKED)
    assert line.address == Address("fe80::1", 7001)
    assert not line.is_replica


def test_parse_nodes_broken_line_names_the_node() -> None:
    with pytest.raises(OperationFailed, match=r"10.0.0.9:7001 sent"):
        parse_nodes("what is this", ASKED)


def test_parse_info_sections_are_skipped() -> None:
    assert parse_info("# Server\r\nredis_version:7.0.15\r\n\r\nslave0:ip=1:2,port=3\r\n") == {
        "redis_version": "7.0.15",
        "slave0": "ip=1:2,port=3",
    }


def line(
    node: str,
    port: int,
    slots: str = "",
    *,
    primary: str | None = None,
    epoch: int = 1,
    flags: int = 0,
    importing: dict[int, str] | None = None,
) -> NodeLine:
    kind = 2 if primary else 1
    return NodeLine(
        node, Address("h", port), kind | flags, primary, epoch, True, SlotSet.from_text(slots), {}, importing or {}
    )


def healthy(*lines: NodeLine, down: tuple[str, ...] = ()) -> ClusterView:
    """All of one opinion; nodes in `down` are unreachable."""
    nodes = []
    for one in lines:
        if one.id in down:
            nodes.append(Node(one, error="cannot connect"))
        else:
            info = {"master_link_status": "up", "db0": "keys=5,expires=0,avg_ttl=0"}
            nodes.append(Node(one, tuple(lines), {"cluster_state": "ok"}, info))
    return ClusterView(tuple(nodes))


FULL = (
    line(A, 1, "0-8191", epoch=1),
    line(B, 2, "8192-16383", epoch=2),
    line(C, 3, primary=A, epoch=1),
    line(R, 4, primary=B, epoch=2),
)


def codes(view: ClusterView) -> list[str]:
    return [finding.code for finding in find_problems(view)]


def test_find_problems_sound_cluster_has_none() -> None:
    assert codes(healthy(*FULL)) == []


def test_find_problems_dead_primary_without_slots_is_only_a_warning() -> None:
    view = healthy(*FULL, line("e" * 40, 5), down=("e" * 40,))
    assert codes(view) == ["node_unreachable"]
    assert not has_errors(find_problems(view))


def test_find_problems_dead_primary_with_slots_is_an_error() -> None:
    view = healthy(*FULL, down=(A,))
    assert {"slots_unreachable", "node_unreachable"} <= set(codes(view))
    assert has_errors(find_problems(view))
    assert view.uncovered().to_text() == "0-8191"


def test_find_problems_slot_without_owner_and_open_slot() -> None:
    view = healthy(line(A, 1, "0-8190", epoch=1), line(B, 2, "8192-16383", epoch=2, importing={7: A}))
    assert {"slots_uncovered", "slots_open", "no_replica"} == set(codes(view))
    assert view.open_slots().to_text() == "7"


def test_find_problems_same_epoch_twice_is_an_error() -> None:
    view = healthy(line(A, 1, "0-8191", epoch=4), line(B, 2, "8192-16383", epoch=4), *FULL[2:])
    assert codes(view) == ["epoch_shared"]


def test_find_problems_differing_views_name_the_minority() -> None:
    sound = healthy(*FULL)
    stale = (line(A, 1, "0-8190", epoch=1), line(B, 2, "8191-16383", epoch=2), *FULL[2:])
    nodes = [Node(n.line, stale if n.id == R else n.seen, n.cluster_info, n.info) for n in sound.nodes]
    view = ClusterView(tuple(nodes))
    assert codes(view) == ["views_differ"]
    assert [node.id for node in view.dissenters()] == [R]


def test_find_problems_two_owners_are_an_error() -> None:
    view = healthy(line(A, 1, "0-8192", epoch=1), *FULL[1:])
    assert "slots_doubly_owned" in codes(view)


def test_find_problems_unknown_and_suspected_members() -> None:
    suspected = line(B, 2, "8192-16383", epoch=2, flags=4)
    nodes = []
    for node in healthy(*FULL).nodes:
        seen = tuple(suspected if one.id == B else one for one in node.seen)
        if node.id == C:
            seen = tuple(one for one in node.seen if one.id != R)
        nodes.append(Node(node.line, seen, node.cluster_info, node.info))
    assert {"node_unknown", "node_suspected"} == set(codes(ClusterView(tuple(nodes))))


def test_find_problems_replica_out_of_sync_and_state_fail() -> None:
    nodes = [
        Node(n.line, n.seen, {"cluster_state": "fail"}, {**n.info, "master_link_status": "down"}) if n.id == C else n
        for n in healthy(*FULL).nodes
    ]
    assert {"state_fail", "replica_not_linked"} == set(codes(ClusterView(tuple(nodes))))


@pytest.mark.parametrize(
    ("cluster_info", "info", "settings", "expected"),
    [
        (
            {"cluster_guard_state": "fail"},
            {"cluster_guard_leases": "1", "cluster_guard_leases_needed": "2"},
            {},
            ("no_lease", "the leases of 1 sentinels and needs 2"),
        ),
        ({}, {"aof_enabled": "1", "aof_last_write_status": "err"}, {}, ("log_write_failed", "append-only file")),
        ({}, {"rdb_last_bgsave_status": "err"}, {"stop-writes-on-bgsave-error": "yes"}, ("save_failed", "save failed")),
        (
            {},
            {"min_slaves_good_slaves": "0"},
            {"min-replicas-to-write": "1"},
            ("too_few_replicas", "0 of the 1 replicas"),
        ),
        (
            {},
            {"maxmemory": "10", "used_memory": "12", "maxmemory_policy": "noeviction"},
            {},
            ("out_of_memory", "12 of 10 bytes"),
        ),
    ],
)  # fmt: skip
def test_find_problems_primary_that_would_refuse_a_write_says_why(
    cluster_info: dict[str, str], info: dict[str, str], settings: dict[str, str], expected: tuple[str, str]
) -> None:
    sound = healthy(*FULL)
    first = sound.nodes[0]
    sick = Node(first.line, first.seen, {**first.cluster_info, **cluster_info}, {**first.info, **info})
    sick = attrs.evolve(sick, settings=settings)
    (finding,) = find_problems(ClusterView((sick, *sound.nodes[1:])))
    assert (finding.severity, finding.code, finding.nodes) == ("error", expected[0], (A,))
    assert expected[1] in finding.message


@pytest.mark.parametrize(
    ("info", "settings"),
    [
        ({"aof_enabled": "0", "aof_last_write_status": "err"}, {}),
        ({"rdb_last_bgsave_status": "err"}, {"stop-writes-on-bgsave-error": "no"}),
        ({"min_slaves_good_slaves": "1"}, {"min-replicas-to-write": "1"}),
        ({"maxmemory": "10", "used_memory": "12", "maxmemory_policy": "allkeys-lru"}, {}),
        ({"maxmemory": "10", "used_memory": "12", "mem_not_counted_for_evict": "2"}, {}),
        ({"maxmemory": "0", "used_memory": "12", "maxmemory_policy": "noeviction"}, {}),
    ],
)
def test_find_problems_primary_that_takes_writes_is_not_accused(info: dict[str, str], settings: dict[str, str]) -> None:
    sound = healthy(*FULL)
    first = attrs.evolve(sound.nodes[0], info={**sound.nodes[0].info, **info}, settings=settings)
    assert codes(ClusterView((first, *sound.nodes[1:]))) == []


def test_find_problems_stray_keys_are_an_error() -> None:
    view = healthy(*FULL)
    (finding,) = find_problems(view, [Strays(view.nodes[0], SlotSet([9000, 9001]), 1234)])
    assert (finding.severity, finding.code, finding.slots.to_text()) == ("error", "keys_stray", "9000-9001")
    assert "holds 1,234 stray keys, in 2 slots that it does not own" in finding.message


def test_find_problems_primary_that_loads_its_data_is_not_called_dead() -> None:
    sound = healthy(*FULL)
    loads = Node(FULL[0], error="h:1 is still loading its data", loading=True)
    assert codes(ClusterView((loads, *sound.nodes[1:]))) == ["node_loading"]


def test_cluster_view_find_by_id_prefix_port_and_address() -> None:
    view = healthy(*FULL)
    assert view.find("bb").id == B
    assert view.find("h:4").id == R
    assert view.find("1").id == A
    with pytest.raises(UsageMistake, match="no node"):
        view.find("f")
    with pytest.raises(UsageMistake, match="could be any of"):
        healthy(line("ab" * 20, 1), line("ac" * 20, 2)).find("a")


def test_node_describe_unreachable_has_no_invented_numbers() -> None:
    described = healthy(*FULL, down=(A,)).nodes[0].describe()
    assert described["reachable"] is False
    assert described["keys"] is None
    assert described["slots"] == [[0, 8191]]
    assert healthy(*FULL).nodes[0].describe()["keys"] == 5
