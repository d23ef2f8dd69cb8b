"""Forked children."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import pytest
import trio

from slotmesh.node.persistence.child import KILLED, Child, ChildResult, Report, fork_child


def _wait(child: Child) -> ChildResult:
    async def main() -> ChildResult:
        with trio.fail_after(20):
            return await child.wait()

    return trio.run(main)


def test_child_result_of_good_work_is_a_success(tmp_path: Path) -> None:
    target = tmp_path / "written"

    def work(report: Report) -> None:
        target.write_bytes(b"by the child")

    child = fork_child("test", work)
    result = _wait(child)
    assert result.error == ""
    assert target.read_bytes() == b"by the child"
    assert result.cow_bytes > 0
    assert child.fork_us > 0
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)  # reaped


def test_child_exception_becomes_the_error() -> None:
    def work(report: Report) -> None:
        raise OSError(28, "No space left on device")

    assert "No space left on device" in _wait(fork_child("test", work)).error


def test_child_killed_on_purpose_and_otherwise_are_told_apart() -> None:
    child = fork_child("test", lambda report: time.sleep(60))
    child.kill()
    assert _wait(child).error == KILLED
    child = fork_child("test", lambda report: os.kill(os.getpid(), 9))
    assert _wait(child).error == "terminated by signal 9"


def test_child_sees_memory_as_it_was_and_changes_nothing_here(tmp_path: Path) -> None:
    data = {"k": "before"}
    seen = tmp_path / "seen"
    release = tmp_path / "release"

    def work(report: Report) -> None:
        while not release.exists():
            time.sleep(0.005)
        seen.write_text(data["k"])
        data["k"] = "changed by the child"

    child = fork_child("test", work)
    data["k"] = "after"
    release.touch()
    assert _wait(child).error == ""
    assert seen.read_text() == "before"
    assert data["k"] == "after"


def test_child_keeps_no_descriptor_but_its_own(tmp_path: Path) -> None:
    read_fd, write_fd = os.pipe()
    kept_read, kept_write = os.pipe()

    def work(report: Report) -> None:
        os.write(kept_write, b"kept")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(write_fd, b"lost")

    result = _wait(fork_child("test", work, keep_fds=(kept_write,)))
    assert result.error == ""
    assert os.read(kept_read, 10) == b"kept"
    for fd in (read_fd, write_fd, kept_read, kept_write):
        os.close(fd)


def test_child_progress_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slotmesh.node.persistence.child._PROGRESS_EVERY_S", 0)

    def work(report: Report) -> None:
        for keys in (10, 20, 30):
            report.progress(keys)
        assert not report.orphaned()

    child = fork_child("test", work)
    assert _wait(child).error == ""
    assert child.keys_done == 30


def test_fork_that_fails_raises_and_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fork", lambda: (_ for _ in ()).throw(OSError(12, "Cannot allocate memory")))
    with pytest.raises(OSError, match="Cannot allocate memory"):
        fork_child("test", lambda report: None)
    assert len(os.listdir("/proc/self/fd")) == before


def test_child_that_hits_a_file_size_limit_reports_it(tmp_path: Path) -> None:
    def work(report: Report) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        (tmp_path / "big").write_bytes(bytes(100_000))

    assert "File too large" in _wait(fork_child("test", work)).error
