"""The estimate of used memory, from figures that a test makes up; and once from those of this process."""

from __future__ import annotations

import gc
import time

from slotmesh.node.memory.used import Figures, Memory, measure

MB = 1 << 20
_START = Figures(resident=40 * MB, anonymous=30 * MB, blocks=300_000, heap_used=8 * MB, heap_held=9 * MB)


class _Process:
    """A process whose allocators behave as ours: they keep what they once got."""

    def __init__(self, start: Figures = _START) -> None:
        self.now = start

    def small(self, blocks: int, resident: int) -> None:
        """So many more blocks of pymalloc's, in pages that were not there before."""
        now = self.now
        self.now = now._replace(
            blocks=now.blocks + blocks, resident=now.resident + resident, anonymous=now.anonymous + resident
        )

    def large(self, used: int, held: int) -> None:
        """malloc gives out `used` bytes more, and got `held` from the system."""
        now = self.now
        self.now = now._replace(
            heap_used=now.heap_used + used,
            heap_held=now.heap_held + held,
            resident=now.resident + held,
            anonymous=now.anonymous + held,
        )


def _memory(process: _Process) -> Memory:
    return Memory(lambda: process.now)


def _growth(memory: Memory) -> float:
    """What is used beyond the start, in MB."""
    memory.sample(0)
    return (memory.used - memory.startup) / MB


def test_use_at_the_start_is_the_resident_set() -> None:
    memory = _memory(_Process())
    memory.sample(0)
    assert memory.used == memory.startup == memory.peak == memory.resident == 40 * MB


def test_use_falls_with_the_blocks_while_the_resident_set_stays() -> None:
    process = _Process()
    memory = _memory(process)
    process.small(1_000_000, 100 * MB)
    assert _growth(memory) == 100
    process.small(-500_000, 0)
    assert _growth(memory) == 50
    process.small(-500_000, 0)
    assert _growth(memory) == 0
    assert memory.resident == 140 * MB
    assert memory.peak == 140 * MB


def test_use_falls_with_what_malloc_gave_out_while_the_resident_set_stays() -> None:
    process = _Process()
    memory = _memory(process)
    process.large(200 * MB, 200 * MB)
    assert _growth(memory) == 200
    process.large(-150 * MB, 0)
    assert _growth(memory) == 50
    assert memory.resident == 240 * MB


def test_pages_that_come_and_go_do_not_change_the_size_of_a_block() -> None:
    process = _Process()
    memory = _memory(process)
    process.small(1_000_000, 100 * MB)
    memory.sample(0)
    learned = memory.block_bytes
    process.small(-500_000, 64 << 10)
    memory.sample(0)
    assert memory.block_bytes == learned


def test_size_of_a_block_is_learned_anew_when_the_process_grows_again() -> None:
    process = _Process()
    memory = _memory(process)
    process.small(1_000_000, 60 * MB)
    assert _growth(memory) == 60
    process.small(-1_000_000, -50 * MB)  # most arenas went back to the system
    assert _growth(memory) == 0
    process.small(100_000, 30 * MB)
    assert _growth(memory) == 40


def test_smaller_blocks_in_the_place_of_larger_ones_are_not_taken_for_more_than_the_pages_hold() -> None:
    process = _Process()
    memory = _memory(process)
    process.small(200_000, 80 * MB)
    memory.sample(0)
    process.small(-200_000, 0)
    process.small(1_000_000, 0)
    assert _growth(memory) <= 80


def test_size_of_a_block_is_never_nonsense() -> None:
    process = _Process()
    memory = _memory(process)
    process.small(100, 100 * MB)
    memory.sample(0)
    assert memory.block_bytes == 520
    process.small(100_000_000, 0)
    memory.sample(0)
    assert memory.block_bytes == 32


def test_use_is_never_less_than_what_the_blocks_in_use_must_take() -> None:
    process = _Process()
    memory = _memory(process)
    process.small(20_000, 10 * MB)
    memory.sample(0)
    assert memory.block_bytes > 500
    process.small(-250_000, 0)  # more than came since the start
    memory.sample(0, limit=1)
    assert memory.used == _START.heap_used + 70_000 * 32


def test_look_that_the_machine_held_up_does_not_put_off_the_next() -> None:
    """Only the processor's time counts: a look that waits for its turn is not a dear one."""

    def held_up() -> Figures:
        time.sleep(0.1)
        return _START

    memory = Memory(held_up)
    memory.sample(1000, limit=memory.used)
    assert memory.next_look_ms < 1000 + 50


def test_without_figures_of_malloc_all_pages_belong_to_blocks() -> None:
    process = _Process(_START._replace(heap_used=0, heap_held=0))
    memory = _memory(process)
    process.small(100_000, 200 * MB)
    assert _growth(memory) == 200
    process.small(-50_000, 0)
    assert _growth(memory) == 100


def test_next_look_is_sooner_the_nearer_the_limit() -> None:
    process = _Process()
    memory = _memory(process)
    memory.sample(1000)
    relaxed = memory.next_look_ms
    assert relaxed >= 1100
    memory.sample(1000, 41 * MB)
    assert 1000 < memory.next_look_ms < relaxed
    memory.sample(1000, 30 * MB)
    assert memory.next_look_ms > 1000


def test_real_figures_follow_what_this_process_allocates_and_frees() -> None:
    gc.collect()
    memory = Memory(measure)
    kept = [bytes(1 << 20) for _ in range(50)]
    memory.sample(0)
    grown = memory.used
    assert 49 * MB < grown - memory.startup < 55 * MB
    del kept
    memory.sample(0)
    assert 49 * MB < grown - memory.used < 55 * MB
    many = [b"%d" % i for i in range(500_000)]
    memory.sample(0)
    grown = memory.used
    assert 15 * MB < grown - memory.startup < 50 * MB
    many.clear()
    memory.sample(0)
    assert memory.used - memory.startup < 5 * MB
