"""What the server tells about itself: histograms, spikes, the slow log, INFO's merging, what is hidden."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node import commands
from slotmesh.node.base.latency import LatencyMonitor, Series, draw_graph, summarize
from slotmesh.node.observe.command_log import shortened
from slotmesh.node.observe.histogram import SHIFT, Histogram
from slotmesh.node.observe.info import human_bytes, merge, ratio
from slotmesh.node.observe.monitors import redacted
from slotmesh.node.spec import registry

# -- histogram -------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**11), min_size=1, max_size=60))
def test_histogram_counts_everything_once_and_percentiles_bound_the_values(values: list[int]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    assert histogram.total == len(values)
    assert histogram.cumulative()[-1][1] == len(values)
    assert histogram.percentile_micros(100) >= max(values) / 1000
    middle = sorted(values)[(len(values) - 1) // 2]
    assert histogram.percentile_micros(50) >= middle / 1000 * 0.5


def test_histogram_resolves_microseconds_where_commands_live() -> None:
    histogram = Histogram()
    for micros in (1, 2, 3, 900):
        histogram.add(micros * 1000)
    assert [histogram.percentile_micros(p) for p in (25, 50, 75, 100)] == pytest.approx([1.0, 2.0, 3.0, 900], abs=1.1)


def test_histogram_may_be_incremented_from_outside() -> None:
    histogram = Histogram()
    histogram.counts[5000 >> SHIFT] += 1
    assert histogram.total == 1
    with pytest.raises(IndexError):
        histogram.counts[10**9 >> SHIFT] += 1


def test_histogram_cumulates_at_powers_of_two() -> None:
    histogram = Histogram()
    for nanos in (500, 600, 3000, 40_000_000):
        histogram.add(nanos)
    assert histogram.cumulative() == [(1, 2), (4, 3), (67108, 4)]


def test_empty_histogram_has_no_latency() -> None:
    assert Histogram().percentile_micros(99) == 0.0
    assert Histogram().cumulative() == []


# -- latency monitor -------------------------------------------------------------------------------------------


def test_spike_below_the_threshold_is_no_event() -> None:
    monitor = LatencyMonitor()
    monitor.add("command", 500, 1)
    monitor.threshold_ms = 100
    monitor.add("command", 99, 1)
    assert monitor.events == {}
    monitor.add("command", 100, 1)
    assert list(monitor.events["command"].samples) == [(1, 100)]


def test_series_keeps_the_worst_of_a_second_and_160_seconds() -> None:
    series = Series()
    for second in range(200):
        series.add(second, 10)
        series.add(second, 30)
        series.add(second, 20)
    assert len(series.samples) == 160
    assert set(series.samples) == {(second, 30) for second in range(40, 200)}
    assert series.worst_ms == 30


def test_summary_is_that_of_the_samples() -> None:
    series = Series()
    for second, ms in ((10, 100), (12, 200), (14, 300)):
        series.add(second, ms)
    summary = summarize(series, 20)
    assert (summary.count, summary.mean_ms, summary.deviation_ms) == (3, 200, 66)
    assert (summary.low_ms, summary.high_ms, summary.period_s) == (100, 300, 10)


def test_reset_forgets_the_named_events_only() -> None:
    monitor = LatencyMonitor()
    monitor.threshold_ms = 1
    for event in ("command", "fork", "aof-write"):
        monitor.add(event, 5, 1)
    assert monitor.reset(["fork", "nosuch"]) == 1
    assert monitor.reset([]) == 2


def test_graph_draws_higher_spikes_higher() -> None:
    series = Series()
    for second, ms in ((1, 10), (2, 60), (3, 120)):
        series.add(second, ms)
    lines = draw_graph("command", series, 63).splitlines()
    assert lines[0] == "command - high 120 ms, low 10 ms (all time high 120 ms)"
    assert lines[2][2] in "_o#"
    assert lines[5].startswith("_|")
    assert [lines[7][:3], lines[8][:3]] == ["116", "mm0"] or lines[7][:3] == "111"


# -- slow log --------------------------------------------------------------------------------------------------


def test_slow_command_is_kept_short() -> None:
    argv = [b"MSET", *(b"%d" % number for number in range(100)), b"x" * 1000]
    shown = shortened(argv)
    assert len(shown) == 32
    assert shown[-1] == b"... (71 more arguments)"
    assert shortened([b"SET", b"k", b"x" * 130])[2] == b"x" * 128 + b"... (2 more bytes)"
    assert shortened([b"SET", b"k", b"x" * 128])[2] == b"x" * 128


# -- what is hidden --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("AUTH secret", "AUTH #"),
        ("AUTH user secret", "AUTH # #"),
        ("HELLO 3 AUTH user secret SETNAME me", "HELLO 3 AUTH # # SETNAME me"),
        ("CONFIG SET requirepass a hz 10 masterauth b", "CONFIG SET requirepass # hz 10 masterauth #"),
        ("CONFIG SET hz 10", "CONFIG SET hz 10"),
        ("ACL SETUSER bob on >secret", "ACL SETUSER # # #"),
        ("ACL DELUSER bob", "ACL DELUSER #"),
        ("MIGRATE h 1 k 0 5 AUTH secret KEYS", "MIGRATE h 1 k 0 5 AUTH # KEYS"),
        ("MIGRATE h 1 k 0 5 AUTH2 user secret", "MIGRATE h 1 k 0 5 AUTH2 # #"),
        ("SET auth secret", "SET auth secret"),
    ],
)
def test_secrets_are_hidden_from_monitors_and_the_slow_log(line: str, shown: str) -> None:
    commands.load_all()
    argv = line.encode().split()
    assert redacted(registry.find(argv), argv) == shown.encode().replace(b"#", b"(redacted)").split()


# -- INFO ------------------------------------------------------------------------------------------------------


def test_merge_replaces_known_fields_and_places_new_ones_behind_their_neighbours() -> None:
    base = {"a": 1, "b": 2, "c": 3}
    assert list(merge(base, {"b": 9, "x": 8, "y": 7, "c": 6, "z": 5}).items()) == [
        ("a", 1),
        ("b", 9),
        ("x", 8),
        ("y", 7),
        ("c", 6),
        ("z", 5),
    ]
    assert list(merge(base, {"new": 0})) == ["a", "b", "c", "new"]


def test_sizes_and_ratios_read_like_those_of_stock() -> None:
    assert [human_bytes(size) for size in (0, 1023, 1024, 1545712, 5 << 30)] == [
        "0B",
        "1023B",
        "1.00K",
        "1.47M",
        "5.00G",
    ]
    assert [ratio(1, 3), ratio(1, 0)] == ["0.33", "0.00"]
