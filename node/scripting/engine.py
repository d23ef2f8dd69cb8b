"""One Lua world: the interpreter, the sandbox in it (`prelude.lua`), and the way in and out.

This is the only module that imports lupa, and it is imported when the first script or library arrives. Strings are
bytes on both sides. The functions that scripts call are C closures around methods of `Calls`, made by lupa's
`as_function`, because a C function leaves the script's frame on the stack even in a tail call (`return
redis.call(...)`): the line in error texts comes from there. Lua's `debug`, `python` and the real globals stay inside
the prelude.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import resources
from typing import Any, Final, NoReturn

from lupa import lua51

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.resp.values import Raw, Status
from slotmesh.node.scripting.calls import Calls
from slotmesh.node.scripting.conversion import to_int64, to_lua
from slotmesh.node.scripting.failures import CompileError, RunError, ScriptFailure
from slotmesh.node.scripting.libraries import install_library
from slotmesh.node.scripting.memory_cap import REFERENCES, MemoryCap, spare_references
from slotmesh.node.scripting.texts import OUT_OF_MEMORY, worded

log = logging.getLogger("node")

#: Beyond so many keys and arguments they go over as tables: Lua's stack is bounded.
_MANY: Final = 1000
#: What a key or an argument costs in Lua beside its bytes: a string's header, and its place in a table.
_OVERHEAD: Final = 64
#: What a library takes in Lua, and more.
_LIBRARY_SIZE: Final = 1 << 20

Register = Callable[..., None]
Interrupt = Callable[[], bytes | None]


class Engine:
    """A Lua world for scripts, or (`register`) for function libraries.

    `interrupt` is asked now and then while Lua runs; what it returns ends the run, as its error. `memory_limit`: bytes
    that scripts may use here (memory_cap.py).
    """

    def __init__(self, calls: Calls, interrupt: Interrupt, memory_limit: int, register: Register | None = None) -> None:
        self.calls = calls
        self._interrupt = interrupt
        self._fatal: BaseException | None = None
        self._lua = lua51.LuaRuntime(
            encoding=None,
            unpack_returned_tuples=True,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_no_attributes,
            max_memory=0,
        )
        host = {
            b"call": calls.call,
            b"pcall": calls.pcall,
            b"sha1hex": self._checked(calls.sha1hex),
            b"log": self._checked(calls.log),
            b"setresp": self._checked(calls.setresp),
            b"set_repl": self._checked(calls.set_repl),
            b"acl_check_cmd": self._checked(calls.acl_check_cmd),
            b"count_error": self._checked(calls.count_error),
            b"register_function": self._checked(register or _cannot_register),
            b"random": self._checked(calls.random),
            b"random_seed": self._checked(calls.random_seed),
            b"describe": self._describe,
            b"exhausted": self._exhausted,
            b"install": self._checked(self._install),
            b"interrupt": self._ask,
            b"replies": _part("replies"),
            b"globals": _part("globals"),
            b"newer": COMPAT.newer,
            b"version": COMPAT.version.encode(),
            b"version_number": int.from_bytes(bytes(map(int, COMPAT.version.split("."))), "big"),
        }
        prelude = self._lua.execute(
            _part("prelude"), self._lua.table_from(host), register is not None, name=b"=prelude"
        )
        self._compile = prelude[b"compile"]
        self._run = prelude[b"run"]
        self._run_with = prelude[b"run_with"]
        self._load = prelude[b"load_library"]
        self.status_table: Callable[[bytes], Any] = prelude[b"status_table"]
        self._error_table = prelude[b"error_table"]
        self._bytes_used = prelude[b"bytes_used"]
        self.set_resp3: Callable[[bool], None] = prelude[b"set_resp3"]
        self.to_text: Callable[[Any], bytes] = prelude[b"to_text"]
        self._rearm = prelude[b"rearm"]
        self.table_from: Callable[[Any], Any] = self._lua.table_from
        spare_references(self._lua)
        self.memory = MemoryCap(self._lua, memory_limit)
        self._compiled = 0
        calls.engine = self

    def close(self) -> None:
        """Let go of the Lua world: it holds methods of this object and of `calls`, a ring that no collector sees."""
        self._lua = self._compile = self._run = self._run_with = self._load = self._error_table = None
        self._bytes_used = self.status_table = self.set_resp3 = self.to_text = self.table_from = _closed
        self._rearm = _closed
        self.calls.engine = None

    @property
    def bytes_used(self) -> int:
        """Memory of this Lua world."""
        return int(self._bytes_used())

    def error_table(self, text: bytes, counted: bool) -> Any:
        """What `redis.pcall` gives for an error."""
        self.check_room(len(text))
        return self._error_table(text, counted)

    def compile(self, source: bytes) -> Any:
        """A script as a function. Raises CompileError."""
        if not self._make_room(len(source)):
            raise CompileError(b"not enough memory")
        compiled = self._compile(source)
        if type(compiled) is tuple:
            raise CompileError(compiled[1])
        self._compiled += 1
        if not self._compiled % REFERENCES:
            spare_references(self._lua)  # each script that is kept holds one
        return compiled

    def load_library(self, source: bytes) -> None:
        """Run a library's text, which registers its functions. Raises CompileError."""
        if not self._make_room(len(source)):
            raise CompileError(b"not enough memory")
        try:
            outcome = self._load(source)
        except lua51.LuaError as error:
            self._recover()
            raise CompileError(b"Error registering functions: ERR " + str(error).encode()) from None
        self._raise_fatal()
        if self.memory.exceeded:
            self._recover()
        if outcome is not True:
            raise CompileError(outcome[2])

    def run(self, function: Any, name: bytes, keys: int, words: list[bytes], resp3: bool) -> Any:
        """Call a compiled function; `words` are its keys, then its arguments. The reply. Raises RunError."""
        memory = self.memory
        size = sum(map(len, words)) + _OVERHEAD * len(words)
        if not memory.has_room(size) and not self._make_room(size):
            raise RunError(OUT_OF_MEMORY, False)
        try:
            if len(words) < _MANY:
                result = self._run(function, resp3, keys, *words)
            else:
                table_from = self.table_from
                result = self._run_with(function, resp3, table_from(words[:keys]), table_from(words[keys:]))
        except lua51.LuaError as error:
            self._recover()
            self._raise_fatal()
            if isinstance(error, lua51.LuaMemoryError):
                raise RunError(OUT_OF_MEMORY, False) from None
            raise RunError(b"ERR Error running script %b, %b" % (name, str(error).encode()[:100]), False) from None
        if memory.exceeded:
            self._recover()
        kind = type(result)
        if kind is bytes or result is None:
            return result
        if kind is tuple:
            if result[1] is True:
                return Raw(result[0])
            self._raise_fatal()
            self._fail(name, *result[2:])
        if kind is bool:
            return 1 if result else None
        return to_int64(result)

    @staticmethod
    def _fail(
        name: bytes,
        plain: bytes | None,
        text: bytes = b"",
        source: bytes | None = None,
        line: bytes | None = None,
        counted: bool = False,
    ) -> NoReturn:
        if plain is not None:
            raise RunError(b"ERR Error running script %b, %b" % (name, plain[:100]), counted)
        text = text.split(b"\0", 1)[0]
        if source is not None and line is not None:
            text += b" script: %b, on %b:%b." % (name, source, line)
        raise RunError(text.rstrip(b"\r\n"), counted)

    # -- memory ----------------------------------------------------------------------------------------------

    def _make_room(self, size: int) -> bool:
        """Whether `size` bytes may cross into Lua, once garbage is collected if need be."""
        if not self.memory.has_room(size):
            self._collect()
        return self.memory.has_room(size)

    def _collect(self) -> None:
        self.memory.lift()
        self._lua.gccollect()
        self.memory.restore()

    def _recover(self) -> None:
        """A run went beyond the limit, or broke off: the next one starts with a clean table."""
        self.memory.lift()
        self._rearm()
        self.memory.exceeded = False
        self._collect()

    def to_lua(self, value: Any, resp3: bool) -> Any:
        """A reply of any size and shape as a script sees it. Raises ScriptFailure."""
        if type(value) is Status:
            return self.status_table(value.text)
        self.memory.lift()
        try:
            converted = to_lua(self, value, resp3)
        finally:
            self.memory.restore()
        self.check_room()
        return converted

    def check_room(self, size: int = 0) -> None:
        """Before `size` bytes cross from a host function into Lua: if need be, collect garbage. Raises ScriptFailure,
        which ends the run."""
        memory = self.memory
        if not memory.exceeded and (memory.has_room(size) or self._make_room(size)):
            return
        self.memory.exceed()
        raise ScriptFailure(OUT_OF_MEMORY, final=True)

    def _checked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A host function that returns little."""

        def checked(*args: Any) -> Any:
            try:
                self.check_room()
                return function(*args)
            except ScriptFailure as failure:
                thrown = self.calls.thrown.like(failure)
            args = ()
            raise thrown

        return checked

    def _exhausted(self) -> bytes:
        """Lua itself has found no memory: what the run is told as it ends."""
        self.memory.exceed()
        return OUT_OF_MEMORY

    # -- calls of the prelude --------------------------------------------------------------------------------

    def _describe(self, failure: Any) -> tuple[bytes | None, bool, bool, bool]:
        """A Python exception that Lua code has caught: its text, whether it is counted, plain, final.

        No text when it is none.
        """
        if type(failure) is ScriptFailure:
            if self.memory.exceeded or not self.memory.has_room(len(failure.text)):
                self.memory.exceed()
                return OUT_OF_MEMORY, False, False, True
            return failure.text, failure.counted, failure.plain, failure.final
        if isinstance(failure, Exception):
            log.error("a function of scripts failed", exc_info=failure)
        elif isinstance(failure, BaseException):
            self._fatal = failure
        else:
            return None, False, False, False
        text = b"ERR internal error: a function of scripts failed in a way that is a bug of this server"
        return text, False, False, False

    def _raise_fatal(self) -> None:
        """What must end the process (a Ctrl-C) was raised inside Lua: go on with it outside."""
        fatal, self._fatal = self._fatal, None
        if fatal is not None:
            raise fatal

    def _install(self, name: bytes) -> None:
        """A script uses a library for the first time."""
        self.check_room(_LIBRARY_SIZE)
        self.memory.lift()
        try:
            install_library(self._lua, name)
        finally:
            self.memory.restore()

    def _ask(self) -> bytes | None:
        try:
            self.check_room()
        except ScriptFailure as failure:
            return failure.text
        return self._interrupt()


def _part(name: str) -> bytes:
    return resources.files("slotmesh.node.scripting").joinpath(f"{name}.lua").read_bytes()


def _no_attributes(obj: object, name: object, is_setting: bool) -> NoReturn:
    raise AttributeError("scripts have no access to Python objects")


def _closed(*args: Any) -> NoReturn:
    raise AssertionError("this Lua world is closed")


def _cannot_register(*args: Any) -> NoReturn:
    raise ScriptFailure(worded(b"redis.register_function can only be called on FUNCTION LOAD command"))
