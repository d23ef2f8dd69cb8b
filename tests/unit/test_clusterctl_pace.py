"""Tests of ``clusterctl.pace``: moves give way to the other clients of the two nodes."""

from __future__ import annotations

import socket
import threading

import pytest

from slotmesh.cluster.plan import Address
from slotmesh.tools.clusterctl import mover
from slotmesh.tools.clusterctl.connect import Access
from slotmesh.tools.clusterctl.errors import CannotConnect
from slotmesh.tools.clusterctl.pace import (
    LONG_WAIT_S,
    MAX_CALLS_AT_ONCE,
    MAX_KEYS_PER_CALL,
    MAX_WINDOW_SLOTS,
    MIN_KEYS_PER_CALL,
    MIN_WINDOW_SLOTS,
    SLOW_CALL_S,
    Pace,
    WaitWatch,
    rest_s,
)

LONG = 2 * LONG_WAIT_S


def test_moves_speed_up_while_nobody_waits() -> None:
    pace = Pace()
    for _ in range(10):
        assert pace.note_keys(SLOW_CALL_S / 10, pace.keys_per_call, 0.0) == 0.0
    assert (pace.keys_per_call, pace.calls_at_once) == (MAX_KEYS_PER_CALL, MAX_CALLS_AT_ONCE)


def test_moves_shrink_and_rest_while_others_wait() -> None:
    pace = Pace()
    for _ in range(10):
        assert pace.note_keys(SLOW_CALL_S / 10, pace.keys_per_call, LONG) == LONG
        pace.note_slots(LONG)
    assert (pace.keys_per_call, pace.calls_at_once) == (MIN_KEYS_PER_CALL, 1)
    assert pace.window_slots == MIN_WINDOW_SLOTS
    for _ in range(10):
        pace.note_keys(SLOW_CALL_S / 10, pace.keys_per_call, 0.0)
        pace.note_slots(0.0)
    assert (pace.keys_per_call, pace.calls_at_once) == (MAX_KEYS_PER_CALL, MAX_CALLS_AT_ONCE)
    assert pace.window_slots == MAX_WINDOW_SLOTS


def test_slow_calls_carry_fewer_keys_though_nobody_waits() -> None:
    pace = Pace()
    pace.note_keys(2 * SLOW_CALL_S, pace.keys_per_call, 0.0)
    assert (pace.keys_per_call, pace.calls_at_once) == (32, MAX_CALLS_AT_ONCE)


@pytest.mark.parametrize(("wait_s", "rest"), [(0.0, 0.0), (LONG_WAIT_S, 0.0), (0.2, 0.2), (30.0, 0.5)])
def test_rest_is_as_long_as_the_wait_but_bounded(wait_s: float, rest: float) -> None:
    assert rest_s(wait_s) == rest


def test_watch_counts_a_wait_that_is_not_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked, answer = threading.Event(), threading.Event()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                asked.set()
                answer.wait(30)
                connection.sendall(b"+PONG\r\n")
                connection.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        with WaitWatch([Address("127.0.0.1", server.getsockname()[1])], Access(timeout_s=30)) as watch:
            assert asked.wait(30)
            first, second = watch.longest_s(), watch.longest_s()
            assert 0 < first < second, "the same wait, a little longer"
            answer.set()
        thread.join(30)


def test_step_of_a_move_is_repeated_when_the_connection_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mover, "_RECONNECT_PAUSE_S", 0.0)
    tries: list[int] = []

    def step(failures: int) -> str:
        tries.append(1)
        if len(tries) <= failures:
            raise CannotConnect("closed")
        return "done"

    assert mover.reconnecting(lambda: step(3)) == "done"
    tries.clear()
    with pytest.raises(CannotConnect):
        mover.reconnecting(lambda: step(1_000))
