"""Saving small files (CONFIG REWRITE, ACL SAVE) without holding up everybody while a disk syncs.

What can be refused (a folder that may not be written, a full disk) is found while the draft is written, at once. The
syncs and the rename that puts it in place are a thread's, one file after the other, so that the last request wins. The
client that asked waits for them like any blocked client. Inside of EXEC and scripts nobody can wait: there the reply
says that the draft is complete, and what goes wrong afterwards is in the log. A sentinel rewrites the configuration in
a transaction at every failover, when a node that stands still would look dead.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.block import Block
from slotmesh.node.config.rewrite import Draft

if TYPE_CHECKING:
    from slotmesh.node.clients.client import Client

log = logging.getLogger("node")

#: The reply for how a save ended: None, or what the system said.
Answer = Callable[[OSError | None], Any]


class FileSaves:
    """The drafts of one node that are to be put in place."""

    def __init__(self, complete: Callable[[Client, Any], object]) -> None:
        self._complete = complete
        """Ends the wait of a client with a reply."""
        self._waiting: deque[tuple[Draft, Client | None, Block | None, Answer]] = deque()
        self._due = trio.Event()
        self._running = False

    def save(self, client: Client, draft: Draft, answer: Answer) -> Any:
        """Have `draft` put in place; a Block, or the reply where the client cannot wait or no loop runs.

        Raises CommandError for a save that fails at once.
        """
        if not self._running:
            reply = answer(_place(draft))
            if isinstance(reply, ErrorReply):
                raise CommandError(reply)
            return reply
        block = None if client.deny_blocking or client.in_exec else Block((), 0)
        self._waiting.append((draft, client, block, answer))
        self._due.set()
        return answer(None) if block is None else block

    async def run(self) -> None:
        """Put drafts in place until cancelled, and those that still wait then."""
        self._running = True
        try:
            while True:
                while self._waiting:
                    draft, client, block, answer = self._waiting[0]
                    with trio.CancelScope(shield=True):
                        error = await trio.to_thread.run_sync(_place, draft)
                    self._waiting.popleft()
                    self._tell(client, block, answer(error))
                self._due = trio.Event()
                await self._due.wait()
        finally:
            self._running = False
            while self._waiting:
                draft, client, block, answer = self._waiting.popleft()
                answer(_place(draft))

    def _tell(self, client: Client | None, block: Block | None, reply: Any) -> None:
        if client is not None and block is not None and client.blocked is block:
            self._complete(client, reply)


def _place(draft: Draft) -> OSError | None:
    try:
        draft.put_in_place()
    except OSError as error:
        return error
    return None
