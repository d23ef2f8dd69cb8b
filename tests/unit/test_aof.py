"""Writing the append-only file: order, policies, failures, rotation."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slotmesh.node.base.clock import Clock
from slotmesh.node.config.configuration import Config
from slotmesh.node.persistence.aof import BLOCKED_MS, MOST_HELD_MS, ON, WAITING, Aof, AofFailure
from slotmesh.node.persistence.aof_manifest import read_manifest
from slotmesh.node.persistence.errors import LoadError
from tests.support.inprocess import write_bytes


class Bench:
    """A log in the current directory, with a clock that stands still."""

    def __init__(self) -> None:
        self.config = Config()
        self.config.appendfsync = "no"
        self.clock = Clock()
        self.clock.mono_ms = 1_000_000
        self.clock.now_ms = 1_700_000_000_000
        self.syncs = 0
        self.aof = Aof(self.config, self.clock, self._sync_requested)

    def _sync_requested(self) -> None:
        self.syncs += 1

    def open(self) -> None:
        self.aof.open_at_start(lambda path: write_bytes(path, b"base"))

    def log(self) -> bytes:
        manifest = self.aof.files.manifest
        return b"".join(Path(self.aof.files.path(file.name)).read_bytes() for file in manifest.increments)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.config.appenddirname))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.chdir(tmp_path)
    bench = Bench()
    yield bench
    bench.aof.close()
    for fd in bench.aof.retired:
        os.close(fd)


def test_feed_writes_commands_in_order_and_selects_databases(bench: Bench) -> None:
    bench.open()
    bench.aof.feed(0, [b"SET", b"k", b"v"])
    bench.aof.feed(0, [b"DEL", b"k"])
    bench.aof.feed(3, [b"INCR", b"n"])
    assert bench.log() == b""  # nothing before the end of the pass
    bench.aof.flush()
    assert bench.log() == (
        b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n"
        b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n"
    )
    assert bench.aof.size == len(b"base") + len(bench.log())


def test_feed_timestamps_come_once_a_second(bench: Bench) -> None:
    bench.config.aof_timestamp_enabled = True
    bench.open()
    for later_ms in (0, 500, 1500):
        bench.clock.now_ms = 1_700_000_000_000 + later_ms
        bench.aof.feed(0, [b"PING"])
    bench.aof.flush()
    assert bench.log().count(b"#TS:") == 2
    assert bench.log().startswith(b"#TS:1700000000\r\n*2\r\n$6\r\nSELECT")


def test_flush_always_syncs_before_it_returns(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(bench.log()))
    bench.config.appendfsync = "always"
    bench.open()
    bench.aof.feed(0, [b"SET", b"k", b"v"])
    bench.aof.flush()
    assert len(synced) == 1
    assert synced[0].endswith(b"$1\r\nv\r\n")
    assert bench.aof.unsynced_bytes == 0
    bench.aof.flush()
    assert len(synced) == 1  # nothing new, nothing to sync


def test_flush_everysec_asks_for_a_sync_once_a_second(bench: Bench) -> None:
    bench.config.appendfsync = "everysec"
    bench.open()
    for _ in range(5):
        bench.aof.feed(0, [b"PING"])
        bench.aof.flush()
    assert bench.syncs == 1
    fd, size, _ = bench.aof.take_sync_job()
    bench.aof.sync_finished(fd, size, None)
    assert bench.aof.unsynced_bytes == 0
    bench.aof.feed(0, [b"PING"])
    bench.aof.flush()
    assert bench.syncs == 1
    bench.clock.mono_ms += 1000
    bench.aof.flush()  # without a further write: the last one must reach the disk too
    assert bench.syncs == 2


def blocking_writes(bench: Bench, monkeypatch: pytest.MonkeyPatch, blocked_ms: int) -> None:
    """From now on each write takes so long by the monotonic clock of the process."""
    times = itertools.count()
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(times) * blocked_ms * 1_000_000)


def fed(bench: Bench) -> int:
    """Feed and flush; how much is held back then."""
    bench.aof.feed(0, [b"SET", b"k", b"v"])
    bench.aof.flush()
    return bench.aof.buffered_bytes


def test_flush_everysec_writes_at_once_while_a_long_sync_runs_that_blocks_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.config.appendfsync = "everysec"
    bench.open()
    blocking_writes(bench, monkeypatch, BLOCKED_MS - 1)
    fd, size, _ = bench.aof.take_sync_job()
    for _ in range(4):
        bench.clock.mono_ms += 400
        assert fed(bench) == 0
    bench.aof.sync_finished(fd, size, None)
    assert bench.aof.unsynced_bytes > 0
    assert bench.aof.delayed_syncs == 0


def test_flush_everysec_holds_writes_back_while_syncs_are_known_to_block_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.config.appendfsync = "everysec"
    bench.open()
    blocking_writes(bench, monkeypatch, BLOCKED_MS)
    fd, size, _ = bench.aof.take_sync_job()
    assert fed(bench) == 0  # the one that was blocked
    bench.clock.mono_ms += BLOCKED_MS
    bench.aof.sync_finished(fd, size, None)
    assert fed(bench) == 0  # no sync runs

    fd, size, _ = bench.aof.take_sync_job()
    assert fed(bench) > 0
    bench.clock.mono_ms += BLOCKED_MS - 1
    bench.aof.sync_finished(fd, size, None)
    bench.aof.flush()
    assert bench.aof.buffered_bytes == 0

    bench.aof.take_sync_job()  # the last one was quick
    assert fed(bench) == 0


def test_flush_everysec_holds_writes_back_for_two_seconds_at_most(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.config.appendfsync = "everysec"
    bench.open()
    blocking_writes(bench, monkeypatch, BLOCKED_MS)
    bench.aof.take_sync_job()
    fed(bench)
    assert fed(bench) > 0
    bench.clock.mono_ms += MOST_HELD_MS - 1
    bench.aof.flush()
    assert (bench.aof.buffered_bytes > 0, bench.aof.delayed_syncs) == (True, 0)
    bench.clock.mono_ms += 1
    bench.aof.flush()
    assert (bench.aof.buffered_bytes, bench.aof.delayed_syncs) == (0, 1)


@pytest.mark.parametrize("change", ["rotate", "close"])
def test_nothing_stays_behind_when_the_file_changes_while_writes_are_held_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    bench.config.appendfsync = "everysec"
    bench.open()
    blocking_writes(bench, monkeypatch, BLOCKED_MS)
    bench.aof.take_sync_job()
    fed(bench)
    bench.aof.feed(0, [b"SET", b"last", b"v"])
    bench.aof.flush()
    assert bench.aof.buffered_bytes > 0
    getattr(bench.aof, change)()
    assert b"last" in bench.log()


def test_flush_failure_keeps_the_bytes_and_recovers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.open()
    real_write = os.write
    room = 10

    def full_disk(fd: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        count = min(room, len(data))
        room -= count
        return real_write(fd, data[:count])

    monkeypatch.setattr(os, "write", full_disk)
    bench.aof.feed(0, [b"SET", b"k", b"v"])
    bench.aof.flush()
    assert bench.aof.write_error is not None
    assert bench.aof.write_error.strerror == "No space left on device"
    assert bench.log() == b""  # the part that was written is taken back
    bench.aof.feed(0, [b"SET", b"k2", b"v2"])
    bench.aof.flush()
    assert bench.aof.write_error is not None
    room = 1 << 20
    bench.aof.flush()
    assert bench.aof.write_error is None
    assert bench.log().count(b"SET") == 2
    assert bench.log().startswith(b"*2\r\n$6\r\nSELECT")


def test_flush_failure_under_always_is_fatal(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.config.appendfsync = "always"
    bench.open()
    bench.aof.feed(0, [b"SET", b"k", b"v"])
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(AofFailure, match="always"):
            bench.aof.flush()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", lambda fd: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(AofFailure, match="Input/output error"):
            bench.aof.flush()


def test_rewrite_moves_to_a_new_file_and_then_drops_the_old_ones(bench: Bench) -> None:
    bench.open()
    bench.aof.feed(0, [b"SET", b"before", b"1"])
    assert bench.aof.rotate() == 1
    bench.aof.feed(0, [b"SET", b"after", b"2"])
    bench.aof.flush()
    # a crash here finds the old base and both files of commands
    on_disk = read_manifest("appendonlydir/appendonly.aof.manifest")
    assert [file.name for file in on_disk.files] == [
        "appendonly.aof.1.base.rdb",
        "appendonly.aof.1.incr.aof",
        "appendonly.aof.2.incr.aof",
    ]
    Path("appendonlydir/temp").write_bytes(b"new base")
    bench.aof.install_base(bench.aof.files.path("temp"), 1, "rdb")
    assert bench.names() == ["appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof", "appendonly.aof.manifest"]
    assert read_manifest("appendonlydir/appendonly.aof.manifest").history == ()
    assert bench.log().startswith(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$5\r\nafter")
    assert bench.aof.size_after_rewrite == len(b"new base") + len(bench.log())


def test_rotation_whose_manifest_cannot_be_written_changes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.open()
    before = bench.names()
    with monkeypatch.context() as patch:
        patch.setattr(bench.aof.files, "write", lambda manifest: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space"):
            bench.aof.rotate()
    assert bench.names() == before
    bench.aof.feed(0, [b"SET", b"k", b"v"])
    bench.aof.flush()
    assert bench.log().endswith(b"$1\r\nv\r\n")


def test_history_is_kept_when_configured(bench: Bench) -> None:
    bench.config.aof_disable_auto_gc = True
    bench.open()
    bench.aof.rotate()
    Path("appendonlydir/temp").write_bytes(b"new base")
    bench.aof.install_base(bench.aof.files.path("temp"), 1, "rdb")
    assert "appendonly.aof.1.base.rdb" in bench.names()
    assert [file.name for file in bench.aof.files.manifest.history] == [
        "appendonly.aof.1.incr.aof",
        "appendonly.aof.1.base.rdb",
    ]
    bench.config.aof_disable_auto_gc = False
    bench.aof.remove_history()
    assert bench.names() == ["appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof", "appendonly.aof.manifest"]
    assert read_manifest("appendonlydir/appendonly.aof.manifest").history == ()


def test_log_switched_on_at_run_time_is_in_force_after_the_first_rewrite(bench: Bench) -> None:
    bench.aof.begin_waiting()
    assert not bench.aof.is_open
    bench.aof.rotate()
    bench.aof.feed(0, [b"SET", b"k", b"v"])
    bench.aof.flush()
    assert bench.aof.state == WAITING
    assert bench.names() == ["temp-appendonly.aof.incr"]
    Path("appendonlydir/temp").write_bytes(b"base")
    bench.aof.install_base(bench.aof.files.path("temp"), 0, "rdb")
    assert bench.aof.state == ON
    assert bench.names() == ["appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof", "appendonly.aof.manifest"]
    assert bench.log().endswith(b"$1\r\nv\r\n")


def test_failed_first_rewrite_leaves_no_file_behind(bench: Bench) -> None:
    bench.aof.begin_waiting()
    bench.aof.rotate()
    bench.aof.feed(0, [b"SET", b"k", b"v"])
    bench.aof.flush()
    bench.aof.feed(0, [b"SET", b"k", b"w"])
    bench.aof.drop_waiting()
    assert (bench.aof.is_open, bench.aof.buffered_bytes, bench.names()) == (False, 0, [])
    bench.aof.rotate()
    bench.aof.feed(0, [b"SET", b"k", b"x"])
    Path("appendonlydir/temp").write_bytes(b"base")
    bench.aof.install_base(bench.aof.files.path("temp"), 0, "rdb")
    bench.aof.flush()
    assert bench.log().count(b"SET") == 1
    bench.aof.drop_waiting()  # a later failure concerns nothing that waits
    assert bench.aof.is_open


def test_open_at_start_goes_on_with_the_last_file(bench: Bench) -> None:
    bench.open()
    bench.aof.feed(0, [b"SET", b"a", b"1"])
    bench.aof.close()
    bench.aof = Aof(bench.config, bench.clock, lambda: None)
    bench.aof.files.read()
    bench.open()
    bench.aof.feed(0, [b"SET", b"b", b"2"])
    bench.aof.flush()
    assert bench.log().count(b"SELECT") == 2  # which database the last run ended in is not known
    assert len(bench.aof.files.manifest.increments) == 1


def test_file_missing_from_the_manifest_is_an_error(bench: Bench) -> None:
    bench.open()
    os.unlink("appendonlydir/appendonly.aof.1.base.rdb")
    with pytest.raises(LoadError, match=r"base\.rdb of the manifest: No such file"):
        bench.aof.files.check()


def test_old_single_file_is_adopted_once(bench: Bench) -> None:
    Path("appendonly.aof").write_bytes(b"old")
    bench.aof.files.adopt_old_file()
    assert [file.name for file in bench.aof.files.manifest.files] == ["appendonly.aof"]
    assert Path("appendonlydir/appendonly.aof").read_bytes() == b"old"
    bench.open()
    Path("appendonly.aof").write_bytes(b"another one")
    bench.aof.files.adopt_old_file()
    assert Path("appendonlydir/appendonly.aof").read_bytes() == b"old"


def test_close_during_a_sync_leaves_the_descriptor_to_the_thread(bench: Bench) -> None:
    bench.open()
    fd, size, _ = bench.aof.take_sync_job()
    bench.aof.close()
    assert bench.aof.retired == [fd]
    os.fdatasync(fd)  # still open
    bench.aof.sync_finished(fd, size, None)
    assert not bench.aof.is_open


class Crash(BaseException):
    """The power goes."""


def _rewrite_with_a_crash_at(step: int, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Feed A, rewrite, feed B, stopping before the system call number `step`; False when there were fewer."""
    calls = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == step:
                raise Crash
            return real(*args, **kwargs)

        return call

    bench.open()
    bench.aof.feed(0, [b"SET", b"A", b"1"])
    bench.aof.flush()
    with monkeypatch.context() as patch:
        for name in ("open", "rename", "unlink", "fsync", "ftruncate"):
            patch.setattr(os, name, counted(getattr(os, name)))
        try:
            superseded = bench.aof.rotate()
            bench.aof.feed(0, [b"SET", b"B", b"2"])
            bench.aof.flush()
            Path("appendonlydir/temp-base").write_bytes(b"snapshot with A")
            bench.aof.install_base("appendonlydir/temp-base", superseded, "rdb")
        except Crash:
            return True
    return False


def test_crash_at_any_step_of_a_rewrite_leaves_a_log_that_has_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = set()
    for step in itertools.count(1):
        directory = tmp_path / str(step)
        directory.mkdir()
        monkeypatch.chdir(directory)
        bench = Bench()
        crashed = _rewrite_with_a_crash_at(step, bench, monkeypatch)
        fed_b = b"B" in b"".join(path.read_bytes() for path in Path("appendonlydir").glob("*.incr.aof"))
        # the next start sees only the disk
        found = Aof(bench.config, bench.clock, lambda: None).files
        found.read()
        found.check()
        contents = [Path(found.path(file.name)).read_bytes() for file in found.manifest.files]
        assert b"A" in b"".join(contents)
        assert (b"B" in b"".join(contents)) == fed_b
        outcomes.add((contents[0], fed_b))
        bench.aof.close()
        for fd in bench.aof.retired:
            os.close(fd)
        if not crashed:
            break
    assert step > 8
    assert outcomes == {(b"base", False), (b"base", True), (b"snapshot with A", True)}
