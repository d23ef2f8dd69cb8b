"""The generator behind `math.random` in scripts.

It is the 48-bit linear congruential one of POSIX (`lrand48`), with the start value that stock has, so that a script
with `math.randomseed` draws the same numbers here and there. EVAL and functions share one sequence.
"""

from __future__ import annotations

from typing import Final

_FACTOR: Final = 0x5DEECE66D
_ADDEND: Final = 0xB
_MASK: Final = (1 << 48) - 1
_START: Final = 0x1234ABCD330E
_LOW_OF_SEED: Final = 0x330E
_LIMIT: Final = (1 << 31) - 1


class Randomness:
    """One sequence."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = _START

    def seed(self, value: int) -> None:
        """Start again at a point that depends on the lower 32 bits of `value`."""
        self._state = (value & 0xFFFFFFFF) << 16 | _LOW_OF_SEED

    def draw(self) -> float:
        """The next number of [0, 1)."""
        self._state = (self._state * _FACTOR + _ADDEND) & _MASK
        return (self._state >> 17) % _LIMIT / _LIMIT
