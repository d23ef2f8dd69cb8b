"""The scenes between several clients are true of a stock server."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from slotmesh.node.resp.encoder import encode_command
from tests.scenes.scenes import Scene, play
from tests.scenes.server import SCENES
from tests.support.processes import have_stock, start_stock_server
from tests.support.twins import to_bytes

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

#: How long a client listens for what nobody should say.
_SILENCE_S = 0.005
_UNANSWERED_S = 0.1
_PATIENCE_S = 5.0


class WireStage:
    """A scene on a server process."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._port = port
        self._stack = stack
        self._socks: dict[str, socket.socket] = {}
        self._speaker = ""

    def enter(self, name: str) -> None:
        self._socks[name] = self._stack.enter_context(socket.create_connection(("127.0.0.1", self._port)))
        if name.endswith("3"):
            self._ask(name, "HELLO", "3")

    def _ask(self, name: str, *args: str) -> bytes:
        self.say(name, args)
        self._socks[name].settimeout(_PATIENCE_S)
        return self._socks[name].recv(1 << 16)

    def client_id(self, name: str) -> int:
        return int(self._ask(name, "CLIENT", "ID")[1:])

    def say(self, name: str, args: tuple[str | bytes | int, ...]) -> None:
        self._speaker = name
        with suppress(BrokenPipeError, ConnectionResetError):  # the server has hung up: nobody hears anything
            self._socks[name].sendall(encode_command([to_bytes(arg) for arg in args]))

    def heard(self, name: str, size: int) -> bytes:
        received = b""
        # A command without a reply must have run before the next client speaks.
        silence_s = _UNANSWERED_S if name == self._speaker and not size else _SILENCE_S
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            self._socks[name].settimeout(silence_s if len(received) >= size else _PATIENCE_S)
            try:
                chunk = self._socks[name].recv(1 << 16)
            except (TimeoutError, ConnectionResetError):
                break
            if not chunk:
                break
            received += chunk
        return received


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
def test_scene_is_true_of_stock(tmp_path: Path, scene: Scene) -> None:
    with start_stock_server(tmp_path) as stock, ExitStack() as stack:
        play(scene, WireStage(stock.port, stack))
