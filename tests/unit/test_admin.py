"""Tests of ``cluster.admin``: what each order does, and each condition under which it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from slotmesh.cluster.effects import Disconnect, EmptyKeyspace, Persist, RoleChanged, SlotsChanged
from slotmesh.cluster.errors import ClusterRefusal, Condition
from slotmesh.cluster.events import Tick
from slotmesh.cluster.messages import Pong
from slotmesh.cluster.slot_set import ALL_SLOTS, NO_SLOTS, SlotSet
from tests.support.lone_core import LoneCore, ip_of, node_id

P1, P2, P3, R1, R2 = (node_id(name) for name in ("P1", "P2", "P3", "R1", "R2"))
STRANGER = "9" * 40

REFUSED: list[tuple[str, Condition, str, tuple[Any, ...], dict[str, Any]]] = [
    ("P1", Condition.BAD_ADDRESS, "meet", ("nowhere", 7000, 17000), {}),
    ("P1", Condition.BAD_ADDRESS, "meet", ("10.0.0.1", 0, 17000), {}),
    ("P1", Condition.BAD_ADDRESS, "meet", ("10.0.0.1", 7000, 65536), {}),
    ("P1", Condition.UNKNOWN_NODE, "forget", (STRANGER,), {}),
    ("P1", Condition.FORGET_MYSELF, "forget", (P1,), {}),
    ("R1", Condition.FORGET_MY_PRIMARY, "forget", (P1,), {}),
    ("P1", Condition.UNKNOWN_NODE, "replicate", (STRANGER,), {"keyspace_empty": True}),
    ("P1", Condition.REPLICATE_MYSELF, "replicate", (P1,), {"keyspace_empty": True}),
    ("P1", Condition.REPLICATE_REPLICA, "replicate", (R2,), {"keyspace_empty": True}),
    ("P1", Condition.REPLICATE_NOT_EMPTY, "replicate", (P2,), {"keyspace_empty": True}),
    ("P1", Condition.SLOT_OUT_OF_RANGE, "add_slots", ([16384],), {}),
    ("P1", Condition.SLOT_BUSY, "add_slots", ([8000],), {}),
    ("P1", Condition.SLOT_REPEATED, "del_slots", ([3, 3],), {}),
    ("P1", Condition.FLUSHSLOTS_NOT_EMPTY, "flush_slots", (), {"keyspace_empty": False}),
    ("R1", Condition.SETSLOT_ON_REPLICA, "set_slot_stable", (1,), {}),
    ("P1", Condition.SLOT_OUT_OF_RANGE, "set_slot_stable", (-1,), {}),
    ("P1", Condition.SETSLOT_NOT_OWNER, "set_slot_migrating", (8000, P2), {}),
    ("P1", Condition.UNKNOWN_SETSLOT_NODE, "set_slot_migrating", (1, STRANGER), {}),
    ("P1", Condition.SETSLOT_TARGET_REPLICA, "set_slot_migrating", (1, R2), {}),
    ("P1", Condition.SETSLOT_ALREADY_OWNER, "set_slot_importing", (1, P2), {}),
    ("P1", Condition.SETSLOT_TARGET_REPLICA, "set_slot_importing", (8000, R2), {}),
    ("P1", Condition.UNKNOWN_NODE, "set_slot_node", (1, STRANGER), {"keys_in_slot": 0}),
    ("P1", Condition.SETSLOT_TARGET_REPLICA, "set_slot_node", (1, R2), {"keys_in_slot": 0}),
    ("P1", Condition.SETSLOT_HOLDS_KEYS, "set_slot_node", (1, P2), {"keys_in_slot": 1}),
    ("P1", Condition.EPOCH_INVALID, "set_config_epoch", (-1,), {}),
    ("P1", Condition.EPOCH_NOT_ALONE, "set_config_epoch", (9,), {}),
    ("P1", Condition.RESET_NOT_EMPTY, "reset", (), {"hard": False, "keyspace_empty": False}),
    ("P1", Condition.UNKNOWN_NODE, "count_failure_reports", (STRANGER,), {}),
]


@pytest.mark.parametrize(
    ("me", "condition", "order", "args", "kwargs"), REFUSED, ids=lambda value: getattr(value, "name", None)
)
def test_order_that_is_not_possible_is_refused_and_changes_nothing(
    me: str, condition: Condition, order: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    lone = LoneCore(me)
    lone.greet()
    before = lone.core.state_text()
    with pytest.raises(ClusterRefusal) as refused:
        lone.order(order, *args, **kwargs)
    assert refused.value.condition is condition
    assert lone.core.state_text() == before


def test_refusal_text_names_the_detail() -> None:
    assert str(ClusterRefusal(Condition.SLOT_BUSY, 12)) == "Slot 12 is already busy"
    assert str(ClusterRefusal(Condition.UNKNOWN_NODE, "x")) == "Unknown node x"


def started(me: str = "P1", **config: Any) -> LoneCore:
    lone = LoneCore(me, **config)
    lone.greet()
    return lone


# Membership


def test_forget_closes_links_releases_slots_and_bars_the_id() -> None:
    lone = started()
    link = lone.outgoing("P2")
    lone.order("forget", P2)
    assert not lone.knows("P2")
    assert Disconnect(link) in lone.effects
    assert lone.core.view.slots.assigned == ALL_SLOTS - lone.share("P2")
    lone.hear("P3", lone.about("P2"))
    assert not lone.knows("P2")
    lone.now_ms += 60_000
    lone.hear("P3", lone.about("P2"))
    assert lone.knows("P2")


def test_meet_takes_the_usual_form_of_an_ipv6_address() -> None:
    lone = started()
    lone.order("meet", "2001:DB8:0::1", 7000, 17000)
    assert any(member.ip == "2001:db8::1" for member in lone.core.view.members)


def test_soft_reset_keeps_the_id_and_epochs_but_nobody_else() -> None:
    lone = started()
    lone.order("reset", hard=False, keyspace_empty=True)
    view = lone.core.view
    assert len(view.members) == 1
    assert view.myself.node_id == P1
    assert view.slots.assigned == NO_SLOTS
    assert (view.epochs.current_epoch, view.myself.config_epoch) == (3, 1)
    assert not view.cluster_ok


def test_hard_reset_takes_a_new_id_and_starts_epochs_at_zero() -> None:
    lone = started()
    shard = lone.core.view.myself.shard_id
    lone.order("reset", hard=True, keyspace_empty=True)
    view = lone.core.view
    assert view.myself.node_id != P1
    assert view.myself.shard_id != shard
    assert (view.epochs.current_epoch, view.myself.config_epoch) == (0, 0)
    lone.order("set_config_epoch", 5)
    assert (view.epochs.current_epoch, view.myself.config_epoch) == (5, 5)
    with pytest.raises(ClusterRefusal) as refused:
        lone.order("set_config_epoch", 6)
    assert refused.value.condition is Condition.EPOCH_SET


def test_reset_of_a_replica_empties_it_and_makes_it_a_primary() -> None:
    lone = started("R1")
    lone.order("reset", hard=False, keyspace_empty=False)
    assert lone.wanted(RoleChanged) == [RoleChanged("", None, "reset")]
    assert lone.wanted(EmptyKeyspace) == [EmptyKeyspace()]
    assert lone.core.view.myself.is_primary


# Slots


def test_slots_given_up_and_taken_again_are_told_to_the_host() -> None:
    lone = started()
    lone.order("del_slots", range(100))
    assert lone.wanted(SlotsChanged) == [SlotsChanged(NO_SLOTS, SlotSet(range(100)))]
    lone.order("add_slots", [5, 7])
    assert lone.wanted(SlotsChanged)[-1] == SlotsChanged(SlotSet([5, 7]), NO_SLOTS)
    assert [persist.sync for persist in lone.wanted(Persist)] == [True, True]
    with pytest.raises(ClusterRefusal) as refused:
        lone.order("del_slots", [6])
    assert refused.value.condition is Condition.SLOT_UNASSIGNED


def test_flush_slots_gives_up_all_of_ours() -> None:
    lone = started()
    lone.order("flush_slots", keyspace_empty=True)
    assert lone.core.view.myself.slots == NO_SLOTS
    assert lone.core.view.slots.assigned == ALL_SLOTS - lone.share("P1")


def test_open_slots_are_closed_by_stable() -> None:
    lone = started()
    lone.order("set_slot_migrating", 1, P2)
    lone.order("set_slot_importing", 8000, P2)
    assert f"[1->-{P2}]" in lone.core.state_text()
    assert f"[8000-<-{P2}]" in lone.core.state_text()
    lone.order("set_slot_stable", 1)
    lone.order("set_slot_stable", 8000)
    assert "[" not in lone.core.state_text()


def test_closing_an_import_takes_a_new_epoch_and_tells_everybody() -> None:
    lone = started()
    lone.order("set_slot_importing", 8000, P2)
    lone.order("set_slot_node", 8000, P1, keys_in_slot=3)
    me = lone.core.view.myself
    assert 8000 in me.slots
    assert me.config_epoch == 4
    assert lone.core.view.slots.importing_from == {}
    pongs = lone.sent(Pong)
    assert len(pongs) == 5
    assert all(8000 in pong.header.slots for pong in pongs)


def test_giving_a_slot_away_closes_its_migration() -> None:
    lone = started()
    lone.order("set_slot_migrating", 1, P2)
    lone.order("set_slot_node", 1, P2, keys_in_slot=0)
    assert lone.core.view.slots.owners[1] is lone.member("P2")
    assert lone.core.view.slots.migrating_to == {}
    assert lone.core.view.myself.config_epoch == 1


@pytest.mark.parametrize("allowed", [True, False])
def test_giving_the_last_slot_away_makes_a_replica_if_allowed(allowed: bool) -> None:
    lone = started(allow_replica_migration=allowed)
    lone.core.view.slots.assign(lone.share("P1") - SlotSet([1]), lone.member("P3"))
    lone.order("set_slot_node", 1, P2, keys_in_slot=0)
    assert lone.core.view.myself.is_replica == allowed


def test_keys_of_ownerless_slots_are_adopted_and_foreign_ones_marked() -> None:
    lone = started()
    lone.order("del_slots", [1, 2])
    lone.order("adopt_slots_of_keys", SlotSet([1, 10, 8000]))
    assert 1 in lone.core.view.myself.slots
    assert lone.core.view.slots.owners[2] is None
    assert lone.core.view.slots.importing_from == {8000: lone.member("P2")}
    replica = started("R1")
    replica.order("adopt_slots_of_keys", SlotSet([8000]))
    assert replica.core.view.slots.importing_from == {}


# Roles and epochs


def test_replicate_moves_a_replica_and_an_empty_primary() -> None:
    lone = started("R1")
    lone.order("replicate", P2, keyspace_empty=False)
    (change,) = lone.wanted(RoleChanged)
    assert (change.primary_id, change.why) == (P2, "command")
    assert change.primary_address is not None
    assert change.primary_address.ip == ip_of("P2")
    lone.order("replicate", P2, keyspace_empty=False)
    assert len(lone.wanted(RoleChanged)) == 1
    primary = started("P1")
    primary.core.view.slots.release(primary.share("P1"))
    primary.order("replicate", P2, keyspace_empty=True)
    assert primary.core.view.myself.primary is primary.member("P2")


def test_bump_epoch_is_still_when_ours_is_the_greatest() -> None:
    lone = started()
    assert lone.order("bump_epoch") == (True, 4)
    assert lone.order("bump_epoch") == (False, 4)


def test_every_refusal_has_a_test() -> None:
    elsewhere = {
        Condition.SLOT_UNASSIGNED,
        Condition.SLOT_RANGE_REVERSED,  # of the command layer, which parses the ranges
        Condition.NOT_A_PRIMARY,  # likewise: CLUSTER REPLICAS
        Condition.FAILOVER_ON_PRIMARY,
        Condition.FAILOVER_PRIMARY_UNKNOWN,
        Condition.FAILOVER_PRIMARY_DOWN,
        Condition.EPOCH_SET,
        Condition.STALE_FENCE,
        Condition.LATE_ORDER,
        Condition.BAD_GUARD,
        Condition.OTHER_GUARD,
    }
    assert {condition for _, condition, *_ in REFUSED} | elsewhere == set(Condition)


def test_others_hear_of_the_first_slot_at_once_and_of_those_that_follow_together() -> None:
    lone = started("P1")
    for slot in (8000, 8001, 8002):
        lone.order("set_slot_importing", slot, P2)
        lone.order("set_slot_node", slot, P1, keys_in_slot=0)
    assert len(lone.sent(Pong)) == len(lone.others())
    lone.drain()
    while not lone.sent(Pong):
        lone.now_ms = lone.core.next_deadline_ms()
        lone.step(Tick())
    assert lone.core.view.now_ms == lone.core.view.pong_told_ms
    assert [8002 in pong.header.slots for pong in lone.sent(Pong)] == [True] * len(lone.others())
    lone.drain()
    lone.step(Tick())
    assert not lone.sent(Pong)
