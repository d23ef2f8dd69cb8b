"""Tests of ``cluster.gossip`` and ``cluster.heartbeat``: what heartbeats carry and what is learned from them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from slotmesh.cluster.gossip import OWN_LINK_FACTOR
from slotmesh.cluster.heartbeat import MIN_GOSSIP_ENTRIES, NEWS_MS
from slotmesh.cluster.messages import Extensions, ForgottenNode, GossipEntry, Meet, Ping, Pong
from slotmesh.cluster.terms import FLAG_HANDSHAKE, FLAG_NOADDR, FLAG_PFAIL, MESSAGE_EXTENSIONS
from tests.support.lone_core import START_MS, TIMEOUT_MS, LoneCore, ip_of, node_id


def latest_pong(lone: LoneCore, name: str = "P2") -> Pong:
    lone.drain()
    lone.hear(name)
    (pong,) = lone.sent(Pong, to=name)
    return pong


def test_ping_is_answered_with_a_pong_that_describes_us() -> None:
    lone = LoneCore("P1")
    lone.greet()
    header = latest_pong(lone).header
    assert header.sender == node_id("P1")
    assert (header.port, header.cport) == (7000, 17000)
    assert header.slots == lone.share("P1")
    assert (header.config_epoch, header.current_epoch) == (1, 3)
    assert header.primary_id == ""


def test_replica_tells_slots_and_epoch_of_its_primary() -> None:
    lone = LoneCore("R2")
    lone.greet()
    lone.replicate_to(4711)
    header = latest_pong(lone, "P1").header
    assert header.primary_id == node_id("P2")
    assert header.slots == lone.share("P2")
    assert (header.config_epoch, header.offset) == (2, 4711)


def test_gossip_holds_three_others_of_a_small_cluster_and_never_ends_of_the_link() -> None:
    lone = LoneCore("P1", primaries=4)
    lone.greet()
    for _ in range(20):
        entries = latest_pong(lone).gossip
        ids = [entry.node_id for entry in entries]
        assert len(ids) == len(set(ids)) == 3
        assert node_id("P1") not in ids
        assert node_id("P2") not in ids


def test_gossip_over_time_mentions_everybody() -> None:
    lone = LoneCore("P1", primaries=4)
    lone.greet()
    seen = {entry.node_id for _ in range(40) for entry in latest_pong(lone).gossip}
    assert seen == {node_id(name) for name in lone.others() if name != "P2"}


def test_gossip_holds_a_tenth_of_a_large_cluster() -> None:
    lone = LoneCore("P1", primaries=9, replicas=2)
    for number in range(30):
        lone.hear("P2", GossipEntry(f"{number:040x}", 0, 0, f"10.9.0.{number}", 7000, 17000, 1))
    assert len(lone.core.view.members) == 57
    lone.now_ms += NEWS_MS
    assert len(latest_pong(lone).gossip) == 5


def test_suspects_are_added_to_every_heartbeat() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.pass_ms(2 * TIMEOUT_MS, silent=("P3", "R3"))
    entries = latest_pong(lone).gossip
    suspects = [entry.node_id for entry in entries if entry.flags & FLAG_PFAIL]
    assert suspects == [node_id("P3"), node_id("R3")]
    assert len(entries) == 2 + 2


def test_unreachable_member_without_slots_is_not_mentioned() -> None:
    lone = LoneCore("P1", primaries=2)
    lone.greet()
    lone.member("R1").link = None
    assert node_id("R1") not in {entry.node_id for _ in range(20) for entry in latest_pong(lone).gossip}


def test_unknown_node_in_gossip_of_a_member_is_added_and_connected() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.hear("P2", lone.about("X1"))
    assert lone.member("X1").ip == ip_of("X1")
    assert lone.receivers(Ping)[-1] == "X1"


def test_unknown_node_without_address_in_handshake_or_forgotten_is_not_added() -> None:
    lone = LoneCore("P1")
    lone.greet()
    for flags in (FLAG_NOADDR, FLAG_HANDSHAKE):
        lone.hear("P2", lone.about("X1", flags=flags))
    lone.hear("P2", lone.about("X1", ip=""))
    lone.core.view.members.forget(node_id("X1"), lone.now_ms + 60_000)
    lone.hear("P2", lone.about("X1"))
    assert not lone.knows("X1")


def test_stranger_is_answered_but_its_gossip_is_not_believed() -> None:
    lone = LoneCore("P1")
    lone.greet()
    stranger = attrs.evolve(lone.header("P2"), sender=node_id("X1"))
    lone.say("X1", Ping(stranger, (lone.about("X1", node_id="9" * 40),)))
    assert lone.receivers(Pong) == ["X1"]
    assert len(lone.core.view.members) == 6


@pytest.mark.parametrize(("settings", "pinged"), [({}, False), ({"ping_interval_ms": 300}, True)])
def test_every_member_is_pinged_once_its_answer_is_a_ping_interval_old(settings: dict[str, Any], pinged: bool) -> None:
    lone = LoneCore("P1", **settings)
    lone.greet()
    lone.drain()
    lone.pass_ms(400, silent=())
    assert (set(lone.receivers(Ping)) == set(lone.others())) is pinged
    lone.pass_ms(100, silent=())
    assert set(lone.receivers(Ping)) == set(lone.others())


def test_new_member_is_gossiped_to_everybody_for_a_while() -> None:
    lone = LoneCore("P1", primaries=9)
    lone.greet()
    lone.hear("P2", lone.about("X1"))
    for _ in range(5):
        lone.hear("P3")
        assert node_id("X1") in [entry.node_id for entry in latest_pong(lone).gossip]
    lone.pass_ms(NEWS_MS + 1000, silent=("X1",))
    told = set()
    for _ in range(5):
        lone.hear("P3")
        told.add(len(latest_pong(lone).gossip))
    assert max(told) <= MIN_GOSSIP_ENTRIES + 1, "chosen by chance again, and those that may be failing"


def test_member_that_pings_is_not_pinged_but_our_link_to_it_is_tried_now_and_then() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.pass_ms(500, silent=())
    lone.drain()
    tried_ms: list[int] = []
    for _ in range(3 * OWN_LINK_FACTOR):
        lone.hear("P2")
        lone.pass_ms(TIMEOUT_MS // 4, silent=())
        if "P2" in lone.receivers(Ping):
            tried_ms.append(lone.now_ms)
            assert "P3" in lone.receivers(Ping)
        lone.drain()
    assert len(tried_ms) == 1


def test_ping_of_one_that_owes_an_answer_is_none() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.pass_ms(600)
    asked_ms = lone.member("P2").ping_sent_ms
    lone.hear("P2")
    assert lone.member("P2").ping_sent_ms == asked_ms > lone.member("P2").pong_received_ms


def test_newer_sign_of_life_in_gossip_saves_a_ping() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.hear("P2")
    member = lone.member("P3")
    before = member.pong_received_ms
    lone.now_ms += 3000
    lone.hear("P2", lone.about("P3"))
    assert member.pong_received_ms > before
    lone.hear("P2", lone.about("P3", pong_received_s=lone.now_ms // 1000 + 5))
    assert member.pong_received_ms <= lone.now_ms


def test_new_address_of_an_unreachable_member_is_taken_from_gossip() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.hear("P2", lone.about("P3", ip="10.0.2.3"))
    assert lone.member("P3").ip == ip_of("P3")
    lone.member("P3").pfail = True
    lone.hear("P2", lone.about("P3", ip="10.0.2.3"))
    assert lone.member("P3").ip == "10.0.2.3"


def test_extensions_go_only_to_those_that_understand_them() -> None:
    lone = LoneCore("P1", announce_hostname="one.example.org", announce_human_nodename="one")
    lone.greet()
    assert latest_pong(lone).extensions == Extensions(hostname="one.example.org")
    lone.hear("P2", message_flags=MESSAGE_EXTENSIONS)
    lone.drain()
    lone.hear("P2", message_flags=MESSAGE_EXTENSIONS)
    (pong,) = lone.sent(Pong)
    assert pong.extensions.human_nodename == "one"
    assert pong.extensions.shard_id == lone.core.view.myself.shard_id != ""


def test_extensions_of_a_member_are_remembered_and_its_replicas_share_its_shard() -> None:
    lone = LoneCore("P1")
    lone.greet()
    header = lone.header("P2", message_flags=MESSAGE_EXTENSIONS)
    lone.say("P2", Ping(header, (), Extensions("two.example.org", "two", "7" * 40)))
    assert lone.member("P2").hostname == "two.example.org"
    assert lone.member("P2").shard_id == lone.member("R2").shard_id == "7" * 40
    lone.hear("P2")
    assert lone.member("P2").hostname == ""
    assert lone.member("P2").shard_id == "7" * 40


def test_forgotten_node_is_forgotten_here_too_but_not_our_primary() -> None:
    lone = LoneCore("R1")
    lone.greet()
    gone = Extensions(forgotten=(ForgottenNode(node_id("R3"), 50), ForgottenNode(node_id("P1"), 50)))
    lone.say("P2", Ping(lone.header("P2", message_flags=MESSAGE_EXTENSIONS), (), gone))
    assert not lone.knows("R3")
    assert lone.knows("P1")
    lone.hear("P2", lone.about("R3"))
    assert not lone.knows("R3")
    lone.now_ms += 51_000
    lone.hear("P2", lone.about("R3"))
    assert lone.knows("R3")


def test_node_with_slots_is_not_forgotten_on_hearsay() -> None:
    lone = LoneCore("P1")
    lone.greet()
    gone = Extensions(forgotten=(ForgottenNode(node_id("P3"), 600),))
    lone.say("P2", Ping(lone.header("P2", message_flags=MESSAGE_EXTENSIONS), (), gone))
    assert lone.member("P3").slots == lone.share("P3")
    lone.order("forget", node_id("P3"))
    assert not lone.knows("P3")


def test_forgotten_node_is_barred_for_no_longer_than_by_an_order() -> None:
    lone = LoneCore("P1")
    lone.greet()
    gone = Extensions(forgotten=(ForgottenNode(node_id("R3"), 2**64 - 1),))
    lone.say("P2", Ping(lone.header("P2", message_flags=MESSAGE_EXTENSIONS), (), gone))
    lone.now_ms += 60_001
    lone.hear("P2", lone.about("R3"))
    assert lone.knows("R3")


def test_meet_is_sent_by_meet_only_and_times_are_whole_seconds() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.order("meet", ip_of("X1"), 7000, 17000)
    assert lone.receivers(Meet) == ["X1"]
    entry = latest_pong(lone).gossip[0]
    assert entry.pong_received_s == START_MS // 1000
