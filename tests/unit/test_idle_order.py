"""Whatever is delivered, acknowledged and released: the order always names the entry that waits longest."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from slotmesh.node.types.stream_group import Group

ENTRIES = st.integers(1, 8)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), ENTRIES, st.integers(0, 5)),
        st.tuples(st.just("again"), ENTRIES, st.integers(0, 5)),
        st.tuples(st.just("acknowledge"), ENTRIES, st.just(0)),
        st.tuples(st.just("release"), ENTRIES, st.just(0)),
    ),
    max_size=300,
)


def _longest_wait(group: Group) -> tuple[int, int] | None:
    """What the order must say, by looking at everything."""
    owned = [(item.delivered_ms, i) for i, item in group.pel.values.items() if item.consumer is not group.unowned]
    return min(owned, default=None)


@settings(max_examples=150)
@given(STEPS)
def test_first_is_the_longest_wait_after_every_step(steps: list[tuple[str, int, int]]) -> None:
    group = Group(b"g", 0)
    consumer, _ = group.consumer(b"c", 0)
    order = group.idle_order()
    for what, entry, at_ms in steps:
        if what == "deliver":
            group.deliver(entry, consumer, at_ms)
        elif what == "acknowledge":
            group.acknowledge(entry)
        elif entry in group.pel and what == "release":
            group.release(entry, 1)
        elif entry in consumer.pel:
            group.read_again(entry, at_ms)
        assert order.first() == _longest_wait(group)


def test_order_forgets_what_was_delivered_again() -> None:
    group = Group(b"g", 0)
    consumer, _ = group.consumer(b"c", 0)
    group.deliver(1, consumer, 0)
    order = group.idle_order()
    for at_ms in range(10_000):
        group.deliver(1, consumer, at_ms)
    assert len(order._heap) < 100
    assert order.first() == (9999, 1)


def test_taken_entry_is_passed_over_until_it_is_delivered_again() -> None:
    group = Group(b"g", 0)
    consumer, _ = group.consumer(b"c", 0)
    for entry in (1, 2):
        group.deliver(entry, consumer, entry)
    order = group.idle_order()
    order.take()
    assert order.first() == (2, 2)
    group.deliver(1, consumer, 1)
    assert order.first() == (1, 1)
