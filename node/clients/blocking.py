"""Blocked clients: who waits for which keys, until when, and who is served first.

A blocking handler (BLPOP, XREAD BLOCK, ...) that finds nothing returns a `Block`: the keys to wait for, a deadline and
the reply of a timeout. When one of the keys is written, the same handler simply runs again for every waiter of that
key, longest wait first, until nothing is left to serve. So a blocking command needs no code but its own handler; a
handler is run again only after a command is complete (a whole EXEC or script counts as one), which is when stock serves
blocked clients as well.

Waits without keys (WAIT, WAITAOF) use a `Block` without keys and are completed by their owner with `complete`.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any

from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.clients.block import Block
from slotmesh.node.clients.client import Client
from slotmesh.node.state import NodeState

#: `Blocking` drops stale deadlines from its heap once this many have gathered.
_STALE_LIMIT = 1024


class Blocking:
    """All blocked clients of a node."""

    def __init__(self, state: NodeState, run_again: Callable[[Client, Block], Any]) -> None:
        self._state = state
        keyspace = self._keyspace = state.keyspace
        self._run_again = run_again
        #: Hooks: a deadline was set that may come before all others; a reply (client, command, bytes) is large.
        self.timers_changed: Callable[[], None] = lambda: None
        self.note_large_reply: Callable[[Client, list[bytes], int], None] = lambda client, argv, size: None
        self._waiters: dict[tuple[int, bytes], dict[Client, None]] = {}
        #: Keys that were written while somebody waits for them; the data plane tests it after every command.
        self.ready: dict[tuple[int, bytes], None] = {}
        #: (end, running number, client, block): the number keeps clients and blocks from being compared.
        self._deadlines: list[tuple[int, int, Client, Block]] = []
        self._pushed = 0
        self.blocked: dict[Client, Block] = {}
        keyspace.waiting_ready = self._key_ready
        keyspace.waiting_places = self._waiters.keys

    def block(self, client: Client, block: Block, now_ms: int) -> None:
        """Put `client` to sleep."""
        block.deadline_ms = now_ms + block.timeout_ms if block.timeout_ms else 0
        client.blocked = block
        self.blocked[client] = block
        for key in block.keys:
            self._waiters.setdefault((client.db.index, key), {})[client] = None
        if block.keys:
            self._keyspace.waiting += 1
            self._keyspace.refresh_observed()
        if block.deadline_ms:
            self._push(block.deadline_ms, client, block)
        if block.retry_ms:
            self._retry_later(client, block, block.retry_ms)

    def _push(self, when_ms: int, client: Client, block: Block) -> None:
        self._pushed += 1
        heappush(self._deadlines, (when_ms, self._pushed, client, block))
        if len(self._deadlines) > _STALE_LIMIT + 2 * len(self.blocked):
            self._deadlines = [item for item in self._deadlines if item[2].blocked is item[3]]
            heapify(self._deadlines)

    def _retry_later(self, client: Client, block: Block, retry_ms: int) -> None:
        """Run the handler of `client` again in `retry_ms`, unless its time is up by then."""
        when_ms = self._state.clock.mono_ms + retry_ms
        if not block.deadline_ms or when_ms < block.deadline_ms:
            self._push(when_ms, client, block)
            self.timers_changed()

    def complete(self, client: Client, reply: Any, *, counted: bool = False) -> None:
        """Wake `client` with `reply`. It must be blocked. `counted`: the statistics know of this end already."""
        block = self.blocked[client]
        self.forget(client)
        client.commands_run += 1
        if not counted:
            block.spec.calls += 1
            if isinstance(reply, errors.ErrorReply):
                block.spec.failed_calls += 1
                self._state.stats.count_error(reply)
        before = len(client.out)
        client.reply(reply)
        size = sum(map(len, client.out[before:]))
        if size >= self._state.reply_limit:
            self.note_large_reply(client, block.argv, size)
        client.server.data_plane.resume(client)

    def forget(self, client: Client) -> None:
        """Take a client out without an answer: it went away, or is being answered."""
        block = self.blocked.pop(client, None)
        if block is None:
            return
        client.blocked = None
        for key in block.keys:
            place = (client.db.index, key)
            waiters = self._waiters.get(place)
            if waiters is not None:
                waiters.pop(client, None)
                if not waiters:
                    del self._waiters[place]
        if block.keys:
            self._keyspace.waiting -= 1
            self._keyspace.refresh_observed()

    def _key_ready(self, db_index: int, key: bytes) -> None:
        place = (db_index, key)
        if place in self._waiters:
            self.ready[place] = None

    def serve_ready(self) -> None:
        """Run the handlers of the clients whose keys were written, until no key is ready any more."""
        while self.ready:
            places = list(self.ready)
            self.ready.clear()
            for place in places:
                if COMPAT.newer and self._keyspace.dbs[place[0]].is_past(place[1]):
                    continue  # nobody is woken for it, nor is it removed; 7.0 does the latter
                db = self._keyspace.dbs[place[0]]
                for client in list(self._waiters.get(place, ())):
                    block = client.blocked
                    if block is None:
                        continue
                    # The one before may have emptied the key. The handler would then go on to its other keys, and take
                    # what belongs to clients that wait for those longer.
                    if block.needs_keys or db.stored(place[1]) is not None:
                        self._retry(client, block)

    def _retry(self, client: Client, block: Block) -> None:
        """Run the handler of a client that waits: it is served, or goes on waiting."""
        try:
            try:
                reply = self._run_again(client, block)
            except errors.CommandError as error:
                reply = error.reply
            if not isinstance(reply, Block):
                self.complete(client, reply, counted=True)
            elif reply.retry_ms:
                self._retry_later(client, block, reply.retry_ms)
        except Exception:  # a bug of ours must not cost the client that woke this one
            client.server.data_plane.fault(client)

    def count_keys(self) -> tuple[int, int]:
        """How many keys are waited for, and how many of them by clients that cannot go on without them."""
        needed = {
            (client.db.index, key) for client, block in self.blocked.items() if block.needs_keys for key in block.keys
        }
        return len(self._waiters), len(needed)

    def next_deadline_ms(self) -> int | None:
        """When the next wait times out."""
        heap = self._deadlines
        while heap and heap[0][2].blocked is not heap[0][3]:
            heappop(heap)
        return heap[0][0] if heap else None

    def expire(self, now_ms: int) -> None:
        """Answer the clients whose time is up, and look again for those who asked for it."""
        while (deadline := self.next_deadline_ms()) is not None and deadline <= now_ms:
            _, _, client, block = heappop(self._deadlines)
            if deadline == block.deadline_ms:
                self._time_out(client, block)
            else:
                self._retry(client, block)
                self.serve_ready()

    def _time_out(self, client: Client, block: Block) -> None:
        try:
            self.complete(client, block.timeout_reply())
        except Exception:  # a bug of ours
            client.server.data_plane.fault(client)

    def abort(self, error: errors.ErrorReply, only: Callable[[Client, Block], bool]) -> None:
        """Wake every client for which `only` holds with an error: the role changed, its slot went away."""
        for client, block in list(self.blocked.items()):
            if only(client, block):
                self.complete(client, error)
