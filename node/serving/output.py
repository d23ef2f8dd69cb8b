"""Sending replies: one send per client and pass, and what happens when a client does not read.

What a socket does not take at once waits in `Client.unsent` until epoll says that it takes bytes again. A client whose
queue grows beyond `client-output-buffer-limit` of its class is closed: a slow reader must not cost the node its memory.
Before authentication the limit is as good as nothing, as in the stock versions since CVE-2025-21605.
"""

from __future__ import annotations

import logging
import select
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from slotmesh.node.clients.client import Client
    from slotmesh.node.state import NodeState

log = logging.getLogger("node")

IN: Final = select.EPOLLIN | select.EPOLLRDHUP
OUT: Final = select.EPOLLOUT
#: Bytes that one client with a long queue may be sent before others have their turn.
SEND_BUDGET: Final = 1 << 20
#: Replies of a pass up to this size are sent whatever the limit: stock has a buffer of this size that does not count.
_UNCOUNTED: Final = 16 * 1024
#: What a client may leave unread before it is authenticated: that buffer, and one kilobyte.
_STRANGERS_LIMIT: Final = _UNCOUNTED + 1024


class Output:
    """The sending half of the data plane. `drop` closes a client, `fault` one that met a bug of ours."""

    def __init__(
        self,
        state: NodeState,
        epoll: select.epoll,
        drop: Callable[[Client], None],
        fault: Callable[[Client], None],
        held: Callable[[int], None],
    ) -> None:
        self._state = state
        self._held = held
        self._epoll = epoll
        self._drop = drop
        self._fault = fault
        #: Clients beyond the soft limit of their class.
        self._over_soft: dict[Client, None] = {}

    def send(self, client: Client) -> None:
        """Send the replies of this pass, or queue them behind what the socket has not taken yet."""
        out = client.out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        if len(data) > _UNCOUNTED and client.replica is None and self._enforce_limit(client, len(data)):
            return
        if client.unsent is not None:
            client.unsent.append(data)
            client.unsent_bytes += len(data)
            self._must_keep(client, len(data))
            return
        assert client.sock is not None
        try:
            sent = client.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(client)
            return
        stats = self._state.stats
        stats.output_bytes += sent
        stats.writes += 1
        client.output_bytes += sent
        if sent != len(data):
            client.unsent = deque((memoryview(data)[sent:] if sent else data,))
            client.unsent_bytes = len(data) - sent
            self._epoll.modify(client.fd, IN | OUT)
            self._must_keep(client, client.unsent_bytes)
        elif client.close_after_reply:
            self._drop(client)

    def send_more(self, client: Client) -> None:
        """The socket takes bytes again."""
        unsent = client.unsent
        assert unsent is not None
        assert client.sock is not None
        budget = SEND_BUDGET
        while unsent and budget > 0:
            piece = unsent[0]
            try:
                sent = client.sock.send(piece)
            except BlockingIOError:
                return
            except OSError:
                self._drop(client)
                return
            self._state.stats.output_bytes += sent
            client.output_bytes += sent
            client.unsent_bytes -= sent
            budget -= sent
            if sent == len(piece):
                unsent.popleft()
            else:
                unsent[0] = memoryview(piece)[sent:]
                return
        if not unsent:
            client.unsent = None
            client.unsent_bytes = 0
            self._epoll.modify(client.fd, IN)
            if client.replica is not None:
                client.replica.on_drained()
            if client.close_after_reply:
                self._drop(client)

    def _must_keep(self, client: Client, size: int) -> None:
        """`size` bytes joined the queue of `client`: look at its own limit, then at that of all clients together."""
        if not self._enforce_limit(client):
            self._held(size)

    def enforce_soft_limits(self) -> bool:
        """Close the clients whose queue has been too long for too long though nothing was added to it.

        Whether others are on the way there.
        """
        for client in list(self._over_soft):
            if client.sock is None or client.unsent is None:
                del self._over_soft[client]
                continue
            try:
                self._enforce_limit(client)
            except Exception:  # a bug of ours
                self._over_soft.pop(client, None)
                self._fault(client)
        return bool(self._over_soft)

    def _enforce_limit(self, client: Client, more: int = 0) -> bool:
        """Close a client that reads too slowly, by `client-output-buffer-limit` of its class; whether it was closed.

        `more`: bytes that are about to join the queue.
        """
        hard, soft, soft_seconds = self._state.config.client_output_buffer_limit[client.kind]
        if client.replica is not None:
            # Below the size of the backlog it would close a replica that can resume at once, and cost no memory less.
            least = self._state.config.repl_backlog_size
            hard, soft = hard and max(hard, least), soft and max(soft, least)
        elif not client.authenticated:
            hard = min(hard or _STRANGERS_LIMIT, _STRANGERS_LIMIT)
        size = client.unsent_bytes
        over = bool(hard and size + more > hard)
        if soft and size > soft:
            now = self._state.clock.mono_ms
            if not client.soft_limit_since_ms:
                client.soft_limit_since_ms = now
                self._over_soft[client] = None
            over = over or now - client.soft_limit_since_ms > soft_seconds * 1000
        else:
            client.soft_limit_since_ms = 0
            self._over_soft.pop(client, None)
        if over:
            log.warning("Client %s closed for overcoming of output buffer limits.", client.addr)
            self._state.stats.output_buffer_disconnections += 1
            self._over_soft.pop(client, None)
            self._drop(client)
        return over
