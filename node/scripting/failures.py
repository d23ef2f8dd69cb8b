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


class Thrown:
    """The one exception of a Lua world that crosses into it.

    lupa's table of the Python objects that Lua has seen never gets shorter, and loses track of its free places: an
    object of its own for each error would cost 16 bytes that nothing gives back. Lua code of ours reads an exception as
    soon as it is caught, so one object is enough.
    """

    def __init__(self) -> None:
        self._failure = ScriptFailure(b"")

    def like(self, failure: ScriptFailure) -> ScriptFailure:
        """That exception, saying what `failure` says. To be raised outside of the `except` clause, so that it does not
        hold on to `failure`."""
        thrown = self._failure
        thrown.args = failure.args
        thrown.text, thrown.counted = failure.text, failure.counted
        thrown.plain, thrown.final = failure.plain, failure.final
        thrown.__context__ = None
        return thrown.with_traceback(None)


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
