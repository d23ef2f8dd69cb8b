"""How many distinct elements led to the registers of a HyperLogLog.

The estimator is Ertl's ("New cardinality estimation algorithms for HyperLogLog sketches", arXiv:1702.01284), and its
arithmetic is done in the same order as stock does it, so counts agree exactly.
"""

from __future__ import annotations

import math
from typing import Final

#: Bits of the hash behind those that choose the register: no register is higher than this plus one.
HASH_BITS: Final = 50
_LIMIT: Final = float(1 << 63)
_ALPHA_INF: Final = 0.721347520444481703680  # 0.5 / ln 2


def estimate(values: bytearray) -> int:
    """The number of distinct elements that led to these registers, one byte each.

    Registers that no elements lead to may say more than an int64 holds: then its smallest, as the processor has it.
    """
    m = float(len(values))
    histogram = [values.count(value) for value in range(HASH_BITS + 2)]
    z = m * _tau((m - histogram[HASH_BITS + 1]) / m)
    for value in range(HASH_BITS, 0, -1):
        z += histogram[value]
        z *= 0.5
    z += m * _sigma(histogram[0] / m)
    count = _ALPHA_INF * m * m / z + 0.5 if z else math.inf
    return math.floor(count) if count < _LIMIT else -(1 << 63)


def _sigma(x: float) -> float:
    if x == 1.0:
        return math.inf
    y, z = 1.0, x
    while True:
        x *= x
        before = z
        z += x * y
        y += y
        if z == before:
            return z


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, z = 1.0, 1 - x
    while True:
        x = math.sqrt(x)
        before = z
        y *= 0.5
        z -= (1 - x) ** 2 * y
        if z == before:
            return z / 3
