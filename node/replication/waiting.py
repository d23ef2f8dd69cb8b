"""WAIT and WAITAOF: clients that wait until enough replicas have applied, or put on disk, what they wrote. So does a
CLUSTER SETSLOT with a timeout, until they know of it.

The replicas are asked for their offsets once per pass, whoever waits (`Stream.ack_wanted`); every acknowledgement is
then checked against the waiting clients. The wait itself, its time limit included, is a `Block` without keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from slotmesh.node.clients.block import Block
from slotmesh.node.clients.blocking import Blocking

if TYPE_CHECKING:
    from slotmesh.node.clients.client import Client
    from slotmesh.node.replication.stream import Stream

#: The reply as things stand, and whether it satisfies the client.
Question = Callable[[], tuple[Any, bool]]


class Waiting:
    """The clients that wait for replicas."""

    def __init__(self, blocking: Blocking, stream: Stream) -> None:
        self._blocking = blocking
        self._stream = stream
        self._waiters: dict[Client, tuple[Block, Question]] = {}

    def wait(self, client: Client, timeout_ms: int, question: Question) -> Any:
        """The reply at once if it satisfies or the client may not block, else a Block."""
        reply, satisfied = question()
        if satisfied or client.deny_blocking or client.in_exec:
            return reply
        block = Block((), timeout_ms, lambda: question()[0])
        self._waiters[client] = block, question
        self._stream.ack_wanted = True
        return block

    def check(self) -> None:
        """Something was acknowledged: wake those who have what they wait for."""
        for client, (block, question) in list(self._waiters.items()):
            if client.blocked is not block:
                del self._waiters[client]  # its time was up, or it is gone
                continue
            try:
                reply, satisfied = question()
                if satisfied:
                    del self._waiters[client]
                    self._blocking.complete(client, reply)
            except Exception:  # a bug of ours must not cost the pass, in which others have work done
                self._waiters.pop(client, None)
                client.server.data_plane.fault(client)
