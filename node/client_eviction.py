"""`maxmemory-clients`: when the clients together make us hold too much, the greediest are closed.

What counts is what a client makes us keep: requests not parsed yet, queued commands, replies it does not read
(`client_info.memory_bytes`). Replicas, our primary and clients that said CLIENT NO-EVICT are spared and do not count.
The check runs with the housekeeping; until then a client is bounded by the limits of its own buffers.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from node.client import KIND_NORMAL, KIND_PUBSUB
from node.observe.client_info import describe_client, memory_bytes

if TYPE_CHECKING:
    from node.config import Config
    from node.server import Server

log = logging.getLogger("node")


def limit_bytes(config: Config) -> int:
    """The limit in bytes, 0 for none; a percentage is one of `maxmemory`."""
    limit = config.maxmemory_clients
    return limit if limit >= 0 else config.maxmemory * -limit // 100


def evict_clients(server: Server) -> int:
    """Close clients, the largest first, until the others fit; how many were closed."""
    limit = limit_bytes(server.config)
    if not limit:
        return 0
    sizes = [
        (memory_bytes(client), client.id)
        for client in server.clients.values()
        if not client.no_evict and client.kind in (KIND_NORMAL, KIND_PUBSUB)
    ]
    excess = sum(size for size, _ in sizes) - limit
    closed = 0
    for size, client_id in sorted(sizes, reverse=True):
        if excess <= 0:
            break
        client = server.clients[client_id]
        log.info("Evicting client: %s", describe_client(client).decode("utf-8", "replace"))
        server.data_plane.drop(client)
        server.stats.evicted_clients += 1
        excess -= size
        closed += 1
    return closed
