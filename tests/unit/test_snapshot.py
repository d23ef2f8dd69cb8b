"""Writing the keyspace as an RDB file that appears at once or not at all."""

from __future__ import annotations

import os
import random
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotmesh.node.keyspace.access import record_frequencies, record_times
from slotmesh.node.keyspace.keyspace import Keyspace
from slotmesh.node.persistence.errors import LoadError
from slotmesh.node.persistence.loading import KeyspaceSink, Progress, load_rdb_steps, run_steps
from slotmesh.node.persistence.snapshot import SnapshotOptions, has_field_expiry, save_file, write_snapshot
from slotmesh.node.types.hash import HashValue


def _keyspace(keys: int = 50) -> Keyspace:
    keyspace = Keyspace()
    for i in range(keys):
        keyspace.dbs[0].put(b"key%d" % i, b"value%d" % i)
    keyspace.dbs[0].set_expire(b"key1", 5_000_000_000_000)
    keyspace.dbs[0].set_expire(b"key2", 1000)
    keyspace.dbs[3].put(b"three", b"3")
    return keyspace


def _load(path: Path, keyspace: Keyspace, *, drop_expired: bool = False, replace: bool = False) -> KeyspaceSink:
    sink = KeyspaceSink(keyspace, lambda code: None, drop_expired=drop_expired, replace=replace)
    progress = Progress(path.stat().st_size, 0.0)
    run_steps(load_rdb_steps(str(path), sink, progress, verify=True))
    assert progress.loaded_bytes == progress.total_bytes
    return sink


def test_saved_file_loads_to_the_same_keyspace(tmp_path: Path) -> None:
    path = tmp_path / "dump.rdb"
    save_file(str(path), str(tmp_path / "temp"), _keyspace(), SnapshotOptions(functions=(b"#!lua",)))
    loaded = Keyspace()
    sink = _load(path, loaded)
    assert sink.keys_loaded == 51
    assert {k: (v, at) for k, v, at in loaded.dbs[0].items()} == {k: (v, at) for k, v, at in _keyspace().dbs[0].items()}
    assert loaded.dbs[3].peek(b"three") == b"3"
    assert sink.aux[b"redis-ver"] == b"7.0.15"
    assert sink.aux[b"aof-base"] == b"0"
    assert os.listdir(tmp_path) == ["dump.rdb"]


def test_load_drops_what_has_expired_when_told(tmp_path: Path) -> None:
    path = tmp_path / "dump.rdb"
    save_file(str(path), str(tmp_path / "temp"), _keyspace(), SnapshotOptions())
    loaded = Keyspace()
    loaded.now_ms = 2000
    sink = _load(path, loaded, drop_expired=True)
    assert (sink.keys_loaded, sink.keys_expired) == (50, 1)
    assert loaded.dbs[0].peek(b"key2") is None


def test_load_key_that_exists_is_an_error_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "dump.rdb"
    save_file(str(path), str(tmp_path / "temp"), _keyspace(), SnapshotOptions())
    loaded = Keyspace()
    loaded.dbs[0].put(b"key5", b"old")
    loaded.dbs[0].set_expire(b"key5", 9_000_000_000_000)
    with pytest.raises(LoadError, match="duplicate key b'key5'"):
        _load(path, loaded)
    loaded = Keyspace()
    loaded.dbs[0].put(b"key5", b"old")
    loaded.dbs[0].set_expire(b"key5", 9_000_000_000_000)
    _load(path, loaded, replace=True)
    assert loaded.dbs[0].peek(b"key5") == b"value5"
    assert loaded.dbs[0].expire_at(b"key5") is None


def test_load_database_that_is_not_configured_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "dump.rdb"
    save_file(str(path), str(tmp_path / "temp"), _keyspace(), SnapshotOptions())
    with pytest.raises(LoadError, match="database 3, but this server is configured for 2"):
        _load(path, Keyspace(databases=2))


def test_field_expiry_raises_the_version_and_survives(tmp_path: Path) -> None:
    keyspace = _keyspace()
    assert not has_field_expiry(keyspace)
    keyspace.dbs[3].put(b"h", HashValue({b"f": b"v"}, {b"f": 4_000_000_000_000}))
    assert has_field_expiry(keyspace)
    path = tmp_path / "dump.rdb"
    save_file(str(path), str(tmp_path / "temp"), keyspace, SnapshotOptions())
    assert path.read_bytes()[:9] == b"REDIS0012"
    loaded = Keyspace()
    _load(path, loaded)
    assert loaded.dbs[3].peek(b"h").ttls == {b"f": 4_000_000_000_000}


def test_use_of_keys_is_written_only_when_asked_and_read_back(tmp_path: Path) -> None:
    path, temp = str(tmp_path / "dump.rdb"), str(tmp_path / "temp")
    keyspace = _keyspace()
    keyspace.now_ms = 10_000_000
    record_times(keyspace).set_idle_ms(0, b"key5", 77_000)
    for asked, idle_ms in ((False, 0), (True, 77_000)):
        save_file(path, temp, keyspace, SnapshotOptions(access=asked))
        loaded = Keyspace()
        loaded.now_ms = 10_000_000
        times = record_times(loaded)
        _load(Path(path), loaded)
        assert times.idle_ms(0, b"key5") == idle_ms
    frequencies = record_frequencies(keyspace, random.Random(1), 10, 1)
    frequencies.set_frequency(0, b"key5", 200)
    save_file(path, temp, keyspace, SnapshotOptions(access=True))
    loaded = Keyspace()
    loaded.now_ms = 10_000_000
    counters = record_frequencies(loaded, random.Random(1), 10, 1)
    _load(Path(path), loaded)
    assert counters.frequency(0, b"key5") == 200
    assert counters.frequency(0, b"key6") == 5


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 20 KB, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_save_that_does_not_fit_leaves_the_old_file(tmp_path: Path, small_files: None) -> None:
    path = tmp_path / "dump.rdb"
    save_file(str(path), str(tmp_path / "temp"), _keyspace(), SnapshotOptions())
    before = path.read_bytes()
    with pytest.raises(OSError, match="File too large"):
        save_file(str(path), str(tmp_path / "temp"), _keyspace(5000), SnapshotOptions(compress=False))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["dump.rdb"]


def test_save_that_nobody_wants_any_more_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "dump.rdb"
    path.write_bytes(b"newer")
    with pytest.raises(OSError, match="gone"):
        save_file(str(path), str(tmp_path / "temp"), _keyspace(), SnapshotOptions(), still_wanted=lambda: False)
    assert path.read_bytes() == b"newer"
    assert os.listdir(tmp_path) == ["dump.rdb"]


def test_damaged_file_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "dump.rdb"
    save_file(str(path), str(tmp_path / "temp"), _keyspace(), SnapshotOptions())
    data = path.read_bytes()
    for bad in (data[: len(data) // 2], data[:100] + b"\xff\xff" + data[102:], b"", b"garbage!!!"):
        path.write_bytes(bad)
        with pytest.raises(LoadError, match=r"dump\.rdb: "):
            _load(path, Keyspace())


def test_load_yields_between_slices(tmp_path: Path) -> None:
    path = tmp_path / "dump.rdb"
    save_file(str(path), str(tmp_path / "temp"), _keyspace(20_000), SnapshotOptions())
    sink = KeyspaceSink(Keyspace(), lambda code: None)
    assert sum(1 for _ in load_rdb_steps(str(path), sink, Progress(1, 0.0), verify=True)) > 30


def test_snapshot_reports_progress_and_is_the_same_with_it() -> None:
    heard: list[int] = []
    parts: list[bytes] = []
    writer = write_snapshot(parts.append, _keyspace(5000), SnapshotOptions(), heard.append)
    assert heard == [1024, 2048, 3072, 4096]
    assert writer.keys == 5001


def test_delay_of_loading_is_asked_for_again_and_again(tmp_path: Path) -> None:
    keyspace = Keyspace()
    for number in range(6):
        keyspace.dbs[0].set(b"k%d" % number, b"v")
    path = str(tmp_path / "dump.rdb")
    save_file(path, str(tmp_path / "temp"), keyspace, SnapshotOptions())
    asked = []

    def delay_us() -> int:
        asked.append(sink.keys_loaded)
        return 1 if sink.keys_loaded < 3 else 0

    sink = KeyspaceSink(Keyspace(), lambda code: None, delay_us=delay_us)
    run_steps(load_rdb_steps(path, sink, Progress(0, 0.0), verify=True))
    assert sorted(set(asked)) == [0, 1, 2, 3, 6]  # one key at a time while there is a delay
