"""Tests of ``cluster.links`` and ``cluster.inbound``: handshakes, identities and addresses."""

from __future__ import annotations

import attrs

from slotmesh.cluster.effects import Connect, Disconnect, PersistSoon, RoleChanged
from slotmesh.cluster.events import LinkAccepted, LinkDown, LinkUp, MessageReceived
from slotmesh.cluster.messages import Fail, Meet, Ping, Pong
from slotmesh.cluster.terms import FLAG_PRIMARY
from tests.support.lone_core import TIMEOUT_MS, LoneCore, ip_of, node_id


def stranger(lone: LoneCore, name: str = "X1") -> object:
    return attrs.evolve(lone.header("P9"), sender=node_id(name))


def test_meet_ends_with_the_strangers_real_id_and_role() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.order("meet", ip_of("X1"), 7000, 17000)
    (handshake,) = [m for m in lone.core.view.members if m.in_handshake]
    lone.step(MessageReceived(lone.outgoing("X1"), Pong(attrs.evolve(lone.header("P9"), sender=node_id("X1")))))
    met = lone.member("X1")
    assert met is handshake
    assert not met.in_handshake
    assert not met.must_meet
    assert met.role == FLAG_PRIMARY
    assert lone.wanted(PersistSoon)


def attempts(lone: LoneCore, ms: int) -> int:
    """How often a link to P2 is tried in that time."""
    lone.drain()
    lone.pass_ms(ms, silent=("P2",))
    return sum(connect.ip == ip_of("P2") for connect in lone.wanted(Connect))


def test_member_that_refuses_links_is_tried_less_and_less_often_until_it_calls() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.unreachable.add("P2")
    lone.step(LinkDown(lone.outgoing("P2"), "gone"))
    assert attempts(lone, 1000) <= 5
    assert attempts(lone, 2000) <= 2000 // (TIMEOUT_MS // 4) + 1
    lone.unreachable.clear()
    lone.hear("P2")
    assert attempts(lone, 200) == 1


def test_meet_twice_starts_one_handshake() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.order("meet", "10.9.9.9", 7000, 17000)
    lone.order("meet", "10.9.9.9", 7000, 17000)
    assert sum(m.in_handshake for m in lone.core.view.members) == 1


def test_meet_is_said_again_on_a_new_link_until_it_is_answered() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.order("meet", ip_of("X1"), 7000, 17000)
    handshake = next(m for m in lone.core.view.members if m.in_handshake)
    lone.drain()
    for _ in range(2):
        assert handshake.link is not None
        lone.step(LinkDown(handshake.link.link_id, "closed by the peer", refused=False))
        lone.pass_ms(200, silent=())
        said = [type(message) for name, message in lone.sent_messages if name == "X1"]
        assert said == [Meet]
        lone.drain()


def test_handshake_nobody_answers_is_dropped_and_never_saved() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.order("meet", "10.9.9.9", 7000, 17000)
    assert "10.9.9.9" not in lone.core.state_text()
    lone.pass_ms(TIMEOUT_MS + 300, silent=())
    assert not any(m.in_handshake for m in lone.core.view.members)
    assert lone.wanted(Disconnect)


def test_meeting_a_known_node_only_updates_its_address() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.order("meet", "10.9.9.9", 7000, 17000)
    handshake = next(m for m in lone.core.view.members if m.in_handshake)
    assert handshake.link is not None
    lone.step(MessageReceived(handshake.link.link_id, Pong(lone.header("P2"))))
    assert len(lone.core.view.members) == 6
    assert lone.member("P2").ip == "10.9.9.9"


def test_meeting_ourselves_ends_the_handshake() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.order("meet", "10.9.9.9", 7000, 17000)
    handshake = next(m for m in lone.core.view.members if m.in_handshake)
    assert handshake.link is not None
    lone.step(MessageReceived(handshake.link.link_id, Pong(lone.header("P1"))))
    assert not any(m.in_handshake for m in lone.core.view.members)


def test_meet_of_a_stranger_is_answered_and_starts_a_handshake_back() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.say("X1", Meet(attrs.evolve(lone.header("P9"), sender=node_id("X1"))))
    assert lone.receivers(Pong) == ["X1"]
    assert lone.wanted(Connect)[-1].ip == ip_of("X1")
    assert lone.receivers(Ping) == ["X1"]


def test_ping_of_a_stranger_starts_nothing() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.say("X1", Ping(attrs.evolve(lone.header("P9"), sender=node_id("X1"))))
    assert len(lone.core.view.members) == 6


def test_own_address_is_learned_from_meet_and_kept_on_ping() -> None:
    lone = LoneCore("P1")
    lone.step(LinkAccepted(-100, ip_of("P2"), "192.168.0.7"))
    lone.step(MessageReceived(-100, Ping(lone.header("P2"))))
    assert lone.core.view.myself.ip == ip_of("P1")
    lone.step(MessageReceived(-100, Meet(lone.header("P2"))))
    assert lone.core.view.myself.ip == "192.168.0.7"


def test_announced_address_is_not_overruled_by_sockets() -> None:
    lone = LoneCore("P1", announce_ip="203.0.113.5")
    lone.step(LinkAccepted(-100, ip_of("P2"), "192.168.0.7"))
    lone.step(MessageReceived(-100, Meet(lone.header("P2"))))
    assert lone.core.view.myself.ip == "203.0.113.5"


def test_wrong_node_at_an_address_costs_the_member_its_address() -> None:
    lone = LoneCore("P1")
    lone.greet()
    link = lone.outgoing("P2")
    lone.step(MessageReceived(link, Pong(attrs.evolve(lone.header("P9"), sender=node_id("X1"), config_epoch=99))))
    member = lone.member("P2")
    assert member.no_address
    assert (member.ip, member.config_epoch) == ("", 2)
    assert Disconnect(link) in lone.effects


def test_member_without_address_gets_one_with_its_next_ping() -> None:
    lone = LoneCore("P1")
    lone.greet()
    link = lone.outgoing("P2")
    lone.step(MessageReceived(link, Pong(attrs.evolve(lone.header("P9"), sender=node_id("X1")))))
    lone.hear("P2")
    assert not lone.member("P2").no_address
    assert lone.member("P2").ip == ip_of("P2")


def test_changed_port_in_a_ping_moves_the_member_and_reconnects() -> None:
    lone = LoneCore("P1")
    lone.greet()
    before = lone.outgoing("P2")
    lone.hear("P2", port=7777, cport=17777)
    assert (lone.member("P2").port, lone.member("P2").cport) == (7777, 17777)
    assert Disconnect(before) in lone.effects
    lone.pass_ms(200)
    assert lone.wanted(Connect)[-1].cport == 17777


def test_primary_that_moved_is_replicated_at_its_new_address() -> None:
    lone = LoneCore("R1")
    lone.greet()
    lone.hear("P1", ip="10.7.7.7")
    (change,) = lone.wanted(RoleChanged)
    assert change.primary_address is not None
    assert (change.primary_address.ip, change.why) == ("10.7.7.7", "address")


def test_second_link_of_a_member_replaces_the_first() -> None:
    lone = LoneCore("P1")
    lone.hear("P2")
    first = lone.inbound("P2")
    lone.step(LinkAccepted(-50, ip_of("P2"), ip_of("P1")))
    lone.step(MessageReceived(-50, Ping(lone.header("P2"))))
    assert Disconnect(first) in lone.effects
    inbound = lone.member("P2").inbound
    assert inbound is not None
    assert inbound.link_id == -50


def test_message_on_a_link_closed_meanwhile_is_ignored() -> None:
    lone = LoneCore("P1")
    lone.hear("P2")
    link = lone.inbound("P2")
    lone.step(LinkDown(link, "reset"))
    lone.step(LinkDown(link, "again"))
    lone.step(LinkUp(link))
    lone.step(MessageReceived(link, Fail(lone.header("P2"), node_id("P3"))))
    assert not lone.member("P3").failed


def test_ping_time_survives_a_reconnect_so_that_silence_adds_up() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.pass_ms(700)
    sent_ms = lone.member("P2").ping_sent_ms
    assert sent_ms
    lone.step(LinkDown(lone.outgoing("P2"), "reset"))
    lone.pass_ms(200)
    assert lone.member("P2").ping_sent_ms == sent_ms
