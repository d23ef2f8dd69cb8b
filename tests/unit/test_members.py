"""Tests of ``cluster.members``: the table of nodes and the primary/replica relation."""

from __future__ import annotations

import pytest

from slotmesh.cluster.members import Member, Members
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.terms import FLAG_MIGRATE_TO, FLAG_MYSELF, FLAG_NOADDR, FLAG_PFAIL, FLAG_PRIMARY, FLAG_REPLICA


@pytest.fixture
def members() -> Members:
    table = Members(Member("0" * 40, role=FLAG_PRIMARY, is_myself=True))
    for number in "123":
        table.add(Member(number * 40, role=FLAG_REPLICA if number == "3" else FLAG_PRIMARY))
    return table


def get(members: Members, number: str) -> Member:
    found = members.get(number * 40)
    assert found is not None
    return found


def test_attach_moves_a_replica_between_primaries(members: Members) -> None:
    one, two, replica = (get(members, number) for number in "123")
    members.attach(replica, one)
    members.attach(replica, one)
    assert one.replicas == [replica]
    members.attach(replica, two)
    assert (one.replicas, two.replicas, replica.primary) == ([], [replica], two)
    assert (one.migrate_to, two.migrate_to) == (False, True)


def test_remove_leaves_no_trace_of_the_member(members: Members) -> None:
    one, two, replica = (get(members, number) for number in "123")
    members.attach(replica, one)
    two.fail_reports[one.node_id] = 5
    members.remove(one)
    assert members.get(one.node_id) is None
    assert replica.primary is None
    assert two.fail_reports == {}


def test_rename_keeps_the_member_and_frees_the_old_id(members: Members) -> None:
    one = get(members, "1")
    members.rename(one, "f" * 40)
    assert members.get("1" * 40) is None
    assert members.get("f" * 40) is one


@pytest.mark.parametrize(("voters", "majority"), [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3)])
def test_majority_counts_primaries_with_slots_only(voters: int, majority: int) -> None:
    members = Members(Member("0" * 40, role=FLAG_REPLICA, is_myself=True))
    for number in range(5):
        member = Member(f"{number + 1:040x}", role=FLAG_PRIMARY)
        member.slots = SlotSet([number]) if number < voters else SlotSet()
        members.add(member)
    assert members.size() == voters
    assert members.majority() == majority


def test_flags_word_has_the_bits_of_the_wire() -> None:
    member = Member("1" * 40, role=FLAG_PRIMARY, is_myself=True, pfail=True, no_address=True, migrate_to=True)
    assert member.flags == FLAG_PRIMARY | FLAG_MYSELF | FLAG_PFAIL | FLAG_NOADDR | FLAG_MIGRATE_TO


def test_forgotten_id_is_barred_until_its_time(members: Members) -> None:
    members.forget("9" * 40, 1000)
    assert members.is_forgotten("9" * 40, 999)
    assert not members.is_forgotten("9" * 40, 1000)
    assert members.forgotten(400) == [("9" * 40, 600)]
    assert members.forgotten(1000) == []
