"""The heaviest of many names, counted in little room: the Space-Saving algorithm of Metwally, Agrawal and El Abbadi.

A fixed number of names have a counter. One that has none takes over the counter of the lightest, which therefore says
too much rather than too little: never less than the true weight, and more by at most the total divided by the number of
counters. So whatever is heavier than that share is among the names.

The lightest counter comes from a heap whose entries may be outdated: weights only grow, so an entry that says too
little is put back with what is true, and the first one that is true is the lightest.
"""

from __future__ import annotations

from heapq import heapify, heapreplace, nlargest


class HeavyHitters:
    """Up to `capacity` names with their weights. `total` is the weight of all that was added."""

    def __init__(self, capacity: int) -> None:
        assert capacity > 0
        self._capacity = capacity
        self.weights: dict[bytes, int] = {}
        self._heap: list[tuple[int, bytes]] = []
        self.total = 0

    def add(self, name: bytes, weight: int) -> None:
        """`name` weighs more by `weight`."""
        self.total += weight
        weights = self.weights
        known = weights.get(name)
        if known is not None:
            weights[name] = known + weight
        elif len(weights) < self._capacity:
            weights[name] = weight
            if len(weights) == self._capacity:
                self._heap = [(held, kept) for kept, held in weights.items()]
                heapify(self._heap)
        else:
            self._replace_lightest(name, weight)

    def _replace_lightest(self, name: bytes, weight: int) -> None:
        heap, weights = self._heap, self.weights
        while heap[0][0] < weights[heap[0][1]]:
            lightest = heap[0][1]
            heapreplace(heap, (weights[lightest], lightest))
        held, lightest = heap[0]
        del weights[lightest]
        weights[name] = held + weight
        heapreplace(heap, (held + weight, name))

    def heaviest(self, count: int) -> list[tuple[bytes, int]]:
        """The `count` heaviest names, heaviest first."""
        return nlargest(count, self.weights.items(), key=lambda item: item[1])
