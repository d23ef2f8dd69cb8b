"""Records of use: idle times and logarithmic frequencies."""

from __future__ import annotations

import random
from typing import cast

import pytest

from slotmesh.node.keyspace.access import LFU_START, AccessFrequencies, AccessTimes, record_frequencies, record_times
from slotmesh.node.keyspace.keyspace import Keyspace

_MINUTE_MS = 60_000


@pytest.fixture
def keyspace() -> Keyspace:
    made = Keyspace(databases=2)
    made.now_ms = 1_000_000
    return made


def test_idle_time_counts_from_the_start_of_recording_until_the_first_use(keyspace: Keyspace) -> None:
    db = keyspace.dbs[0]
    db.put(b"k", b"v")
    times = record_times(keyspace)
    keyspace.now_ms += 5000
    assert times.idle_ms(0, b"k") == 5000
    db.read(b"k")
    assert times.idle_ms(0, b"k") == 0


def test_reading_writing_and_overwriting_are_uses_but_looking_is_not(keyspace: Keyspace) -> None:
    db = keyspace.dbs[0]
    times = record_times(keyspace)
    db.put(b"k", b"v")
    for use in (lambda: db.read(b"k"), lambda: db.write(b"k"), lambda: db.set(b"k", b"w")):
        keyspace.now_ms += 1000
        assert times.idle_ms(0, b"k") == 1000
        use()
        assert times.idle_ms(0, b"k") == 0
    keyspace.now_ms += 1000
    db.look(b"k")
    db.peek(b"k")
    assert times.idle_ms(0, b"k") == 1000


def test_record_of_a_key_goes_with_the_key(keyspace: Keyspace) -> None:
    db = keyspace.dbs[0]
    times = record_times(keyspace)
    db.put(b"k", b"v")
    db.delete(b"k")
    keyspace.now_ms += 3000
    assert times.idle_ms(0, b"k") == 3000
    db.put(b"k", b"v")
    db.swap_with(keyspace.dbs[1])
    keyspace.now_ms += 1000
    assert times.idle_ms(1, b"k") == 1000
    keyspace.dbs[1].clear()
    assert times.idle_ms(1, b"k") == 4000


def test_recorder_is_replaced_when_the_other_kind_is_asked_for(keyspace: Keyspace) -> None:
    assert isinstance(record_times(keyspace), AccessTimes)
    assert record_times(keyspace) is keyspace.access
    counts = record_frequencies(keyspace, random.Random(1), 10, 1)
    assert isinstance(counts, AccessFrequencies)
    assert cast("object", keyspace.access) is counts


def test_frequency_grows_with_the_logarithm_of_uses(keyspace: Keyspace) -> None:
    counts = record_frequencies(keyspace, random.Random(1), 10, 1)
    for _ in range(1000):
        counts.touch(0, b"warm")
    for _ in range(100_000):
        counts.touch(0, b"hot")
    # The figures of stock's documentation for lfu-log-factor 10: 18 after 1,000 uses, 142 after 100,000.
    assert 12 <= counts.frequency(0, b"warm") <= 25
    assert 125 <= counts.frequency(0, b"hot") <= 160
    assert counts.frequency(0, b"never used") == LFU_START


def test_frequency_decays_one_step_per_decay_time(keyspace: Keyspace) -> None:
    counts = record_frequencies(keyspace, random.Random(1), 0, 2)
    for _ in range(20):
        counts.touch(0, b"k")
    high = counts.frequency(0, b"k")
    keyspace.now_ms += 10 * _MINUTE_MS
    assert counts.frequency(0, b"k") == high - 5
    keyspace.now_ms += 1000 * _MINUTE_MS
    assert counts.frequency(0, b"k") == 0


def test_frequency_with_decay_time_zero_never_decays(keyspace: Keyspace) -> None:
    counts = record_frequencies(keyspace, random.Random(1), 10, 0)
    counts.set_frequency(0, b"k", 200)
    keyspace.now_ms += 1000 * _MINUTE_MS
    assert counts.frequency(0, b"k") == 200
