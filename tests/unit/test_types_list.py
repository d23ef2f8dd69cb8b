"""ListValue against a plain Python list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.types.limits import LIMITS
from slotmesh.node.types.list import ListValue
from slotmesh.node.types.list_nodes import node_bounds
from slotmesh.node.types.listpack_size import EMPTY_LISTPACK_BYTES, text_size

elements = st.sampled_from([b"a", b"b", b"c", b"", b"1"])
operations = st.lists(
    st.one_of(
        st.tuples(st.just("push_left"), st.lists(elements, min_size=1, max_size=20)),
        st.tuples(st.just("push_right"), st.lists(elements, min_size=1, max_size=20)),
        st.tuples(st.just("pop_left"), st.integers(1, 30)),
        st.tuples(st.just("pop_right"), st.integers(1, 30)),
        st.tuples(st.just("keep"), st.tuples(st.integers(0, 40), st.integers(0, 40))),
        st.tuples(st.just("insert"), st.tuples(st.integers(0, 40), elements)),
        st.tuples(st.just("set"), st.tuples(st.integers(0, 40), elements)),
        st.tuples(st.just("remove"), st.tuples(elements, st.integers(-3, 3))),
    ),
    max_size=60,
)


def remove_from(model: list[bytes], value: bytes, count: int) -> list[bytes]:
    """What is left of `model` after LREM, told in the slowest and plainest way."""
    places = [i for i, item in enumerate(model) if item == value]
    if count > 0:
        places = places[:count]
    elif count < 0:
        places = places[count:]
    return [item for i, item in enumerate(model) if i not in places]


@given(operations)
def test_list_any_operations_match_model(steps: list[tuple[str, object]]) -> None:
    value, model = ListValue(), list[bytes]()
    for name, argument in steps:
        match name, argument:
            case "push_left", list(items):
                value.push_left(items)
                model[:0] = reversed(items)
            case "push_right", list(items):
                value.push_right(items)
                model += items
            case "pop_left", int(count):
                assert value.pop_left(count) == model[:count]
                del model[:count]
            case "pop_right", int(count):
                cut = max(0, len(model) - count)
                assert value.pop_right(count) == model[cut:][::-1]
                del model[cut:]
            case "keep", (int(a), int(b)):
                start, stop = sorted((min(a, len(model)), min(b, len(model))))
                value.keep(start, stop)
                model = model[start:stop]
            case "insert", (int(index), bytes(item)) if index < len(model):
                value.insert(index, item)
                model.insert(index, item)
            case "set", (int(index), bytes(item)) if index < len(model):
                value[index] = item
                model[index] = item
            case "remove", (bytes(item), int(count)):
                left = remove_from(model, item, count)
                assert value.remove(item, count) == len(model) - len(left)
                model = left
        assert list(value) == model
        assert len(value) == len(model)


@given(st.lists(elements), elements, st.integers(0, 5))
def test_list_find_matches_model(items: list[bytes], wanted: bytes, start: int) -> None:
    value = ListValue(items)
    value.push_left([b"x"])  # some room in front
    value.pop_left()
    expected = next((i for i in range(start, len(items)) if items[i] == wanted), -1)
    assert value.find(wanted, start) == expected


def test_list_used_as_queue_keeps_its_room_bounded() -> None:
    value = ListValue()
    for i in range(10_000):
        value.push_left([b"%d" % i])
        if len(value) > 10:
            assert value.pop_right() == [b"%d" % (i - 10)]
    assert len(value._cells) < 200
    value = ListValue()
    for i in range(10_000):
        value.push_right([b"%d" % i])
        if len(value) > 10:
            assert value.pop_left() == [b"%d" % (i - 10)]
    assert len(value._cells) < 200


def test_list_popped_elements_are_not_kept_alive() -> None:
    value = ListValue([b"first" * 10, b"second" * 10])
    value.pop_left()
    assert b"first" * 10 not in value._cells


def test_list_copy_is_independent() -> None:
    value = ListValue([b"a", b"b"])
    twin = value.copy()
    twin.push_left([b"c"])
    assert value.items == (b"a", b"b")
    assert twin.items == (b"c", b"a", b"b")


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(COMPAT, "newer", True)


def _limit(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(LIMITS, "list_max_listpack_size", size)


def test_list_encoding_at_the_default_level_is_quicklist() -> None:
    assert ListValue([b"a"]).encoding() == b"quicklist"


@pytest.mark.parametrize(
    ("size", "most"), [(-1, 4096), (-2, 8192), (-3, 16384), (-4, 32768), (-5, 65536), (-9, 65536), (7, 8192)]
)
def test_list_encoding_grows_beyond_the_bytes_of_a_node(
    newer: None, monkeypatch: pytest.MonkeyPatch, size: int, most: int
) -> None:
    _limit(monkeypatch, size)
    fits = ListValue()
    fits.push_right([b"x" * (most - EMPTY_LISTPACK_BYTES)])
    beyond = ListValue()
    beyond.push_left([b"x" * (most - EMPTY_LISTPACK_BYTES + 1)])
    assert (fits.encoding(), beyond.encoding()) == (b"listpack", b"quicklist")


@pytest.mark.parametrize(("size", "most"), [(0, 1), (1, 1), (3, 3)])
def test_list_encoding_grows_beyond_the_elements_of_a_node(
    newer: None, monkeypatch: pytest.MonkeyPatch, size: int, most: int
) -> None:
    _limit(monkeypatch, size)
    value = ListValue([b"a"] * most)
    assert value.encoding() == b"listpack"
    value.insert(1, b"b")
    assert value.encoding() == b"quicklist"


def test_list_encoding_shrinks_at_half_a_node(newer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    _limit(monkeypatch, 4)
    value = ListValue([b"a"] * 5)
    encodings = []
    while value:
        value.pop_left()
        encodings.append((len(value), value.encoding()))
    assert encodings == [(4, b"quicklist"), (3, b"quicklist"), (2, b"listpack"), (1, b"listpack"), (0, b"listpack")]


def test_list_encoding_follows_a_replaced_element_both_ways(newer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    _limit(monkeypatch, -1)
    value = ListValue([b"a", b"b"])
    value[1] = b"x" * 5000
    assert value.encoding() == b"quicklist"
    value[1] = b"c"
    assert value.encoding() == b"listpack"


def test_list_encoding_shrinks_by_trimming_and_removing(newer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    _limit(monkeypatch, -1)
    large = b"x" * 5000
    trimmed, cleaned = ListValue([large, b"a"]), ListValue([large, b"a", large])
    trimmed.keep(1, 2)
    cleaned.remove(large, 0)
    assert (trimmed.encoding(), cleaned.encoding()) == (b"listpack", b"listpack")


def test_list_rotated_keeps_the_encoding_that_its_length_asks_for(newer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    _limit(monkeypatch, 4)
    value = ListValue([b"a", b"b", b"c", b"d", b"e"])
    value.pop_right(2)
    assert value.rotate(True, False) == b"a"
    assert (list(value), value.encoding()) == ([b"b", b"c", b"a"], b"quicklist")
    value.pop_right()
    assert (value.rotate(False, True), value.encoding()) == (b"c", b"listpack")


def test_list_copy_keeps_the_encoding(newer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    _limit(monkeypatch, 4)
    value = ListValue([b"a"] * 5)
    value.pop_left(2)
    assert value.copy().encoding() == value.encoding() == b"quicklist"
    assert ListValue(value.items).encoding() == b"listpack"  # one that is built anew, as by loading


@given(operations)
def test_list_any_operations_know_the_size_while_packed(steps: list[tuple[str, object]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(COMPAT, "newer", True)
        _limit(patch, 30)
        value = ListValue()
        for name, argument in steps:
            _apply(value, name, argument)
            size = EMPTY_LISTPACK_BYTES + sum(map(text_size, value))
            assert value._bytes in (-1, size)
            assert not value.packed or (value._bytes == size and len(value) <= node_bounds(30)[1])
            assert value.packed or len(value) > 15


def _apply(value: ListValue, name: str, argument: object) -> None:
    """One of `operations`, its indexes brought into range."""
    match name, argument:
        case (("push_left" | "push_right" | "pop_left" | "pop_right"), _):
            getattr(value, name)(argument)
        case "keep", (int(start), int(stop)):
            start = min(start, len(value))
            value.keep(start, max(start, min(stop, len(value))))
        case "insert", (int(index), bytes(element)):
            value.insert(min(index, len(value)), element)
        case "set", (int(index), bytes(element)) if len(value):
            value[index % len(value)] = element
        case "remove", (bytes(element), int(count)):
            value.remove(element, count)
