"""Tests of ``node.clustering.state_store``: what of nodes.conf survives the process, and what the machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from slotmesh.node.clustering import state_store
from slotmesh.node.clustering.state_store import StateInUse, StateStore


class Place:
    """A directory with a `nodes.conf`, and what a crash would leave of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = str(directory / "nodes.conf")

    def text(self) -> str:
        return Path(self.path).read_text()

    def after_kill(self) -> str:
        """What a node that is started on the files as they are takes for its state."""
        copy = self.directory.parent / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.directory, copy)
        return StateStore(str(copy / "nodes.conf")).load()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "node").mkdir()
    return Place(tmp_path / "node")


@pytest.fixture
def store(place: Place) -> StateStore:
    made = StateStore(place.path)
    assert made.load() == ""
    made.save("first\n", sync=True)
    return made


def test_first_save_is_in_the_file_itself(place: Place, store: StateStore) -> None:
    assert place.text() == "first\n"
    assert os.listdir(place.directory) == ["nodes.conf"]


@pytest.mark.parametrize("sync", [True, False])
def test_what_was_saved_is_found_after_a_kill_although_the_file_is_older(
    place: Place, store: StateStore, sync: bool
) -> None:
    store.save("second\n", sync=sync)
    store.save("third\n", sync=sync)
    assert place.text() == "first\n"
    assert place.after_kill() == "third\n"


def test_second_process_is_refused_however_often_the_file_was_replaced(place: Place, store: StateStore) -> None:
    store.replace("second\n")
    with pytest.raises(StateInUse):
        StateStore(place.path)


def test_regular_end_leaves_the_file_alone(place: Place, store: StateStore) -> None:
    store.save("second\n", sync=False)
    store.close("third\n")
    assert os.listdir(place.directory) == ["nodes.conf"]
    assert place.text() == "third\n"


def test_file_that_somebody_put_there_counts(place: Place, store: StateStore) -> None:
    store.save("second\n", sync=True)
    Path(place.path).write_text("of an operator\n")
    assert place.after_kill() == "of an operator\n"


def test_record_that_is_half_written_leaves_the_one_synced_before(place: Place, store: StateStore) -> None:
    store.save("promised\n", sync=True)
    before = {path.name: path.read_bytes() for path in place.directory.iterdir()}
    store.save("recorded\n", sync=False)
    for path in place.directory.iterdir():
        if path.read_bytes() != before.get(path.name):
            path.write_bytes(path.read_bytes()[:-3])
    assert place.after_kill() == "promised\n"


def in_background(store: StateStore, state: list[str], body: Callable[[], Awaitable[None]]) -> None:
    """Run `body` while the store writes what is due; `state[-1]` is the state."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.keep_written, lambda: state[-1])
            await body()
            nursery.cancel_scope.cancel()

    trio.run(main)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not condition():
            await trio.sleep(0.005)


@pytest.mark.parametrize("how", ["synced", "written", "soon"])
def test_file_follows_before_long(place: Place, store: StateStore, how: str) -> None:
    state = ["second\n"]

    async def body() -> None:
        if how == "soon":
            store.save_soon()
        else:
            store.save(state[-1], sync=how == "synced")
        await until(lambda: place.text() == "second\n")

    in_background(store, state, body)
    assert place.after_kill() == "second\n"


class SlowDisk:
    """Holds the thread that writes aside."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writing = False
        self.may_go_on = False
        real = StateStore._write_aside

        def write_aside(aside: str, data: bytes) -> int:
            if aside.endswith("-late"):
                self.writing = True
                while not self.may_go_on:
                    trio.from_thread.run(trio.sleep, 0.005)
            return real(aside, data)

        monkeypatch.setattr(StateStore, "_write_aside", staticmethod(write_aside))
        monkeypatch.setattr(state_store, "WRITE_DELAY_S", 0.0)


def test_late_write_never_takes_the_place_of_a_newer_file(
    place: Place, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)

    async def body() -> None:
        store.save_soon()
        await until(lambda: disk.writing)
        store.replace("newer\n")
        disk.may_go_on = True
        await until(lambda: os.listdir(place.directory) == ["nodes.conf"])

    in_background(store, ["older\n"], body)
    assert place.text() == "newer\n"


@pytest.mark.parametrize("sync", [True, False])
def test_record_made_while_the_file_is_written_outlives_it(
    place: Place, store: StateStore, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    disk = SlowDisk(monkeypatch)
    state = ["older\n"]

    async def body() -> None:
        store.save_soon()
        await until(lambda: disk.writing)
        state.append("newer\n")
        store.save("newer\n", sync=sync)
        assert place.after_kill() == "newer\n", "before the file is there"
        monkeypatch.setattr(store, "_due", trio.Event())  # once only
        disk.may_go_on = True
        await until(lambda: place.text() == "older\n")
        assert place.after_kill() == "newer\n", "and with it"

    in_background(store, state, body)
    assert place.after_kill() == "newer\n"


def test_record_counts_while_a_crash_of_the_machine_could_bring_the_old_file_back(
    place: Place, store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = trio.Event()
    real = StateStore._sync_folder

    def sync_folder(self: StateStore) -> None:
        while not held.is_set():
            trio.from_thread.run(trio.sleep, 0.005)
        real(self)

    async def body() -> None:
        store.save("promised\n", sync=True)
        monkeypatch.setattr(StateStore, "_sync_folder", sync_folder)
        await until(lambda: place.text() == "state\n")
        store.save("promised later\n", sync=True)
        Path(place.path).write_text("first\n")  # as if the rename had never been
        assert place.after_kill() == "promised later\n"
        held.set()

    for _ in range(2):  # makes both records, which syncs the folder
        store.save("before\n", sync=True)
    store.replace("first\n")
    in_background(store, ["state\n"], body)
