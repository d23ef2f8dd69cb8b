"""What several clients hear of each other, byte by byte, on a node in this process."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.scenes.scenes import Scene, play
from tests.scenes.server import SCENES
from tests.support.inprocess import InProcessClient, InProcessNode


class InProcessStage:
    """A scene on a node in this process."""

    def __init__(self, node: InProcessNode) -> None:
        self._node = node
        self._clients: dict[str, InProcessClient] = {}
        self._kept: dict[str, bytes] = {}

    def enter(self, name: str) -> None:
        self._clients[name] = self._node.client(resp3=name.endswith("3"))

    def client_id(self, name: str) -> int:
        return self._clients[name].served.id

    def say(self, name: str, args: tuple[str | bytes | int, ...]) -> None:
        with suppress(BrokenPipeError):  # the server has hung up: nobody hears anything
            self._kept[name] = self._clients[name].raw(*args)

    def heard(self, name: str, size: int) -> bytes:
        return self._kept.pop(name, b"") + self._clients[name].received()


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
def test_everybody_hears_exactly_what_stock_says(scene: Scene) -> None:
    with InProcessNode() as node:
        play(scene, InProcessStage(node))
