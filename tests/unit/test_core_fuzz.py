"""Nothing a peer says and no order may break the core: random histories, checked after every step.

The members lie as they like (roles, slots, epochs, primaries, ids), links come and go, operators order what is refused
or granted. The core must not raise anything but a refusal, its state must always be one it could restart from, its
epochs must not fall, and both sides of each relation in its tables must agree.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from slotmesh.cluster.core import ClusterCore
from slotmesh.cluster.effects import Persist, PersistSoon, Send
from slotmesh.cluster.errors import ClusterRefusal
from slotmesh.cluster.events import LinkDown, WritesPaused
from slotmesh.cluster.messages import (
    AuthAck,
    AuthRequest,
    Extensions,
    Fail,
    ForgottenNode,
    ManualFailoverStart,
    Meet,
    Message,
    Ping,
    Pong,
    Publish,
    Update,
)
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.cluster.wire import decode_frame, encode_message
from tests.support.lone_core import LoneCore, node_id

NAMES = ("P1", "P2", "P3", "R1", "R2", "R3", "X1", "X2")

names = st.sampled_from(NAMES)
ids = st.one_of(names.map(node_id), st.just("f" * 40))
slot_sets = st.sampled_from(
    [SlotSet(), SlotSet([1]), SlotSet.from_range(0, 5460), SlotSet.from_range(0, 16383), SlotSet([5, 6000, 16000])]
)
epochs = st.integers(0, 12)
changes = st.fixed_dictionaries(
    {},
    optional={
        "primary_id": st.one_of(st.just(""), ids),
        "flags": st.integers(0, 2047),
        "slots": slot_sets,
        "config_epoch": epochs,
        "current_epoch": epochs,
        "offset": st.integers(0, 200),
        "message_flags": st.integers(0, 7),
        "ip": st.sampled_from(["", "10.9.9.9"]),
        "port": st.sampled_from([7000, 7001]),
    },
)
kinds = st.sampled_from([Ping, Pong, Meet, Fail, Publish, Update, AuthRequest, AuthAck, ManualFailoverStart])
gossiped = st.lists(
    st.tuples(names, st.sampled_from(["", "pfail", "fail"]), st.sampled_from(["", "10.8.8.8"])), max_size=3
)
forgotten = st.lists(st.builds(ForgottenNode, ids, st.integers(0, 100)), max_size=1).map(tuple)
extras = st.builds(
    Extensions, hostname=st.sampled_from(["", "h"]), shard_id=st.sampled_from(["", "5" * 40]), forgotten=forgotten
)

ORDERS: dict[str, Any] = {
    "meet": st.tuples(st.just("10.7.7.7"), st.just(7000), st.just(17000)),
    "forget": st.tuples(ids),
    "add_slots": st.tuples(st.lists(st.sampled_from([1, 5, 6000]), max_size=2)),
    "del_slots": st.tuples(st.lists(st.sampled_from([1, 5, 6000]), max_size=2)),
    "set_slot_migrating": st.tuples(st.sampled_from([1, 6000]), ids),
    "set_slot_importing": st.tuples(st.sampled_from([1, 6000]), ids),
    "set_slot_stable": st.tuples(st.sampled_from([1, 6000])),
    "bump_epoch": st.tuples(),
}
NAMED: dict[str, Any] = {
    "set_slot_node": (st.tuples(st.sampled_from([1, 6000]), ids), st.fixed_dictionaries({"keys_in_slot": st.just(0)})),
    "replicate": (st.tuples(ids), st.fixed_dictionaries({"keyspace_empty": st.just(True)})),
    "failover": (st.tuples(), st.fixed_dictionaries({}, optional={"force": st.just(True), "takeover": st.just(True)})),
    "flush_slots": (st.tuples(), st.fixed_dictionaries({"keyspace_empty": st.just(True)})),
    "reset": (st.tuples(), st.fixed_dictionaries({"hard": st.booleans(), "keyspace_empty": st.just(True)})),
}
orders = st.one_of(
    *[st.tuples(st.just(name), args, st.just({})) for name, args in ORDERS.items()],
    *[st.tuples(st.just(name), args, kwargs) for name, (args, kwargs) in NAMED.items()],
)
messages = st.tuples(st.just("message"), names, kinds, changes, gossiped, extras, st.booleans())
happenings = st.one_of(
    messages,
    messages,
    messages,
    st.tuples(st.just("time"), st.integers(1, 3000)),
    st.tuples(st.just("down"), names),
    st.tuples(st.just("paused"), st.integers(0, 200)),
    st.tuples(st.just("offset"), st.integers(0, 200)),
    st.tuples(st.just("order"), orders),
)


def build(
    lone: LoneCore, name: str, kind: Any, change: dict[str, Any], gossip: list[Any], extra: Extensions
) -> Message:
    header = lone.header(name, **change)
    if kind in (Ping, Pong, Meet):
        entries = [lone.about(other, failing, **({"ip": ip} if ip else {})) for other, failing, ip in gossip]
        return kind(header, tuple(entries), extra)  # type: ignore[no-any-return]
    if kind is Fail:
        return Fail(header, node_id(gossip[0][0] if gossip else name))
    if kind is Update:
        return Update(header, node_id(gossip[0][0] if gossip else name), header.config_epoch, header.slots)
    if kind is Publish:
        return Publish(header, b"c", b"m")
    return kind(header)  # type: ignore[no-any-return]


def happen(lone: LoneCore, what: tuple[Any, ...]) -> None:
    kind, *rest = what
    if kind == "message":
        name, message_kind, change, gossip, extra, on_our_link = rest
        message = build(lone, name, message_kind, change, gossip, extra)
        member = lone.core.view.members.get(node_id(name))
        own = member.link.link_id if on_our_link and member is not None and member.link is not None else None
        lone.say(name, decode_frame(encode_message(message)), link=own)
    elif kind == "time":
        lone.pass_ms(rest[0])
    elif kind == "down":
        member = lone.core.view.members.get(node_id(rest[0]))
        if member is not None and member.link is not None:
            lone.step(LinkDown(member.link.link_id, "reset"))
    elif kind == "paused":
        lone.step(WritesPaused(rest[0]))
    elif kind == "offset":
        lone.replicate_to(rest[0])
    else:
        order, args, kwargs = rest[0]
        try:
            lone.order(order, *args, **kwargs)
        except ClusterRefusal:
            lone._carry_out()


def check(lone: LoneCore) -> None:
    view = lone.core.view
    owners = view.slots.owners
    for member in view.members:
        assert all(owners[slot] is member for slot in [*member.slots][:20])
        assert all(replica.primary is member for replica in member.replicas)
        if member.primary is not None:
            assert member in member.primary.replicas
            assert member.is_replica
        for link in (member.link, member.inbound):
            assert link is None or (view.links.get(link.link_id) is link and link.member is member)
    assert sum(len(member.slots) for member in view.members) == len(view.slots.assigned)
    if view.myself.is_replica:
        assert not view.slots.migrating_to
    text = lone.core.state_text()
    again = ClusterCore(view.config, view.rng, lone.now_ms, text)
    assert again.view.slots.assigned == view.slots.assigned
    assert again.view.myself.role == view.myself.role


def promised(lone: LoneCore) -> tuple[object, ...]:
    """What must survive the machine before anybody hears of it."""
    view = lone.core.view
    me = view.myself
    return view.epochs.last_vote_epoch, me.config_epoch, me.is_primary, lone.core.guard.fence_epoch


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["P1", "R2"]), st.lists(happenings, max_size=40))
def test_core_survives_any_history_with_its_tables_whole(me: str, history: list[tuple[Any, ...]]) -> None:
    lone = LoneCore(me)
    lone.replicate_to(100)
    epoch = lone.core.view.epochs.current_epoch
    promises = promised(lone)
    for what in history:
        lone.drain()
        happen(lone, what)
        for effect in lone.effects:
            if isinstance(effect, Send):
                encode_message(effect.message)
        if what[0] == "order" and what[1][0] == "reset":
            epoch = 0
        assert lone.core.view.epochs.current_epoch >= epoch
        if lone.core.view.epochs.current_epoch > epoch:
            assert any(isinstance(e, Persist | PersistSoon) for e in lone.effects)
            epoch = lone.core.view.epochs.current_epoch
        if promised(lone) != promises:
            assert any(isinstance(e, Persist) and e.sync for e in lone.effects)
            promises = promised(lone)
        check(lone)
