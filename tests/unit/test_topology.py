"""Tests of ``cluster.topology``: roles, slot claims, UPDATEs and config epochs."""

from __future__ import annotations

from slotmesh.cluster.effects import DeleteKeysInSlots, Persist, PersistSoon, RoleChanged, SlotsChanged
from slotmesh.cluster.messages import Pong, Update
from slotmesh.cluster.slot_set import NO_SLOTS, SlotSet
from slotmesh.cluster.terms import FLAG_PRIMARY, FLAG_REPLICA
from tests.support.lone_core import LoneCore, node_id


def started(me: str = "P1", **config: bool) -> LoneCore:
    lone = LoneCore(me, replicas=1, variables=None, **config)
    lone.greet()
    return lone


def promote(lone: LoneCore, name: str, epoch: int = 4, slots: SlotSet | None = None) -> None:
    """``name`` won an election and tells so."""
    claimed = lone.share(name) if slots is None else slots
    lone.hear(name, primary_id="", flags=FLAG_PRIMARY, config_epoch=epoch, current_epoch=epoch, slots=claimed)


def test_promoted_replica_gets_the_slots_in_everybodys_view() -> None:
    lone = started("P1")
    promote(lone, "R2")
    assert lone.member("R2").slots == lone.share("P2")
    assert lone.member("R2").is_primary
    assert lone.member("P2").slots == NO_SLOTS
    assert lone.core.view.epochs.current_epoch == 4
    assert lone.wanted(PersistSoon), "the others' word needs no sync"
    assert not lone.wanted(Persist)


def test_slot_that_we_lose_survives_our_end_and_our_role_that_of_the_machine() -> None:
    lone = started("P1")
    promote(lone, "P2", epoch=9, slots=lone.share("P2") | SlotSet([min(lone.share("P1"))]))
    assert [persist.sync for persist in lone.wanted(Persist)] == [False]
    lone.drain()
    promote(lone, "R1")
    assert [persist.sync for persist in lone.wanted(Persist)] == [True]


def test_claim_with_an_older_or_equal_epoch_wins_nothing() -> None:
    lone = started("P1")
    promote(lone, "R3", epoch=2, slots=lone.share("P2"))
    promote(lone, "R1", epoch=1, slots=lone.share("P2"))
    assert lone.member("P2").slots == lone.share("P2")


def test_replaced_primary_becomes_a_replica_of_its_successor() -> None:
    lone = started("P1")
    promote(lone, "R1")
    assert lone.core.view.myself.primary is lone.member("R1")
    (change,) = lone.wanted(RoleChanged)
    assert (change.primary_id, change.why) == (node_id("R1"), "slots-lost")
    assert lone.wanted(DeleteKeysInSlots) == []
    assert lone.wanted(SlotsChanged) == [], "the shard serves the same slots as before"


def test_replicas_of_a_replaced_primary_follow_its_successor() -> None:
    lone = LoneCore("S1", replicas=2)
    lone.greet()
    promote(lone, "R1")
    assert lone.core.view.myself.primary is lone.member("R1")


def test_primary_that_loses_some_slots_deletes_their_keys_and_stays() -> None:
    lone = started("P1")
    taken = SlotSet.from_range(0, 99)
    lone.hear("P2", slots=lone.share("P2") | taken, config_epoch=9, current_epoch=9)
    assert lone.wanted(DeleteKeysInSlots) == [DeleteKeysInSlots(taken)]
    assert lone.wanted(SlotsChanged) == [SlotsChanged(NO_SLOTS, taken)]
    assert lone.core.view.myself.is_primary


def test_last_slot_lost_without_replica_migration_makes_a_replica_only_of_a_pure_successor() -> None:
    lone = started("P1", allow_replica_migration=False)
    lone.hear("P2", slots=lone.share("P1") | lone.share("P2"), config_epoch=9, current_epoch=9)
    assert lone.core.view.myself.is_primary
    lone = started("P1", allow_replica_migration=False)
    promote(lone, "R1")
    assert lone.core.view.myself.is_replica


def test_primary_turned_replica_gives_up_its_slots_here() -> None:
    lone = started("P1")
    lone.hear("P3", primary_id=node_id("P2"), flags=FLAG_REPLICA, slots=lone.share("P2"))
    member = lone.member("P3")
    assert member.is_replica
    assert member.primary is lone.member("P2")
    assert member.slots == NO_SLOTS
    assert not lone.core.view.slots.covered()


def test_replica_of_a_primary_turned_replica_follows_its_primary() -> None:
    lone = started("R1")
    lone.hear("P1", primary_id=node_id("P2"), flags=FLAG_REPLICA, slots=lone.share("P2"))
    assert lone.core.view.myself.primary is lone.member("P2")
    assert lone.wanted(RoleChanged)[-1].why == "sub-replica"


def test_offset_of_one_shard_means_nothing_in_another() -> None:
    lone = started("P1")
    for name, number in (("P2", "7"), ("R1", "8"), ("P1", "8")):
        lone.member(name).shard_id = number * 40
    promote(lone, "P2", slots=lone.share("P1") | lone.share("P2"))  # our last slots were moved away
    assert lone.wanted(RoleChanged)[-1].other_shard
    assert lone.member("P1").shard_id == "7" * 40
    lone = started("P1")
    for name in ("P1", "R1"):
        lone.member(name).shard_id = "8" * 40
    promote(lone, "R1")
    assert not lone.wanted(RoleChanged)[-1].other_shard


def test_replica_of_its_own_replica_waits_for_an_operator() -> None:
    lone = started("R1")
    lone.hear("P1", primary_id=node_id("R1"), flags=FLAG_REPLICA)
    assert lone.core.view.myself.primary is lone.member("P1")


def test_primary_with_outdated_slots_is_told_about_every_newer_owner() -> None:
    lone = started("P3")
    half = SlotSet.from_range(0, 1000)
    lone.hear("R1", primary_id="", flags=FLAG_PRIMARY, config_epoch=5, current_epoch=5, slots=half)
    lone.hear("P2", slots=lone.share("P2") | SlotSet([2000]), config_epoch=6, current_epoch=6)
    lone.drain()
    lone.hear("P1", slots=lone.share("P1"))
    updates = lone.sent(Update, to="P1")
    assert sorted((update.node_id, update.config_epoch) for update in updates) == [
        (node_id("P2"), 6),
        (node_id("R1"), 5),
    ]


def test_update_does_not_pass_on_slots_their_owner_gave_away() -> None:
    lone = started("P3")
    lone.hear("P2", slots=lone.share("P2") - SlotSet([6000]), config_epoch=8, current_epoch=8)
    assert SlotSet([6000]) <= lone.core.view.slots.unclaimed
    lone.drain()
    lone.hear("P1", slots=lone.share("P1") | SlotSet([6000]))
    assert lone.sent(Update) == []
    assert lone.member("P1").slots == lone.share("P1") | SlotSet([6000])


def test_update_is_not_sent_about_a_member_not_heard_of_since_the_start() -> None:
    lone = LoneCore("P3")
    lone.pass_ms(100)
    lone.hear("P1", slots=lone.share("P1") | SlotSet([6000]))
    assert lone.sent(Update) == []
    lone.hear("P2")
    lone.hear("P1", slots=lone.share("P1") | SlotSet([6000]))
    assert [update.node_id for update in lone.sent(Update, to="P1")] == [node_id("P2")]


def test_update_message_makes_a_returning_primary_step_down() -> None:
    lone = started("P1")
    lone.say("P3", Update(lone.header("P3"), node_id("R1"), 7, lone.share("P1")))
    assert lone.core.view.myself.primary is lone.member("R1")
    assert lone.member("R1").config_epoch == 7


def test_update_message_that_is_old_about_us_or_about_a_stranger_is_ignored() -> None:
    lone = started("P1")
    for about, epoch in (("P2", 2), ("P1", 9), ("X1", 9)):
        lone.say("P3", Update(lone.header("P3"), node_id(about), epoch, lone.share("P1")))
    assert lone.core.view.myself.slots == lone.share("P1")


def test_colliding_primary_with_the_smaller_id_takes_a_new_epoch() -> None:
    lone = started("P1")
    lone.hear("P2", config_epoch=1)
    assert lone.core.view.myself.config_epoch == 1, "P2 told an older epoch than known: no collision"
    lone = started("P1")
    lone.hear("P2", config_epoch=5, current_epoch=5)
    lone.core.view.myself.config_epoch = 5
    lone.drain()
    lone.hear("P2", config_epoch=5, current_epoch=5)
    assert lone.core.view.myself.config_epoch == 6
    assert lone.effects[0] == Persist(lone.core.state_text(), sync=True)
    other = started("P3")
    other.hear("P2", config_epoch=3)
    assert other.core.view.myself.config_epoch == 3


def test_importing_slot_follows_its_source_through_a_failover() -> None:
    lone = started("P1")
    lone.order("set_slot_importing", 6000, node_id("P2"))
    promote(lone, "R2")
    assert lone.core.view.slots.importing_from == {6000: lone.member("R2")}
    assert lone.core.view.slots.owners[6000] is lone.member("R2")


def test_migrating_slot_follows_its_target_and_closes_when_lost() -> None:
    lone = started("P1")
    lone.order("set_slot_migrating", 5, node_id("P2"))
    promote(lone, "R2")
    assert lone.core.view.slots.migrating_to == {5: lone.member("R2")}
    promote(lone, "R2", epoch=5, slots=lone.share("P2") | SlotSet([5]))
    assert lone.core.view.slots.migrating_to == {}


def test_demoted_primary_tells_everybody_at_once() -> None:
    lone = started("P1")
    promote(lone, "R1")
    assert lone.core.view.myself.is_replica
    assert set(lone.receivers(Pong)) >= set(lone.others())
    assert lone.sent(Pong, to="P3")[-1].header.primary_id == node_id("R1")
