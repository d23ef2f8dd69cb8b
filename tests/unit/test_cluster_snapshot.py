"""Tests of ``cluster.snapshot`` and ``cluster.reports``: the live state written down, restored, and reported."""

from __future__ import annotations

import pytest

from slotmesh.cluster import reports
from slotmesh.cluster.core import ClusterCore
from slotmesh.cluster.guard import Fence
from slotmesh.cluster.messages import Extensions, Fail, Ping
from slotmesh.cluster.slot_set import NO_SLOTS, SlotSet
from slotmesh.cluster.state_file import StateFileError
from slotmesh.cluster.terms import FLAG_PRIMARY, MESSAGE_EXTENSIONS
from tests.support.lone_core import TIMEOUT_MS, LoneCore, node_id

P1, P2, P3, R1 = (node_id(name) for name in ("P1", "P2", "P3", "R1"))


def restart(lone: LoneCore, text: str) -> ClusterCore:
    return ClusterCore(lone.core.view.config, lone.core.view.rng, lone.now_ms, text)


def test_state_restored_and_saved_again_is_the_same() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.order("set_slot_migrating", 1, P2)
    lone.order("set_slot_importing", 8000, P2)
    text = lone.core.state_text()
    again = restart(lone, text)
    mine = [line for line in text.splitlines() if "myself" in line or line.startswith("vars")]
    restored = [line for line in again.state_text().splitlines() if "myself" in line or line.startswith("vars")]
    assert restored == mine
    assert again.view.slots.owners == [
        again.view.members.get(o.node_id) if o else None for o in lone.core.view.slots.owners
    ]
    assert again.view.myself.shard_id == lone.core.view.myself.shard_id


def test_restored_replica_knows_its_primary_and_has_no_epoch_of_its_own() -> None:
    lone = LoneCore("R1")
    core = restart(lone, lone.core.state_text())
    assert core.view.myself.primary is core.view.members.get(P1)
    assert core.view.myself.config_epoch == 0
    assert core.view.myself.told_epoch == 1


def test_failure_flags_are_restored_with_a_fresh_time() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.say("P3", Fail(lone.header("P3"), P2))
    lone.now_ms += 1000
    core = restart(lone, lone.core.state_text())
    member = core.view.members.get(P2)
    assert member is not None
    assert member.failed
    assert member.failed_since_ms == lone.now_ms


def test_own_vars_are_restored_and_foreign_ones_kept() -> None:
    lone = LoneCore("R2", variables={"someday": "12", "shardId": "7" * 40})
    lone.order("failover", takeover=True, fence=Fence(epoch=9))
    text = lone.core.state_text()
    assert text.splitlines()[-1] == f"vars currentEpoch 4 lastVoteEpoch 0 someday 12 shardId {'7' * 40} fenceEpoch 9"
    assert restart(lone, text).state_text().splitlines()[-1] == text.splitlines()[-1]


def test_file_with_name_value_pairs_stays_in_that_form() -> None:
    lone = LoneCore("P1")
    text = lone.core.state_text().replace("@17000 ", f"@17000,,shard-id={'7' * 40} ")
    core = restart(lone, text)
    assert core.view.myself.shard_id == "7" * 40
    saved = core.state_text()
    assert saved.count(f",,shard-id={'7' * 40} ") == 6
    assert "shardId" not in saved


def test_current_epoch_is_never_less_than_a_config_epoch_of_the_file() -> None:
    lone = LoneCore("P1")
    core = restart(lone, lone.core.state_text().replace("currentEpoch 3", "currentEpoch 1"))
    assert core.view.epochs.current_epoch == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [("myself,", ""), ("master - 0 0 2", "myself,master - 0 0 2"), ("lastVoteEpoch 0", "lastVoteEpoch 0 fenceEpoch x")],
)
def test_file_that_makes_no_sense_is_refused(old: str, new: str) -> None:
    lone = LoneCore("P1")
    text = lone.core.state_text().replace(" connected", " x").replace(" disconnected", " x")
    assert old in text
    with pytest.raises(StateFileError):
        restart(lone, text.replace(old, new))


# Reports


def test_nodes_text_has_a_line_per_node_as_in_stock() -> None:
    lone = LoneCore("P1")
    lone.pass_ms(100)
    lone.answer("P2", slots=lone.share("P2"))
    lines = {line[:40]: line[41:] for line in reports.nodes_text(lone.core.view).splitlines()}
    assert lines[P1] == "10.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-5460"
    assert lines[P2] == f"10.0.0.2:7000@17000 master - 0 {lone.now_ms} 2 connected 5461-10921"
    assert lines[R1].startswith(f"10.0.1.1:7000@17000 slave {P1} ")
    assert lines[R1].endswith(" 1 connected")


def test_nodes_text_shows_handshakes_but_the_file_does_not() -> None:
    lone = LoneCore("P1")
    lone.order("meet", "10.9.9.9", 7000, 17000)
    assert "10.9.9.9:7000@17000 handshake - " in reports.nodes_text(lone.core.view)
    assert "10.9.9.9" not in lone.core.state_text()


def test_nodes_text_for_clients_without_tls_shows_the_second_port() -> None:
    lone = LoneCore("P1", pport=6999, tls_cluster=True)
    assert "10.0.0.1:6999@17000" in reports.nodes_text(lone.core.view, plain_port=True)
    assert "10.0.0.1:7000@17000" in reports.nodes_text(lone.core.view)


def test_slot_ranges_are_ascending_and_list_replicas_that_have_data() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.core.view.slots.assign(SlotSet([100]), lone.member("P3"))
    lone.hear("R1", offset=0)
    found = [
        (r.first, r.last, r.primary.node_id, [m.node_id for m in r.replicas])
        for r in reports.slot_ranges(lone.core.view)
    ]
    assert found == [
        (0, 99, P1, []),
        (100, 100, P3, [node_id("R3")]),
        (101, 5460, P1, []),
        (5461, 10921, P2, [node_id("R2")]),
        (10922, 16383, P3, [node_id("R3")]),
    ]


def test_shards_have_their_primary_first_and_the_health_of_each_node() -> None:
    lone = LoneCore("P1")
    lone.greet()
    header = lone.header("P2", message_flags=MESSAGE_EXTENSIONS)
    lone.say("P2", Ping(header, (), Extensions(shard_id="7" * 40)))
    lone.say("P3", Fail(lone.header("P3"), node_id("R2")))
    shards = reports.shards(lone.core.view)
    assert [shard.nodes[0].node_id for shard in shards] == [P1, P2, P3]
    assert shards[1].shard_id == "7" * 40
    assert [reports.health_of(lone.core.view, member) for member in shards[1].nodes] == ["online", "fail"]
    lone.hear("R1", offset=0)
    assert reports.health_of(lone.core.view, lone.member("R1")) == "loading"
    assert shards[0].slots == lone.share("P1")


def test_shards_of_one_id_are_one_entry_with_the_owner_of_the_slots_first() -> None:
    lone = LoneCore("P1")
    lone.greet()
    for name in ("P2", "R2"):
        header = lone.header(name, message_flags=MESSAGE_EXTENSIONS)
        lone.say(name, Ping(header, (), Extensions(shard_id="7" * 40)))
    lone.say("P3", Fail(lone.header("P3"), P2))
    promoted = lone.header("R2", flags=FLAG_PRIMARY, primary_id="", config_epoch=9, slots=lone.share("P2"))
    lone.say("R2", Ping(promoted))
    assert len(reports.shards(lone.core.view)) == 4
    shards = reports.shards_by_id(lone.core.view)
    assert [[node.node_id for node in shard.nodes] for shard in shards if shard.shard_id == "7" * 40] == [
        [node_id("R2"), P2]
    ]
    assert [shard.slots for shard in shards] == [lone.share("P1"), lone.share("P2"), lone.share("P3")]


def test_links_list_both_directions_of_known_members() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.hear("P2")
    found = reports.links(lone.core.view)
    assert sorted(link.inbound for link in found) == [False] * 5 + [True]
    assert all(link.member is not None for link in found)


def test_info_counts_slots_by_health_and_messages_by_type() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.pass_ms(2 * TIMEOUT_MS, silent=("P3",))
    lone.say("R1", Fail(lone.header("R1"), P2))
    info = dict(reports.info_fields(lone.core.view))
    share = {name: len(lone.share(name)) for name in ("P1", "P2", "P3")}
    assert info["cluster_state"] == "fail"
    assert info["cluster_slots_assigned"] == 16384
    assert info["cluster_slots_ok"] == share["P1"]
    assert info["cluster_slots_pfail"] == share["P3"]
    assert info["cluster_slots_fail"] == share["P2"]
    assert (info["cluster_known_nodes"], info["cluster_size"]) == (6, 3)
    assert (info["cluster_current_epoch"], info["cluster_my_epoch"]) == (3, 1)
    assert info["cluster_stats_messages_fail_received"] == 1
    assert info["cluster_stats_messages_sent"] == sum(
        int(value) for name, value in info.items() if name.endswith("_sent") and name.count("_") == 4
    )
    assert "cluster_stats_messages_update_sent" not in info
    assert dict(reports.info_fields(LoneCore("R2").core.view))["cluster_my_epoch"] == 2
    assert lone.member("R1").slots == NO_SLOTS
