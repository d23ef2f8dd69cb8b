"""What a stranger or a liar on the bus must not achieve: absurd epochs, look-ups of names, endless tables."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from slotmesh.cluster.addresses import is_ip, normal_ip
from slotmesh.cluster.core import ClusterCore
from slotmesh.cluster.effects import Connect, Disconnect
from slotmesh.cluster.epochs import CREDIBLE_STEP, MOST_CREDIBLE_EPOCH
from slotmesh.cluster.errors import ClusterRefusal
from slotmesh.cluster.events import LinkAccepted
from slotmesh.cluster.guard import Fence
from slotmesh.cluster.links import MAX_HANDSHAKES, MAX_STRANGERS
from slotmesh.cluster.members import MAX_FORGOTTEN, MAX_MEMBERS, Members
from slotmesh.cluster.messages import AuthRequest, Fail, GossipEntry, Header, Meet, Ping, Pong, Update
from slotmesh.cluster.numbers import INT64_MAX
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.terms import FLAG_PRIMARY, FLAG_REPLICA
from tests.support.lone_core import LoneCore, node_id

STRANGER = "f" * 40


def stranger_says(lone: LoneCore, kind: Any, **changes: Any) -> None:
    header = Header(sender=STRANGER, port=7000, cport=17000, flags=FLAG_PRIMARY)
    lone.say("X9", kind(attrs.evolve(header, **changes)))


def handshakes(lone: LoneCore) -> list[str]:
    return [member.ip for member in lone.core.view.members if member.in_handshake]


# Epochs


@pytest.mark.parametrize("field", ["current_epoch", "config_epoch"])
@pytest.mark.parametrize("epoch", [MOST_CREDIBLE_EPOCH + 1, INT64_MAX, 2**64 - 1])
def test_epoch_out_of_range_costs_the_link_and_changes_nothing(field: str, epoch: int) -> None:
    lone = LoneCore("P1")
    lone.greet()
    before = lone.core.state_text()
    lone.say("P2", Ping(lone.header("P2", **{field: epoch})))
    violations = [e.violation for e in lone.effects if isinstance(e, Disconnect) and e.violation]
    assert violations == ["epoch out of range"]
    assert lone.core.state_text() == before


def test_update_with_an_epoch_out_of_range_changes_nothing() -> None:
    lone = LoneCore("P1")
    lone.greet()
    before = lone.core.state_text()
    lone.say("P2", Update(lone.header("P2"), node_id("P3"), 2**64 - 1, SlotSet.from_range(0, 16383)))
    assert lone.core.state_text() == before


def test_cluster_that_was_told_the_greatest_epoch_can_still_count_on() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.say("P2", Ping(lone.header("P2", current_epoch=MOST_CREDIBLE_EPOCH, config_epoch=MOST_CREDIBLE_EPOCH)))
    lone.say("P3", Ping(lone.header("P3", current_epoch=MOST_CREDIBLE_EPOCH + 1)))
    assert lone.core.view.epochs.current_epoch == MOST_CREDIBLE_EPOCH + 1
    lone.say("P3", Ping(lone.header("P3", current_epoch=MOST_CREDIBLE_EPOCH + 2 + CREDIBLE_STEP)))
    assert lone.core.view.epochs.current_epoch == MOST_CREDIBLE_EPOCH + 1
    again = ClusterCore(lone.core.view.config, lone.core.view.rng, lone.now_ms, lone.core.state_text())
    assert again.view.epochs.current_epoch == MOST_CREDIBLE_EPOCH + 1


def test_orders_with_an_epoch_out_of_range_are_refused() -> None:
    alone = LoneCore("P1", primaries=1, replicas=0)
    with pytest.raises(ClusterRefusal, match="Invalid config epoch specified"):
        alone.order("set_config_epoch", MOST_CREDIBLE_EPOCH + 1)
    replica = LoneCore("R1")
    for fence in (Fence(INT64_MAX, 5), Fence(5, INT64_MAX)):
        with pytest.raises(ClusterRefusal, match="Invalid config epoch specified"):
            replica.order("failover", takeover=True, fence=fence)


# Addresses


@pytest.mark.parametrize("text", ["localhost", "a.example", "10.1", "", "1" * 46, "::1 ", "fe80::1%a b", "0x7f.1", "²"])
def test_what_is_no_ip_address(text: str) -> None:
    assert not is_ip(text)


def test_ip_address_in_its_usual_form() -> None:
    assert normal_ip("2001:DB8:0::1") == "2001:db8::1"
    assert normal_ip("fe80::1%eth0") == "fe80::1%eth0"
    assert is_ip("10.0.0.1")


def test_meet_that_announces_a_name_is_ignored() -> None:
    lone = LoneCore("P1")
    stranger_says(lone, Meet, ip="localhost")
    assert handshakes(lone) == []
    stranger_says(lone, Meet, ip="10.3.3.3")
    assert handshakes(lone) == ["10.3.3.3"]


def test_names_in_gossip_and_headers_are_never_connected_to() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.drain()
    lone.hear("P2", GossipEntry(STRANGER, 0, 1, "evil.example", 7000, 17000, FLAG_PRIMARY))
    lone.hear("P2", lone.about("P3", "fail", ip="evil.example"))
    lone.say("P3", Ping(lone.header("P3", ip="evil.example", port=7001)))
    assert all(is_ip(effect.ip) for effect in lone.effects if isinstance(effect, Connect))
    assert lone.member("P3").port == 7001
    assert is_ip(lone.member("P3").ip)


# Strangers


def test_stranger_changes_nothing_but_by_meet() -> None:
    lone = LoneCore("P1")
    lone.greet()
    before = lone.core.state_text()
    all_slots = SlotSet.from_range(0, 16383)
    stranger_says(lone, Ping, slots=all_slots, config_epoch=99, current_epoch=99)
    stranger_says(lone, AuthRequest, slots=all_slots, config_epoch=99, current_epoch=99)
    lone.say("X9", Fail(Header(sender=STRANGER, port=1), node_id("P2")))
    lone.say("X9", Update(Header(sender=STRANGER, port=1), node_id("P2"), 99, all_slots))
    assert lone.core.state_text() == before


def test_id_of_a_handshake_says_nothing() -> None:
    """CLUSTER NODES shows the made-up ids of handshakes to everybody."""
    lone = LoneCore("P1")
    lone.greet()
    lone.unreachable.add("X9")
    lone.order("meet", "10.3.3.3", 7000, 17000)
    (made_up,) = [member.node_id for member in lone.core.view.members if member.in_handshake]
    before = lone.core.state_text()
    all_slots = SlotSet.from_range(0, 16383)
    header = Header(sender=made_up, port=7000, cport=17000, flags=FLAG_PRIMARY, config_epoch=99, slots=all_slots)
    lone.say("X9", Ping(header))
    lone.say("P2", Update(lone.header("P2"), made_up, 99, all_slots))
    lone.say("P2", Ping(lone.header("P2", flags=FLAG_REPLICA, slots=SlotSet(), primary_id=made_up)))
    assert not any(member.slots for member in lone.core.view.members if member.in_handshake)
    assert lone.member("P2").primary is None
    assert before.splitlines()[0] == lone.core.state_text().splitlines()[0]


def test_handshake_that_answers_with_a_made_up_id_is_dropped() -> None:
    lone = LoneCore("P1")
    lone.order("meet", "10.0.3.9", 7000, 17000)
    (member,) = [member for member in lone.core.view.members if member.in_handshake]
    assert member.link is not None
    lone.say("X9", Pong(Header(sender=member.node_id, port=7000, cport=17000, flags=1)), link=member.link.link_id)
    assert handshakes(lone) == []


def test_node_that_answers_with_both_roles_is_saved_as_none_of_them() -> None:
    lone = LoneCore("P1")
    lone.order("meet", "10.0.3.9", 7000, 17000)
    (member,) = [member for member in lone.core.view.members if member.in_handshake]
    assert member.link is not None
    answer = Header(sender=STRANGER, port=7000, cport=17000, flags=FLAG_PRIMARY | FLAG_REPLICA, primary_id="0" * 40)
    lone.say("X9", Pong(answer), link=member.link.link_id)
    text = lone.core.state_text()
    ClusterCore(lone.core.view.config, lone.core.view.rng, lone.now_ms, text)


# Tables


def test_links_of_strangers_are_bounded_and_the_oldest_makes_room() -> None:
    lone = LoneCore("P1")
    lone.greet()
    for number in range(1000, 1001 + MAX_STRANGERS):
        lone.core.step(lone.now_ms, LinkAccepted(-number, "10.9.9.9", "10.0.0.1"))
    closed = [effect.link for effect in lone.core.take_effects() if isinstance(effect, Disconnect)]
    assert closed == [-1000]


def test_handshakes_of_strangers_are_bounded() -> None:
    lone = LoneCore("P1", primaries=1, replicas=0)
    view = lone.core.view
    for number in range(MAX_HANDSHAKES + 5):
        lone.core._links.start_handshake("10.9.9.9", 7000, 10_000 + number, meet=False)
    assert sum(member.in_handshake for member in view.members) == MAX_HANDSHAKES


def test_members_made_up_in_gossip_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slotmesh.cluster.members.MAX_MEMBERS", 20)
    lone = LoneCore("P1")
    lone.greet()
    entries = tuple(GossipEntry(f"{n:040x}", 0, 1, "10.8.8.8", 1, 1, FLAG_PRIMARY) for n in range(100))
    lone.hear("P2", *entries)
    assert len(lone.core.view.members) == 20
    assert MAX_MEMBERS < 2**16, "the wire counts gossip entries in 16 bits"


def test_barred_ids_are_bounded() -> None:
    members = Members(LoneCore("P1").core.view.myself)
    for number in range(MAX_FORGOTTEN + 10):
        members.forget(f"{number:040x}", 100)
    assert len(members.forgotten(0)) == MAX_FORGOTTEN
