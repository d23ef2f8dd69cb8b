"""SIGTERM and SIGINT: they end the node, whatever the main thread does.

Python runs signal handlers between two instructions of the main thread, and the main thread may be deep in C code that
a script has called. So a thread of its own waits for the signals. It has the trio loop begin the shutdown, and asks it
for a sign of life every second from then on. If that fails to come for `shutdown-timeout` while a script runs, the
thread ends the process: what the log has is whole, and half of what a script does is never kept. A second SIGINT ends
the process at once, also while the final save holds the loop.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import Final

import trio

from slotmesh.node.persistence.saver import remove_if_there, temp_name
from slotmesh.node.process.shutdown import Shutdown
from slotmesh.node.scripting.host import Scripting
from slotmesh.node.state import NodeState

log = logging.getLogger("node")

_SIGNALS: Final = frozenset((signal.SIGTERM, signal.SIGINT))
_LOOK_EVERY_S: Final = 1.0


class Signals:
    """Waits for the signals of one node. To be made in the main thread, inside trio, before other threads are."""

    def __init__(self, state: NodeState, shutdown: Shutdown, scripting: Scripting, requested: trio.Event) -> None:
        """`requested` is set once the node ends anyway."""
        self._state = state
        self._shutdown = shutdown
        self._scripting = scripting
        self._requested = requested
        self._token = trio.lowlevel.current_trio_token()
        #: When the loop last showed that it runs; None before the first signal.
        self._alive_s: float | None = None
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    def _watch(self) -> None:
        try:
            while True:
                if self._alive_s is None:
                    number: int | None = signal.sigwait(_SIGNALS)
                else:
                    info = signal.sigtimedwait(_SIGNALS, _LOOK_EVERY_S)
                    number = None if info is None else info.si_signo
                if number is not None:
                    self._take(number)
                self._look()
        except trio.RunFinishedError:
            pass

    def _take(self, number: int) -> None:
        shutdown = self._shutdown
        if number == signal.SIGINT and shutdown.signalled:
            log.warning("You insist... exiting now.")
            self._leave()
        if self._alive_s is None:
            self._alive_s = time.monotonic()
        shutdown.signalled = True
        self._token.run_sync_soon(self._begin, number)

    def _begin(self, number: int) -> None:
        if self._requested.is_set():
            return
        log.warning("Received %s scheduling shutdown...", signal.Signals(number).name)
        config = self._state.config
        flags = config.shutdown_on_sigint if number == signal.SIGINT else config.shutdown_on_sigterm
        save = True if "save" in flags else False if "nosave" in flags else None
        try:
            self._shutdown.begin(save=save, now="now" in flags, force="force" in flags, safe="safe" in flags)
        except Exception:  # a bug of ours: the next signal must still be heard
            self._state.complaints.fault("a shutdown")

    def _look(self) -> None:
        assert self._alive_s is not None
        patience_s = max(self._state.config.shutdown_timeout, 1)
        if self._scripting.running is not None and time.monotonic() - self._alive_s > patience_s:
            log.warning("A script holds the process for more than %d seconds: exiting without saving.", patience_s)
            self._leave()
        self._token.run_sync_soon(self._note_alive, idempotent=True)

    def _note_alive(self) -> None:
        self._alive_s = time.monotonic()

    @staticmethod
    def _leave() -> None:
        remove_if_there(temp_name(os.getpid()))
        os._exit(1)
