"""Tests of ``cluster.open_slots``: replicas know which slots their primary is moving, and a successor goes on."""

from __future__ import annotations

import attrs

from slotmesh.cluster.effects import Persist
from slotmesh.cluster.messages import Extensions, Header, OpenSlots, Ping, Pong
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.terms import FLAG_PRIMARY, MESSAGE_EXTENSIONS, MESSAGE_SHARES_OPEN_SLOTS
from tests.support.lone_core import LoneCore, node_id

OURS = MESSAGE_EXTENSIONS | MESSAGE_SHARES_OPEN_SLOTS
MOVE = OpenSlots(((5, node_id("P2")),), ((6000, node_id("P2")), (12000, node_id("P3"))))
NONE = OpenSlots()


def started(me: str, *, stock: tuple[str, ...] = ()) -> LoneCore:
    """All members are known, and of ours but for ``stock``."""
    lone = LoneCore(me)
    lone.greet()
    for name in lone.others():
        lone.hear(name, message_flags=MESSAGE_EXTENSIONS if name in stock else OURS)
    lone.drain()
    return lone


def tell(lone: LoneCore, name: str, opened: OpenSlots, **changes: object) -> None:
    """``name`` states the open slots of its shard."""
    header: Header = lone.header(name, message_flags=OURS, **changes)
    lone.say(name, Ping(header, (), Extensions(open_slots=opened)))


def said_last(lone: LoneCore) -> OpenSlots:
    """What the core stated last to R1, without its number."""
    told = lone.sent(Pong, to="R1")[-1].extensions.open_slots
    assert told is not None
    return attrs.evolve(told, number=0)


def opened(lone: LoneCore) -> OpenSlots:
    return lone.core.view.slots.opened()


def test_primary_tells_its_replica_at_once_and_nobody_else() -> None:
    lone = started("P1")
    lone.order("set_slot_migrating", 5, node_id("P2"))
    lone.order("set_slot_importing", 6000, node_id("P2"))
    assert said_last(lone) == OpenSlots(((5, node_id("P2")),), ((6000, node_id("P2")),))
    assert set(lone.receivers(Pong)) == {"R1"}
    lone.order("set_slot_stable", 5)
    lone.order("set_slot_stable", 6000)
    assert said_last(lone) == NONE
    lone.drain()
    lone.pass_ms(2000, silent=())
    assert lone.sent(Ping, to="R1")[0].extensions.open_slots is not None, "said in every heartbeat"
    assert {ping.extensions.open_slots for ping in lone.sent(Ping, to="P2")} == {None}


def test_stock_replica_is_told_nothing() -> None:
    lone = started("P1", stock=("R1",))
    lone.order("set_slot_migrating", 5, node_id("P2"))
    assert lone.sent_messages == []
    lone.pass_ms(2000, silent=())
    assert {ping.extensions.open_slots for ping in lone.sent(Ping, to="R1")} == {None}


def test_replica_takes_over_what_its_primary_says_saves_it_and_confirms() -> None:
    lone = started("R1")
    tell(lone, "P1", attrs.evolve(MOVE, number=7))
    assert opened(lone) == MOVE
    assert f"[5->-{node_id('P2')}]" in lone.wanted(Persist)[-1].text
    assert lone.sent(Pong, to="P1")[-1].extensions.open_slots == attrs.evolve(MOVE, number=7)
    lone.drain()
    tell(lone, "P1", attrs.evolve(MOVE, number=7))
    assert lone.wanted(Persist) == []
    tell(lone, "P1", NONE)
    assert opened(lone) == NONE


def test_word_of_another_primary_or_of_nobody_changes_nothing() -> None:
    lone = started("R1")
    tell(lone, "P1", MOVE)
    tell(lone, "P2", NONE)
    lone.hear("P1", message_flags=OURS)
    assert opened(lone) == MOVE
    primary = started("P1")
    tell(primary, "R1", MOVE, slots=primary.share("P1"))
    assert opened(primary) == NONE


def test_node_that_is_not_known_yet_is_left_out_until_it_is() -> None:
    lone = started("R1")
    tell(lone, "P1", OpenSlots(((5, node_id("X1")), (6, node_id("P2"))), number=7))
    assert opened(lone) == OpenSlots(((6, node_id("P2")),))
    assert lone.core.view.open_slots_number == 0, "so it is not confirmed"


def test_open_slots_survive_a_restart_of_the_replica() -> None:
    lone = started("R1")
    tell(lone, "P1", MOVE)
    again = LoneCore("R1")
    again.core = type(lone.core)(lone.core.view.config, lone.core.view.rng, lone.now_ms, lone.core.state_text())
    assert opened(again) == MOVE


def test_primary_knows_when_its_replicas_know() -> None:
    lone = started("P1")
    agree = lone.core.open_slots.replicas_agree
    said = NONE

    def confirm(**changes: object) -> None:
        nonlocal said
        said = lone.sent(Pong, to="R1")[-1].extensions.open_slots or NONE
        tell(lone, "R1", said, **changes)

    lone.order("set_slot_migrating", 5, node_id("P2"))
    assert not agree()
    confirm()
    assert agree()
    before = said
    lone.order("set_slot_node", 5, node_id("P2"), keys_in_slot=0)
    confirm()
    assert not agree(), "it does not know the new owner yet"
    confirm(slots=lone.share("P1") - SlotSet([5]))
    assert agree()
    lone.order("set_slot_importing", 5, node_id("P2"))
    lone.order("set_slot_stable", 5)
    tell(lone, "R1", before, slots=lone.share("P1") - SlotSet([5]))
    assert not agree(), "what it knew before was the same, but it has not heard of either order"
    lone.member("R1").pfail = True
    assert agree(), "who is suspected is not waited for"


def test_stock_replica_is_not_waited_for() -> None:
    stock = started("P1", stock=("R1",))
    stock.order("set_slot_migrating", 5, node_id("P2"))
    assert stock.core.open_slots.replicas_agree()


def test_numbers_of_statements_rise_over_a_restart() -> None:
    lone = started("P1")
    lone.order("set_slot_migrating", 5, node_id("P2"))
    lone.order("set_slot_stable", 5)
    first, second = (pong.extensions.open_slots for pong in lone.sent(Pong, to="R1"))
    assert first is not None
    assert second is not None
    assert lone.now_ms <= first.number < second.number


def test_promoted_replica_goes_on_with_the_moves_of_its_predecessor() -> None:
    lone = started("R1")
    tell(lone, "P1", MOVE)
    lone.order("failover", takeover=True)
    assert lone.core.view.myself.is_primary
    assert opened(lone) == MOVE
    assert lone.core.view.slots.owners[5] is lone.core.view.myself


def test_promoted_replica_drops_moves_that_its_slots_contradict() -> None:
    lone = started("R1")
    tell(lone, "P1", OpenSlots(((6001, node_id("P3")), (5, node_id("P2"))), ((7, node_id("P2")),)))
    lone.order("failover", takeover=True)
    assert opened(lone) == OpenSlots(((5, node_id("P2")),))


def test_replica_follows_a_failover_of_the_other_party() -> None:
    lone = started("R1")
    tell(lone, "P1", OpenSlots(((5, node_id("P2")),), ((6000, node_id("P2")),)))
    lone.hear("R2", primary_id="", flags=FLAG_PRIMARY, config_epoch=4, current_epoch=4, slots=lone.share("P2"))
    assert opened(lone) == OpenSlots(((5, node_id("R2")),), ((6000, node_id("R2")),))


def test_replica_closes_an_import_that_its_primary_finished() -> None:
    lone = started("R1")
    tell(lone, "P1", OpenSlots((), ((6000, node_id("P2")),)))
    lone.hear("P1", config_epoch=4, current_epoch=4, slots=lone.share("P1") | SlotSet([6000]))
    assert opened(lone) == NONE


def test_target_without_slots_that_hands_over_is_followed() -> None:
    lone = started("P1")
    for name in ("P2", "R2"):
        lone.member(name).shard_id = "5" * 40
    lone.order("set_slot_migrating", 5, node_id("P2"))
    lone.hear("P3", slots=lone.share("P2") | lone.share("P3"), config_epoch=4, current_epoch=4)
    assert lone.core.view.slots.migrating_to == {5: lone.member("P3")}
    lone.order("set_slot_migrating", 5, node_id("P2"))
    lone.hear("R2", primary_id="", flags=FLAG_PRIMARY, config_epoch=5, slots=SlotSet())
    lone.hear("P2", primary_id=node_id("R2"), slots=SlotSet())
    assert lone.core.view.slots.migrating_to == {5: lone.member("R2")}
