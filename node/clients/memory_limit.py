"""`maxmemory-clients`: when the clients together make us hold too much, the greediest are closed.

What counts is what a client makes us keep: requests not parsed yet, queued commands, names it subscribes to or watches,
replies it does not read. Replicas, our primary and clients that said CLIENT NO-EVICT are spared and do not count.

The limit holds at once, not with the next housekeeping. Adding up what all clients hold costs time, though, so it is
not done in every pass: a client can grow only by what it sends (`stats.input_bytes`), by what it does not read (`held`)
and by what the names it gives cost us beyond their bytes (`named`). These are counted as they come, and the sum is
taken again only when they could have used up what was left below the limit. Close to the limit that may be always; a
node with many clients then looks less often.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import perf_counter_ns
from typing import Final

from slotmesh.node.clients.client import KIND_NORMAL, KIND_PUBSUB, Client
from slotmesh.node.clients.describe import NAME_BYTES, describe_client, kept_bytes
from slotmesh.node.state import NodeState

log = logging.getLogger("node")

#: Beyond so many clients, a look is followed by so many times its length without another.
_MANY: Final = 256
_TIME_SHARE: Final = 20


class ClientEviction:
    """The limit of one node, and when it has to be looked at."""

    def __init__(self, state: NodeState, clients: Mapping[int, Client]) -> None:
        self._state = state
        self._clients = clients
        #: In bytes, 0 for none.
        self.limit = 0
        #: By how many bytes, their own input left out, clients may have grown since the last look.
        self._grown = 0
        self._seen_input = 0
        self._headroom = 0
        self._not_before_ns = 0
        state.config.on_change("maxmemory-clients", lambda _: self.settle())
        state.config.on_change("maxmemory", lambda _: self.settle())
        self.settle()

    def settle(self) -> None:
        """Take the limit from the configuration, where a percentage is one of `maxmemory`; look at it with the pass."""
        config = self._state.config
        limit = config.maxmemory_clients
        self.limit = limit if limit >= 0 else config.maxmemory * -limit // 100
        self.look_soon()

    def look_soon(self) -> None:
        """The sum may have changed in a way that nobody counted: look at the end of the pass."""
        self._headroom = -1
        self._not_before_ns = 0

    def held(self, size: int) -> None:
        """A client did not read `size` bytes, which we keep for it. It may be closed before this returns."""
        self._grown += size
        self.maybe_evict()

    def named(self, count: int) -> None:
        """A client watches or listens to `count` more names."""
        self._grown += count * NAME_BYTES

    def maybe_evict(self) -> None:
        """Look at the sum if it may be beyond the limit. Called at the end of every pass."""
        if not self.limit:
            return
        arrived = self._state.stats.input_bytes - self._seen_input
        if arrived + self._grown > self._headroom and perf_counter_ns() >= self._not_before_ns:
            self.evict()

    def evict(self) -> int:
        """Close clients, the largest first, until the others fit; how many were closed."""
        limit = self.limit
        if not limit:
            return 0
        started = perf_counter_ns()
        sizes = [(kept_bytes(client), client.id) for client in self._clients.values() if _counts(client)]
        total = sum(size for size, _ in sizes)
        closed = 0
        if total > limit:
            for size, client_id in sorted(sizes, reverse=True):
                if total <= limit:
                    break
                client = self._clients[client_id]
                log.info("Evicting client: %s", describe_client(client).decode("utf-8", "replace"))
                client.server.data_plane.drop(client)
                self._state.stats.evicted_clients += 1
                closed += 1
                total -= size
        self._headroom = limit - total
        self._grown = 0
        self._seen_input = self._state.stats.input_bytes
        ended = perf_counter_ns()
        if len(sizes) > _MANY:
            self._not_before_ns = ended + (ended - started) * _TIME_SHARE
        return closed


def _counts(client: Client) -> bool:
    return not client.no_evict and client.kind in (KIND_NORMAL, KIND_PUBSUB)
