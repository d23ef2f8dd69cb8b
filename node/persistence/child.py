"""A forked child that works on a snapshot of memory: BGSAVE, BGREWRITEAOF, a full sync.

Fork gives the child the whole data set as it is now, for free; the kernel copies a page when either side writes to
it. In CPython reading is writing (reference counts live in the objects), so the child's walk over the data copies the
pages of the objects it visits: docs/adr/0021 has the figures. What can be avoided is: the collector, which would touch
every container's header, is off in the child, and the parent's objects are frozen out of its own collector before the
fork.

The child must not disturb what it inherited: it closes every descriptor but its own (a client's connection would
otherwise outlive its end here, and a listening port the server), leaves trio's wake-up descriptor alone, does not log,
and ends with `os._exit`. It reports through a pipe, whose end is also how the parent learns that it is gone.
"""

from __future__ import annotations

import gc
import os
import signal
import struct
import time
from collections.abc import Callable, Sequence
from typing import Final

import attrs
import trio

#: The error of a child that was ended on purpose.
KILLED: Final = "killed"
_MESSAGE: Final = struct.Struct("<cq")
_PROGRESS: Final = b"k"
_COW: Final = b"c"
_ERROR: Final = b"e"
_PROGRESS_EVERY_S: Final = 1.0
_MAX_ERROR: Final = 2048


class Report:
    """The child's end of the pipe."""

    def __init__(self, fd: int, parent_pid: int) -> None:
        self._fd = fd
        self._parent_pid = parent_pid
        self._last = time.monotonic()

    def progress(self, keys: int) -> None:
        """`keys` keys are done. Said to the parent once a second."""
        now = time.monotonic()
        if now - self._last >= _PROGRESS_EVERY_S:
            self._last = now
            os.write(self._fd, _MESSAGE.pack(_PROGRESS, keys) + _MESSAGE.pack(_COW, private_bytes()))

    def done(self) -> None:
        """The work is done: tell how much memory was copied."""
        os.write(self._fd, _MESSAGE.pack(_COW, private_bytes()))

    def failed(self, text: str) -> None:
        """The work failed."""
        raw = text.encode(errors="replace")[:_MAX_ERROR]
        os.write(self._fd, _MESSAGE.pack(_ERROR, len(raw)) + raw)

    def orphaned(self) -> bool:
        """True when the parent is gone: nobody wants the result, and a new server may be writing the same files."""
        return os.getppid() != self._parent_pid


def private_bytes() -> int:
    """Memory of this process that it shares with nobody and has written to; 0 where the kernel does not tell."""
    try:
        with open("/proc/self/smaps_rollup", "rb") as rollup:
            for line in rollup:
                if line.startswith(b"Private_Dirty:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux, or an old kernel: INFO then shows 0
    return 0


@attrs.frozen
class ChildResult:
    """How a child ended. `error` is empty on success."""

    error: str
    cow_bytes: int
    seconds: float


@attrs.define(eq=False)
class Child:
    """The parent's view of a child. `kind` is a word for the log; the times are monotonic seconds."""

    kind: str
    pid: int
    started_s: float
    fork_us: int
    _fd: int
    keys_done: int = 0
    cow_bytes: int = 0
    cow_peak: int = 0
    _error: str = ""
    _held: bytes = b""
    _killed: bool = False

    async def wait(self) -> ChildResult:
        """Until the child is gone."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._fd)
                data = os.read(self._fd, 65536)
                if not data:
                    break
                self._take(data)
        finally:
            os.close(self._fd)
        _, status = os.waitpid(self.pid, 0)
        return self._result(os.waitstatus_to_exitcode(status))

    def _take(self, data: bytes) -> None:
        held = self._held + data
        while len(held) >= _MESSAGE.size:
            tag, number = _MESSAGE.unpack_from(held)
            end = _MESSAGE.size
            if tag == _ERROR:
                end += number
                if len(held) < end:
                    break
                self._error = held[_MESSAGE.size : end].decode(errors="replace")
            elif tag == _PROGRESS:
                self.keys_done = number
            else:
                self.cow_bytes = number
                self.cow_peak = max(self.cow_peak, number)
            held = held[end:]
        self._held = held

    def _result(self, code: int) -> ChildResult:
        error = self._error
        if self._killed:
            error = KILLED
        elif code < 0:
            error = f"terminated by signal {-code}"
        elif code and not error:
            error = f"exit code {code}"
        return ChildResult(error, self.cow_peak, time.monotonic() - self.started_s)

    def kill(self) -> None:
        """End the child; its result will be an error."""
        self._killed = True
        os.kill(self.pid, signal.SIGKILL)


def fork_child(kind: str, work: Callable[[Report], None], keep_fds: Sequence[int] = ()) -> Child:
    """Run `work` in a forked child. What it raises becomes the error of the result. Raises OSError when fork fails.

    `keep_fds` stay open in the child.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    started = time.perf_counter_ns()
    parent_pid = os.getpid()
    gc.collect(1)
    gc.freeze()
    try:
        pid = os.fork()
    except OSError:
        os.close(read_fd)
        os.close(write_fd)
        raise
    if not pid:
        _run_child(work, Report(write_fd, parent_pid), write_fd, keep_fds)
    os.close(write_fd)
    return Child(kind, pid, time.monotonic(), (time.perf_counter_ns() - started) // 1000, read_fd)


def _run_child(work: Callable[[Report], None], report: Report, write_fd: int, keep_fds: Sequence[int]) -> None:
    code = 1
    try:
        gc.disable()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the parent, which decides what becomes of us
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))  # the parent has a thread for them
        _close_all_but((0, 1, 2, write_fd, *keep_fds))
        os.set_blocking(write_fd, True)
        try:
            work(report)
        except BaseException as error:
            report.failed(str(error) or repr(error))
        else:
            report.done()
            code = 0
    finally:
        os._exit(code)


def _close_all_but(keep: Sequence[int]) -> None:
    low = 0
    for fd in sorted(set(keep)):
        if low < fd:  # CPython turns an empty range into one without end
            os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, 1 << 20)
