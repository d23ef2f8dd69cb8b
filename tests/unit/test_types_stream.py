"""StreamValue, its groups and its IDs: against a sorted dict of entries; node sizes against listpacks made by hand."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.types.id_map import IdMap
from slotmesh.node.types.limits import LIMITS
from slotmesh.node.types.listpack_size import integer_size, text_size
from slotmesh.node.types.stream import StreamValue
from slotmesh.node.types.stream_group import ENTRIES_READ_UNKNOWN, Group
from slotmesh.node.types.stream_id import MAX_ID, format_id, pack_id, parse_id, split_id
from slotmesh.node.types.stream_node import StreamNode

Entries = dict[int, tuple[bytes, ...]]

ids = st.integers(1, 60)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3), st.integers(0, 2)),
        st.tuples(st.just("remove"), ids, st.just(0)),
        st.tuples(st.just("trim_length"), st.integers(0, 20), st.integers(0, 1)),
        st.tuples(st.just("trim_id"), ids, st.integers(0, 1)),
        st.tuples(st.just("range"), ids, ids),
    ),
    max_size=80,
)


@pytest.fixture
def short_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "stream_node_max_entries", 3)


@given(operations)
def _check_operations(steps: list[tuple[str, int, int]]) -> None:
    value, model = StreamValue(), Entries()
    for name, a, b in steps:
        if name == "append":
            entry = ((b"field", b"%d" % a), (b"other", b"x", b"more", b"y"), (b"name", b"z"))[b]
            value.append(value.last_id + a, entry)
            model[value.last_id] = entry
        elif name == "remove":
            assert value.remove(a) == (model.pop(a, None) is not None)
        elif name.startswith("trim"):
            _check_trim(value, model, name, a, bool(b))
        else:
            inside = [(i, model[i]) for i in sorted(model) if a <= i <= b]
            for count in (0, 1, 2, 5):
                assert value.range(a, b, count) == inside[: count or None]
                assert value.range_reversed(a, b, count) == inside[::-1][: count or None]
        assert list(value) == sorted(model.items())
        assert len(value) == len(model)
        assert value.first_id == min(model, default=0)
        assert value.last_entry_id == max(model, default=0)
        assert all(node.ids for node in value.nodes)
        for i in (1, 5, 30):
            assert value.get(i) == model.get(i)


def _check_trim(value: StreamValue, model: Entries, name: str, threshold: int, approximate: bool) -> None:
    live = sorted(model)
    wanted = live[: max(0, len(live) - threshold)] if name == "trim_length" else [i for i in live if i < threshold]
    heads = [node.ids[0] for node in value.nodes]
    trim = value.trim_to_length if name == "trim_length" else value.trim_to_id
    removed = trim(threshold, approximate)
    assert removed == len(wanted) if not approximate else removed <= len(wanted)
    for i in live[:removed]:
        del model[i]
    if approximate and model and removed:
        assert min(model) in heads  # whole nodes went


@pytest.mark.usefixtures("short_nodes")
def test_stream_any_operations_match_model() -> None:
    _check_operations()


def test_stream_approximate_trim_honours_its_limit() -> None:
    value = StreamValue()
    for i in range(1, 1001):
        value.append(i, (b"a", b"b"))
    assert len(value.nodes) == 10
    assert value.trim_to_length(10, True, 250) == 200
    assert value.trim_to_id(MAX_ID, True, 250) == 200
    assert value.trim_to_length(555, True) == 0
    assert value.trim_to_length(555, False) == 45


def test_stream_node_takes_entries_as_append_does_while_it_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "stream_node_max_bytes", 300)
    for texts in ([b"12", b"v" * 30, b"x" * 21], [b"v" * 600], [b"-5", b"a" * 20]):
        taking, plain = StreamNode(pack_id(5, 5), (b"f",)), StreamNode(pack_id(5, 5), (b"f",))
        for i in range(40):
            entry = (b"f", texts[i % len(texts)])
            size = len(entry[1]) + 1
            room = plain.has_room(size)
            assert taking.take(pack_id(5, 5 + i), entry, size) == room
            if room:
                plain.append(pack_id(5, 5 + i), entry)
            assert (taking.ids, taking.entries) == (plain.ids, plain.entries)
            assert taking.size_bytes == plain.size_bytes


def test_stream_node_byte_limit_cuts_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "stream_node_max_entries", 0)
    monkeypatch.setattr(LIMITS, "stream_node_max_bytes", 200)
    value = StreamValue()
    for i in range(1, 100):
        value.append(i, (b"f", b"v" * 20))
    assert 15 < len(value.nodes) < 30
    assert all(node.size_bytes < 260 for node in value.nodes)


@given(st.lists(st.tuples(st.sampled_from([b"f", b"g"]), st.binary(max_size=80)), min_size=1, max_size=30))
def test_stream_node_bound_is_never_below_the_exact_size(entries: list[tuple[bytes, bytes]]) -> None:
    node = StreamNode(pack_id(5, 5), (b"f",))
    for i, entry in enumerate(entries):
        node.append(pack_id(5 + i * i, 5), entry)
        bound = node._bound_bytes
        assert bound >= node.size_bytes
        if i % 3 == 2:
            node.delete(0)
    before = node.size_bytes
    twin = node.copy()
    twin.append(pack_id(10**9, 0), (b"f", b"123"))
    assert twin.size_bytes > before == node.size_bytes


@pytest.mark.parametrize(
    ("number", "size"),
    [(0, 2), (127, 2), (128, 3), (-1, 3), (4095, 3), (4096, 4), (-32768, 4), (1 << 22, 5), (1 << 30, 6), (1 << 40, 10)],
)
def test_integer_size_by_range(number: int, size: int) -> None:
    assert integer_size(number) == size
    assert text_size(b"%d" % number) == size


@pytest.mark.parametrize(
    ("text", "size"),
    [(b"", 2), (b"a", 3), (b"007", 5), (b"x" * 63, 65), (b"x" * 64, 67), (b"x" * 4096, 4103), (b"9" * 20, 22)],
)
def test_text_size_by_length(text: bytes, size: int) -> None:
    assert text_size(text) == size


# -- IDs and the map of pending entries -----------------------------------------------------------------------


@given(st.integers(0, MAX_ID))
def test_stream_id_text_round_trips(entry_id: int) -> None:
    assert parse_id(format_id(entry_id)) == entry_id
    assert pack_id(*split_id(entry_id)) == entry_id


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        (b"5", 5 << 64 | 9),
        (b"5-3", 5 << 64 | 3),
        (b"007", 7 << 64 | 9),
        (b"18446744073709551615-18446744073709551615", MAX_ID),
        (b"18446744073709551616", None),
        (b"", None),
        (b"-", None),
        (b"-5", None),
        (b"5-", None),
        (b"5-x", None),
        (b"5-1-1", None),
        (b"*", None),
    ],
)
def test_parse_id_by_text(text: bytes, parsed: int | None) -> None:
    assert parse_id(text, missing_seq=9) == parsed


@given(
    st.lists(st.tuples(st.sampled_from(["set", "remove", "walk", "first", "last"]), st.integers(0, 30)), max_size=200)
)
def test_id_map_any_operations_match_model(steps: list[tuple[str, int]]) -> None:
    held, model = IdMap[int](), dict[int, int]()
    for name, number in steps:
        if name == "set":
            held.set(number, -number)
            model[number] = -number
        elif name == "remove":
            assert held.remove(number) == model.pop(number, None)
        elif name == "walk":
            assert list(held.ids(number, number + 10)) == [i for i in sorted(model) if number <= i <= number + 10]
        elif name == "first":
            assert held.first() == min(model, default=None)
        else:
            assert held.last() == max(model, default=None)
        assert held.values == model
    assert list(held.ids()) == sorted(model)


def test_id_map_drained_from_the_front_does_not_walk_what_is_gone() -> None:
    held = IdMap[int]()
    for i in range(5000):
        held.set(i, i)
    for i in range(4000):
        assert held.first() == i
        held.remove(i)
    assert held._order is not None
    assert len(held._order) <= 1001


# -- groups -------------------------------------------------------------------------------------------------


def test_group_deliver_takes_an_entry_from_its_former_consumer() -> None:
    group = Group(b"g", 0)
    first, _ = group.consumer(b"one", 10)
    second, made = group.consumer(b"two", 10)
    assert made
    group.deliver(7, first, 10)
    group.deliver(7, second, 20, 2)
    assert 7 not in first.pel
    assert group.pel.values[7] is second.pel.values[7]
    assert group.acknowledge(7)
    assert not group.acknowledge(7)
    assert len(second.pel) == 0


def test_group_copy_shares_nothing() -> None:
    group = Group(b"g", 5)
    consumer, _ = group.consumer(b"c", 10)
    group.deliver(7, consumer, 10)
    twin = group.copy()
    twin.acknowledge(7)
    assert 7 in group.pel
    assert 7 in consumer.pel


def test_group_remove_consumer_frees_its_entries() -> None:
    group = Group(b"g", 5)
    for name in (b"a", b"b"):
        consumer, _ = group.consumer(name, 10)
        for i in range(3):
            group.deliver(i + 10 * (name == b"b"), consumer, 10)
    assert group.remove_consumer(b"a") == 3
    assert group.remove_consumer(b"a") is None
    assert list(group.pel.ids()) == [10, 11, 12]


def test_stream_lag_without_holes_is_exact() -> None:
    value, group = StreamValue(), Group(b"g", 0, 0)
    rng = random.Random(5)
    read = 0
    for _ in range(300):
        if rng.random() < 0.6 or read == value.entries_added:
            value.append(value.last_id + 1, (b"f", b"v"))
        else:
            value.advance(group, group.last_id + 1)
            read += 1
        assert value.lag_of(group) == value.entries_added - read


def test_stream_lag_behind_a_hole_is_unknown() -> None:
    value, group = StreamValue(), Group(b"g", 0, 0)
    for i in range(1, 6):
        value.append(i, (b"f", b"v"))
    value.advance(group, 1)
    value.remove(3)
    value.max_deleted_id = 3
    for entry_id, lag in ((2, None), (4, None), (5, 0)):
        value.advance(group, entry_id)
        assert value.lag_of(group) == lag
    assert value.reads_up_to(9) == ENTRIES_READ_UNKNOWN
