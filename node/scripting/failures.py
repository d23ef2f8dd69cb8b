"""How things go wrong between Lua and the server, as exceptions. None of them leaves this room."""

from __future__ import annotations


class ScriptFailure(Exception):
    """An error on its way to the script. `counted`: the statistics of errors know of it already.

    `plain`: a text as Lua's own functions raise it, which is told with the place in the script. `final`: the run ends
    with it, whoever catches it.
    """

    __slots__ = ("counted", "final", "plain", "text")

    def __init__(self, text: bytes, counted: bool = False, *, plain: bool = False, final: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.counted = counted
        self.plain = plain
        self.final = final


class RunError(Exception):
    """A run ended with an error. `text` is the whole reply; `counted`: the statistics know of it already."""

    __slots__ = ("counted", "text")

    def __init__(self, text: bytes, counted: bool) -> None:
        super().__init__(text)
        self.text = text
        self.counted = counted


class CompileError(Exception):
    """The text is no Lua, or a library failed to load."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text
