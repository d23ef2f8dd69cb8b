"""Ending a node without losing what its replicas do not have yet.

A shutdown first pauses writes and waits up to `shutdown-timeout` seconds until every replica has acknowledged all;
then it saves, if there are save points or it was told to, and ends. Meanwhile reads are served, a client that said
SHUTDOWN is blocked, and SHUTDOWN ABORT calls it off. Steps and texts are those of stock 7.0. SAFE (Valkey 9) keeps a
primary alive that has slots, as a cluster would lose them with it.

A script that runs when a signal asks for the end is cut off if it has written nothing. One that has may go on for as
long as replicas are waited for; then the node ends without saving, as half of what a script does is never kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from slotmesh.node.base.errors import ErrorReply
from slotmesh.node.clients.block import Block
from slotmesh.node.clients.pause import FOREVER_MS, SHUTDOWN, WRITES

if TYPE_CHECKING:
    from slotmesh.node.clients.blocking import Blocking
    from slotmesh.node.clients.client import Client
    from slotmesh.node.clients.pause import Pause
    from slotmesh.node.clustering.host import ClusterHost
    from slotmesh.node.replication.manager import Replication
    from slotmesh.node.scripting.host import Scripting
    from slotmesh.node.state import NodeState

log = logging.getLogger("node")

FAILED: Final = ErrorReply("ERR Errors trying to SHUTDOWN. Check logs.")

# How a request for a shutdown went.
ENDING: Final = "ending"
WAITING: Final = "waiting"
REFUSED: Final = "refused"


class Request(Protocol):
    """Ends the node soon; False, and nothing ends, when saving failed."""

    def __call__(self, *, save: bool | None = None, force: bool = False) -> bool:
        """`save`: None saves if there are save points. `force`: end even if it fails."""


class Shutdown:
    """The shutdown of one node."""

    def __init__(
        self,
        state: NodeState,
        pause: Pause,
        blocking: Blocking,
        replication: Replication,
        scripting: Scripting,
        *,
        cluster: Callable[[], ClusterHost | None],
        request: Request,
    ) -> None:
        """`cluster`: the one that this node is a member of. `request`: saves and ends the node."""
        self._state = state
        self._pause = pause
        self._blocking = blocking
        self._replication = replication
        self._scripting = scripting
        self._cluster = cluster
        self._request = request
        self._deadline_ms = 0
        self._save: bool | None = None
        self._force = False
        self._safe = False
        self._clients: dict[Client, Block] = {}
        #: A signal asked for it, and it was not called off since.
        self.signalled = False
        #: It waits for a script or transaction that is halfway, until then.
        self._script_until_ms = 0

    def look(self) -> bool:
        """Housekeeping: `check`; whether it waits on."""
        self.check()
        return self.is_waiting

    @property
    def is_waiting(self) -> bool:
        """Whether a shutdown waits for replicas, or for a script."""
        return bool(self._deadline_ms or self._script_until_ms)

    @property
    def remaining_ms(self) -> int:
        """How long it will wait at most."""
        return max(0, (self._deadline_ms or self._script_until_ms) - self._state.clock.mono_ms)

    def begin(self, *, save: bool | None, now: bool = False, force: bool = False, safe: bool = False) -> str:
        """End soon. `save`: None saves if there are save points. `now`: do not wait for replicas. `safe`: not while the
        cluster needs this node. `force`: end even if it is not safe, or saving fails. ENDING, WAITING or REFUSED
        (logged)."""
        state = self._state
        log.info("User requested shutdown...")
        self._save, self._force, self._safe = save, force, safe
        if self._is_unsafe():
            return REFUSED
        if state.fibers.halfway and save is not False:
            return self._after_script(partial(self.begin, save=save, now=now, force=force, safe=safe), now=now)
        timeout_s = state.config.shutdown_timeout
        if now or not timeout_s or self._in_sync():
            return self._end()
        if not self._deadline_ms:
            stream = self._replication.stream
            stream.ack_wanted = True
            stream.flush()  # it moves the offset, so it must come before the pause
            self._deadline_ms = state.clock.mono_ms + timeout_s * 1000
            self._pause.start(SHUTDOWN, WRITES, FOREVER_MS)
            log.info("Waiting for replicas before shutting down.")
        return WAITING

    def _after_script(self, begin: Callable[[], str], *, now: bool) -> str:
        """Let the script that is halfway end, or end it, and begin then."""
        state = self._state
        run = self._scripting.running
        if run is not None and not run.wrote and not run.trusted:
            log.warning("A script runs that has written nothing: it is cut off.")
            run.cut_off = True
        elif now or state.is_loading or not state.config.shutdown_timeout:
            return self._end_halfway()
        else:
            log.warning("A script runs that has written: waiting for its end before shutting down.")
        if not self._script_until_ms:
            self._script_until_ms = state.clock.mono_ms + max(state.config.shutdown_timeout, 1) * 1000
            state.fibers.when_whole(partial(self._script_ended, begin))
        return WAITING

    def _script_ended(self, begin: Callable[[], str]) -> None:
        if self._script_until_ms:  # not called off, nor ended without it
            self._script_until_ms = 0
            begin()

    def _end_halfway(self) -> str:
        log.warning("Going down without saving: half of what the script does is not kept.")
        self._script_until_ms = 0
        self._request(save=False, force=True)
        return ENDING

    def wait(self, client: Client) -> Block:
        """Block a client that said SHUTDOWN; it hears of a failure or an abort only."""
        block = Block((), 0, FAILED)
        self._clients[client] = block
        return block

    def abort(self) -> bool:
        """Call a waiting shutdown off; False when there is none."""
        if not self.is_waiting:
            return False
        log.info("Shutdown manually aborted.")
        self._cancel()
        return True

    def check(self) -> None:
        """Go on if the replicas are in step or the time is over. Called by the cron and with every acknowledgement."""
        now_ms = self._state.clock.mono_ms
        if self._script_until_ms:
            if now_ms >= self._script_until_ms:
                self._end_halfway()
        elif not self._deadline_ms or (now_ms < self._deadline_ms and not self._in_sync()):
            return
        elif self._state.fibers.halfway and self._save is not False:
            self._after_script(self._end, now=False)
        else:
            self._end()

    def _is_unsafe(self) -> bool:
        """Whether SAFE forbids to end now; said in the log, whether or not FORCE overrules it."""
        cluster = self._cluster()
        if not self._safe or cluster is None:
            return False
        me = cluster.core.view.myself
        if not me.is_primary or not me.slots:
            return False
        log.warning(
            "This primary has %d slots, which nobody would serve: a shutdown is not safe%s.",
            len(me.slots),
            ", but forced" if self._force else "",
        )
        return not self._force

    def _in_sync(self) -> bool:
        replication = self._replication
        return all(replica.ack_offset == replication.offset for replica in replication.replicas)

    def _end(self) -> str:
        self._report_replicas()
        ending = not self._is_unsafe() and (
            self._request(save=self._save, force=self._force) or (self._force and self._request(save=False, force=True))
        )
        if ending:
            return ENDING
        log.warning("Errors trying to shut down the server. Check the logs for more information.")
        self._cancel()
        return REFUSED

    def _report_replicas(self) -> None:
        replication = self._replication
        replicas = list(replication.replicas)
        lagging = [replica for replica in replicas if replica.ack_offset != replication.offset]
        for replica in lagging:
            log.warning(
                "Lagging replica %s reported offset %d behind master, lag=%d, state=%s.",
                replica.name,
                replication.offset - replica.ack_offset,
                replication.replicas.lag_s(replica),
                replica.state_name,
            )
        if replicas:
            in_sync = len(replicas) - len(lagging)
            log.info("%d of %d replicas are in sync when shutting down.", in_sync, len(replicas))

    def _cancel(self) -> None:
        self._deadline_ms = self._script_until_ms = 0
        self.signalled = False
        clients, self._clients = self._clients, {}
        for client, block in clients.items():
            if client.blocked is block:
                self._blocking.complete(client, FAILED)
        self._pause.end(SHUTDOWN)

    def info_fields(self) -> dict[str, Any]:
        """For the `server` section of INFO."""
        return {"shutdown_in_milliseconds": self.remaining_ms} if self.is_waiting else {}
