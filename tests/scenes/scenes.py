"""Scenes: several clients of one server, what each says and what each hears, byte by byte.

A step is (who, request, heard); `heard` maps the name of a client to the bytes it receives because of the step, and
leaves out who receives nothing. The clients of a scene are those that it names; "3" at the end of a name means RESP3.
The same scenes are played on our node in the test's own process and on a stock server, which proves that they are true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from tests.tables.support import Request, words

Step = tuple[str, Request, Mapping[str, bytes]]
Scene = Sequence[Step]


class Stage(Protocol):
    """Where a scene is played: connections by name."""

    def enter(self, name: str) -> None:
        """Open the connection of a client, with its protocol."""

    def client_id(self, name: str) -> int:
        """The id of a client; a request names it as `{name}`."""

    def say(self, name: str, args: tuple[str | bytes | int, ...]) -> None:
        """Send a request."""

    def heard(self, name: str, size: int) -> bytes:
        """What arrived for a client since it was asked last; `size` bytes are expected."""


def names(scene: Scene) -> list[str]:
    """The clients of a scene, in order of appearance."""
    found: dict[str, None] = {}
    for who, _, heard in scene:
        found[who] = None
        found.update(dict.fromkeys(heard))
    return list(found)


def play(scene: Scene, stage: Stage) -> None:
    """Play all steps and compare what everybody hears."""
    cast = names(scene)
    for name in cast:
        stage.enter(name)
    ids = {name: stage.client_id(name) for name in cast}
    for number, (who, request, heard) in enumerate(scene):
        stage.say(who, words(request.format_map(ids) if isinstance(request, str) else request))
        for name in [*heard, *(name for name in cast if name not in heard)]:
            wanted = heard.get(name, b"")
            got = stage.heard(name, len(wanted))
            assert got == wanted, (
                f"step {number}: {who}: {request!r}\n  {name} wanted: {wanted!r}\n  {name} got: {got!r}"
            )
