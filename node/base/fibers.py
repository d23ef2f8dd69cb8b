"""Synchronous work that can be interrupted in the middle, so that trio's other tasks get their turn.

Commands are plain functions, and a script runs deep inside of one: under it are frames of Python, of lupa and of Lua's
C code, none of which can await. So whatever may run a script (a pass of the data plane, the primary's stream, the
loading of a log) runs in a greenlet, a stack of its own. A script that takes too long switches back to the task that
awaits that work (`give_way`); the task lets trio run, and then switches into the script again, which has noticed
nothing (docs/adr/0041).

From the first such break until the work is done, this node is *halfway*: a script or transaction has been begun, and
what it changed so far must not be seen, saved or told to anybody, nor may data or roles change under it. Whoever wants
to waits (`whole`) or leaves an action to be done then (`when_whole`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import trio
from greenlet import getcurrent, greenlet

T = TypeVar("T")
#: What a worker switches back with when its work is done.
DONE: Final = object()


def _nothing() -> None:
    pass


class Fibers:
    """The interruptible work of one node. At most one piece of it is interrupted at any time."""

    def __init__(self, fault: Callable[[str], None]) -> None:
        """`fault` is told, in an `except` clause, what a bug of ours has spoiled."""
        self._fault = fault
        #: A script is interrupted, or the work that it belongs to is not done yet.
        self.halfway = False
        self._actions: list[Callable[[], object]] = []
        self._whole = trio.Event()

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """Do `work`; whenever it gives way, let trio's tasks run."""
        fiber = greenlet(work)
        result = fiber.switch(*args)
        return result if fiber.dead else await self.finish(fiber)  # type: ignore[no-any-return]

    @staticmethod
    def worker(work: Callable[[], object]) -> greenlet:
        """A greenlet that does `work` each time it is switched to, which costs a third of a new one. DONE comes back
        when it is done; anything else means that it gave way: then it must be awaited by `finish`.
        """

        def work_on() -> None:
            parent = getcurrent().parent
            while True:
                work()
                parent.switch(DONE)

        return greenlet(work_on)

    async def finish(self, fiber: greenlet, meanwhile: Callable[[], object] = _nothing) -> Any:
        """Switch to a greenlet that gave way until its work is done, letting trio's tasks run, and calling `meanwhile`,
        in between. Nothing cancels it half done: a cancellation takes effect afterwards.
        """
        result = None
        with trio.CancelScope(shield=True):
            try:
                while not fiber.dead and result is not DONE:
                    await trio.lowlevel.checkpoint()
                    meanwhile()
                    result = fiber.switch()
            finally:
                self._end()
        return result

    @property
    def can_give_way(self) -> bool:
        """Whether the present code runs as work of `run`."""
        return getcurrent().parent is not None

    def give_way(self) -> None:
        """Interrupt the work that runs now, until trio had its turn. To be called only where `can_give_way`."""
        self.halfway = True
        parent: Final = getcurrent().parent
        assert parent is not None
        parent.switch()

    def when_whole(self, action: Callable[[], object]) -> None:
        """Do something once nothing is halfway: now, if so. Actions are done in their order."""
        if self.halfway:
            self._actions.append(action)
        else:
            action()

    async def whole(self) -> None:
        """Wait until nothing is halfway. There is no checkpoint if nothing is."""
        while self.halfway:
            await self._whole.wait()

    def _end(self) -> None:
        self.halfway = False
        event, self._whole = self._whole, trio.Event()
        event.set()
        actions, self._actions = self._actions, []
        for action in actions:
            try:
                action()
            except Exception:  # a bug of ours: the others are as due as before
                self._fault("something that waited for a script")
