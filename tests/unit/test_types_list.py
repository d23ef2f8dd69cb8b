"""ListValue against a plain Python list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.types.list import ListValue

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
