"""The generator of `math.random`. The C library knows what it must draw."""

from __future__ import annotations

import ctypes

from slotmesh.node.scripting.randomness import Randomness

_LIMIT = 2**31 - 1


def test_seeded_generator_draws_what_lrand48_draws() -> None:
    libc = ctypes.CDLL(None)
    generator = Randomness()
    for seed in (0, 1, 10, -3):
        generator.seed(seed)
        libc.srand48(ctypes.c_long(seed))
        assert [round(generator.draw() * _LIMIT) for _ in range(50)] == [libc.lrand48() for _ in range(50)]


def test_same_seed_gives_the_same_numbers() -> None:
    one, two = Randomness(), Randomness()
    one.seed(-3)
    two.draw()
    two.seed(-3)
    assert [one.draw() for _ in range(10)] == [two.draw() for _ in range(10)]


def test_seed_is_taken_modulo_32_bits() -> None:
    one, two = Randomness(), Randomness()
    one.seed(1)
    two.seed(2**32 + 1)
    assert one.draw() == two.draw()


def test_numbers_lie_in_the_unit_interval() -> None:
    generator = Randomness()
    drawn = [generator.draw() for _ in range(10_000)]
    assert min(drawn) >= 0
    assert max(drawn) < 1
    assert 0.48 < sum(drawn) / len(drawn) < 0.52
