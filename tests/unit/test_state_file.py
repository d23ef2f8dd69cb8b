"""Tests of ``cluster.state_file``: the text of nodes.conf both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.cluster.messages import NodeAddress
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.state_file import (
    SavedNode,
    SavedState,
    StateFileError,
    decode_state,
    encode_node_line,
    encode_state,
)
from slotmesh.cluster.terms import FLAG_FAIL, FLAG_MYSELF, FLAG_NOFAILOVER, FLAG_PFAIL, FLAG_PRIMARY, FLAG_REPLICA

A, B, C = "a" * 40, "b" * 40, "0c" * 20

STOCK_70 = f"""{A} 127.0.0.1:7001@17001,one.example.org myself,master - 0 1700000000000 3 connected 0-5460 [7->-{B}]
{B} 127.0.0.1:7002@17002 master,fail? - 1700000000001 1700000000002 2 disconnected 5461 5463-10922
{C} :0@0 slave,fail,noaddr {A} 0 0 3 disconnected
vars currentEpoch 5 lastVoteEpoch 4
"""
STOCK_72 = f"""{A} 10.0.0.1:7001@17001,,tls-port=0,shard-id={C} myself,slave {B} 0 0 0 connected
{B} 10.0.0.2:7002@17002,two,shard-id={C},nodename=blue master - 0 0 7 connected 0-16383
vars currentEpoch 7 lastVoteEpoch 0
"""


def test_file_of_stock_70_is_decoded_in_full() -> None:
    state = decode_state(STOCK_70)
    assert (state.current_epoch, state.last_vote_epoch, state.has_aux) == (5, 4, False)
    one, two, three = state.nodes
    assert one.address == NodeAddress("127.0.0.1", 7001, 17001, "one.example.org")
    assert one.flags == FLAG_MYSELF | FLAG_PRIMARY
    assert one.slots.to_text() == "0-5460"
    assert one.migrating_to == ((7, B),)
    assert two.flags == FLAG_PRIMARY | FLAG_PFAIL
    assert two.slots.to_text() == "5461 5463-10922"
    assert (two.ping_sent_ms, two.connected) == (1700000000001, False)
    assert three.primary_id == A
    assert three.flags & FLAG_FAIL
    assert three.flags & FLAG_REPLICA


@pytest.mark.parametrize("text", [STOCK_70, STOCK_72], ids=["7.0", "7.2"])
def test_file_of_stock_is_written_back_as_it_was(text: str) -> None:
    assert encode_state(decode_state(text)) == text


def test_file_of_stock_72_keeps_its_name_value_pairs() -> None:
    state = decode_state(STOCK_72)
    assert state.has_aux
    assert dict(state.nodes[1].aux) == {"shard-id": C, "nodename": "blue"}
    assert state.nodes[0].address.hostname == ""


def test_unknown_vars_survive_and_vars_line_may_stand_anywhere() -> None:
    lines = STOCK_70.splitlines()
    text = "\n".join(["", "vars lastVoteEpoch 4 someday 12 currentEpoch 5", *lines[:-1], "", ""])
    state = decode_state(text)
    assert state.variables == {"someday": "12"}
    assert encode_state(state).splitlines()[-1] == "vars currentEpoch 5 lastVoteEpoch 4 someday 12"


def test_old_address_without_bus_port_gets_the_usual_distance() -> None:
    state = decode_state(f"{A} 10.0.0.1:7001 myself,master - 0 0 0 connected\n")
    assert state.nodes[0].address.cport == 17001


def test_ipv6_address_is_cut_at_the_last_colon() -> None:
    state = decode_state(f"{A} 2001:db8::1:7001@17001 myself,master - 0 0 0 connected\n")
    assert state.nodes[0].address == NodeAddress("2001:db8::1", 7001, 17001)


BAD = {
    "too few fields": f"{A} 1.2.3.4:1@2 master - 0 0 0",
    "bad id": "xyz 1.2.3.4:1@2 master - 0 0 0 connected",
    "upper case id": f"{'A' * 40} 1.2.3.4:1@2 master - 0 0 0 connected",
    "no port": f"{A} nowhere master - 0 0 0 connected",
    "port too large": f"{A} 1.2.3.4:65536@1 master - 0 0 0 connected",
    "unknown flag": f"{A} 1.2.3.4:1@2 boss - 0 0 0 connected",
    "bad primary": f"{A} 1.2.3.4:1@2 slave nobody 0 0 0 connected",
    "bad epoch": f"{A} 1.2.3.4:1@2 master - 0 0 -1 connected",
    "bad slot": f"{A} 1.2.3.4:1@2 master - 0 0 0 connected 16384",
    "bad range": f"{A} 1.2.3.4:1@2 master - 0 0 0 connected 9-3",
    "bad open slot": f"{A} 1.2.3.4:1@2 myself,master - 0 0 0 connected [3->-{A[:39]}]",
    "open slot out of range": f"{A} 1.2.3.4:1@2 myself,master - 0 0 0 connected [16384->-{B}]",
    "bad pair": f"{A} 1.2.3.4:1@2,host,shardid master - 0 0 0 connected",
    "odd vars": "vars currentEpoch",
}


@pytest.mark.parametrize("name", list(BAD))
def test_damaged_line_is_named_with_its_number(name: str) -> None:
    with pytest.raises(StateFileError, match="line 2: "):
        decode_state(f"\n{BAD[name]}\n")


def test_bad_epoch_var_is_refused() -> None:
    with pytest.raises(StateFileError, match="currentEpoch"):
        decode_state("vars currentEpoch many lastVoteEpoch 0\n")


def test_node_line_lists_open_slots_in_slot_order() -> None:
    node = SavedNode(
        A,
        NodeAddress("10.0.0.1", 1, 2),
        flags=FLAG_MYSELF | FLAG_PRIMARY | FLAG_NOFAILOVER,
        connected=True,
        slots=SlotSet([1, 2, 9]),
        migrating_to=((9, B), (1, C)),
        importing_from=((5, B),),
    )
    assert encode_node_line(node) == (
        f"{A} 10.0.0.1:1@2 myself,master,nofailover - 0 0 0 connected 1-2 9 [1->-{C}] [5-<-{B}] [9->-{B}]"
    )


ids = st.sampled_from([A, B, C])
opened = st.lists(st.tuples(st.integers(0, 16383), ids), max_size=3, unique_by=lambda pair: pair[0]).map(
    lambda pairs: tuple(sorted(pairs))
)
nodes = st.builds(
    SavedNode,
    ids,
    st.builds(
        NodeAddress,
        st.sampled_from(["", "10.0.0.1", "::1"]),
        st.integers(0, 65535),
        st.integers(0, 65535),
        st.sampled_from(["", "host.example.org"]),
    ),
    flags=st.sampled_from([0, FLAG_PRIMARY, FLAG_REPLICA | FLAG_FAIL, FLAG_MYSELF | FLAG_PRIMARY]),
    primary_id=st.sampled_from(["", A]),
    ping_sent_ms=st.integers(0, 2**50),
    pong_received_ms=st.integers(0, 2**50),
    config_epoch=st.integers(0, 2**63 - 1),
    connected=st.booleans(),
    slots=st.sets(st.integers(0, 16383), max_size=8).map(SlotSet),
    migrating_to=opened,
    aux=st.sampled_from([(), (("shard-id", B),)]),
)


@given(st.lists(nodes, max_size=4).map(tuple), st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_any_state_written_and_read_is_the_same(saved: tuple[SavedNode, ...], current: int, voted: int) -> None:
    state = SavedState(saved, current, voted, {"shardId": A})
    assert decode_state(encode_state(state)) == state


@given(st.text(alphabet="ab0 :@,-[]<>\nvars", max_size=120))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    try:
        decode_state(text)
    except StateFileError:
        return
