"""How fast slots are moved: as fast as the other clients of the two nodes do not notice.

What the mover sees of its own commands says little about others: commands that were sent together are served in turns,
and each turn keeps everybody else waiting. So a thread asks both nodes for a PONG all the time, as any client might,
and the longest wait decides how much is asked for at once, and how long the nodes are left alone before the next
request. On a machine under load every wait is long; then moves are slow, and the sentinels' leases are renewed in time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

import attrs

from slotmesh.cluster.plan import Address
from slotmesh.tools.clusterctl.connect import Access, NodeLink
from slotmesh.tools.clusterctl.errors import CannotConnect, ServerError

MAX_KEYS_PER_CALL = 512
MIN_KEYS_PER_CALL = 8
MAX_CALLS_AT_ONCE = 4
MAX_WINDOW_SLOTS = 128
MIN_WINDOW_SLOTS = 8
SLOW_CALL_S = 0.010
"""A MIGRATE serves nobody else while it runs."""

LONG_WAIT_S = 0.050
"""Longer than that others are not to wait; a lease of the sentinels is renewed five times a second."""

LONGEST_REST_S = 0.5
PROBE_PERIOD_S = 0.010


@attrs.define
class Pace:
    """How much to ask for at once, by what the last requests did to others."""

    keys_per_call: int = 64
    calls_at_once: int = MAX_CALLS_AT_ONCE
    window_slots: int = MAX_WINDOW_SLOTS

    def note_keys(self, seconds_per_call: float, keys_per_call: int, wait_s: float) -> float:
        """After some MIGRATE calls, during which others waited for so long: how long to leave the nodes alone."""
        if wait_s > LONG_WAIT_S:
            self.calls_at_once = max(1, self.calls_at_once // 2)
        elif wait_s < LONG_WAIT_S / 4:
            self.calls_at_once = min(MAX_CALLS_AT_ONCE, self.calls_at_once + 1)
        if seconds_per_call > SLOW_CALL_S or (wait_s > LONG_WAIT_S and self.calls_at_once == 1):
            self.keys_per_call = max(MIN_KEYS_PER_CALL, self.keys_per_call // 2)
        elif seconds_per_call < SLOW_CALL_S / 4 and wait_s < LONG_WAIT_S / 4 and keys_per_call >= self.keys_per_call:
            self.keys_per_call = min(MAX_KEYS_PER_CALL, self.keys_per_call * 2)
        return rest_s(wait_s)

    def note_slots(self, wait_s: float) -> float:
        """The same after the commands that open or close a window of slots."""
        if wait_s > LONG_WAIT_S:
            self.window_slots = max(MIN_WINDOW_SLOTS, self.window_slots // 2)
        elif wait_s < LONG_WAIT_S / 4:
            self.window_slots = min(MAX_WINDOW_SLOTS, self.window_slots * 2)
        return rest_s(wait_s)


def rest_s(wait_s: float) -> float:
    """How long to leave nodes alone that kept others waiting for so long: as long again."""
    return min(wait_s, LONGEST_REST_S) if wait_s > LONG_WAIT_S else 0.0


class WaitWatch:
    """Measures in threads how long a client of some nodes waits for its turn. Use as a context manager."""

    def __init__(self, addresses: Sequence[Address], access: Access) -> None:
        self._access = access
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._longest_s = 0.0
        self._asked: dict[Address, float] = {}
        self._threads = [
            threading.Thread(target=self._run, args=(address,), name="wait-watch", daemon=True) for address in addresses
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def longest_s(self) -> float:
        """The longest wait since the last call; one that is not over counts for its length so far."""
        now = time.monotonic()
        with self._lock:
            longest = max([self._longest_s, *(now - since for since in self._asked.values())])
            self._longest_s = 0.0
        return longest

    def _run(self, address: Address) -> None:
        with ExitStack() as stack:
            link = stack.enter_context(NodeLink(address, self._access))
            while not self._stop.wait(PROBE_PERIOD_S):
                began = time.monotonic()
                with self._lock:
                    self._asked[address] = began
                try:
                    link.call("PING")
                except ServerError:
                    pass  # an answer all the same
                except CannotConnect:
                    self._stop.wait(PROBE_PERIOD_S * 10)  # the mover meets the same, and says so when it lasts
                finally:
                    with self._lock:
                        del self._asked[address]
                        self._longest_s = max(self._longest_s, time.monotonic() - began)
