"""Function libraries: which there are, what they register, and how a set of them is loaded, dumped and restored.

A library is its text; the functions are what running the text registers. So only texts are stored and sent, and every
change is all or nothing: a text that fails to load leaves what was there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.scripting import flags as script_flags
from slotmesh.node.scripting.failures import CompileError, ScriptFailure
from slotmesh.node.scripting.texts import worded

if TYPE_CHECKING:
    from slotmesh.node.scripting.engine import Engine

ENGINE_NAME: Final = b"LUA"
NOT_FOUND: Final = ErrorReply("ERR Function not found")
_NO_LIBRARY: Final = ErrorReply("ERR Library not found")
_NONE_REGISTERED: Final = ErrorReply("ERR No functions registered")
#: What a library and a function cost beside their texts.
_OVERHEAD: Final = 200


class Function:
    """One function of a library."""

    __slots__ = ("callback", "description", "flags", "name")

    def __init__(self, name: bytes, callback: Any, description: bytes | None, flags: int) -> None:
        self.name = name
        self.callback = callback
        self.description = description
        self.flags = flags


class Library:
    """One library: its text and what it registered."""

    __slots__ = ("code", "functions", "name")

    def __init__(self, name: bytes, code: bytes) -> None:
        self.name = name
        self.code = code
        self.functions: dict[bytes, Function] = {}

    @property
    def size_bytes(self) -> int:
        """Memory for the text and the records."""
        return len(self.code) + len(self.name) + _OVERHEAD * (1 + len(self.functions))


class Functions:
    """All libraries of a node. `new_engine` makes the Lua world for them, given what `register_function` does."""

    def __init__(self, new_engine: Callable[[Callable[..., None]], Engine]) -> None:
        self._new_engine = new_engine
        #: The world of functions, once there is one.
        self.world: Engine | None = None
        self._loading: Library | None = None
        self.libraries: dict[bytes, Library] = {}
        self.by_name: dict[bytes, Function] = {}

    @property
    def engine(self) -> Engine:
        """The world of functions."""
        if self.world is None:
            self.world = self._new_engine(self._register)
        return self.world

    @property
    def vm_bytes(self) -> int:
        """Memory of the Lua world."""
        return self.world.bytes_used if self.world is not None else 0

    @property
    def size_bytes(self) -> int:
        """Memory of the libraries beside it."""
        return sum(library.size_bytes for library in self.libraries.values())

    # -- asking ----------------------------------------------------------------------------------------------

    def find(self, name: bytes) -> Function:
        """The function `name`. Raises CommandError."""
        function = self.by_name.get(name.lower())
        if function is None:
            raise CommandError(NOT_FOUND)
        return function

    def flags_of(self, name: bytes) -> int:
        """The flags of a function, as far as it exists."""
        function = self.by_name.get(name.lower())
        return script_flags.COMPATIBLE if function is None else function.flags

    def sources(self) -> list[bytes]:
        """The texts of all libraries."""
        return [library.code for library in self.libraries.values()]

    # -- changing --------------------------------------------------------------------------------------------

    def load(self, code: bytes, *, replace: bool) -> bytes:
        """Add the library with this text; its name. Raises CommandError, and then nothing has changed."""
        name = script_flags.parse_library(code)[0]
        old = self.libraries.get(name)
        if old is not None and not replace:
            raise CommandError(b"ERR Library '%b' already exists" % name)
        library = self.compile(code)
        self._check_collisions([library], replaced={name})
        if old is not None:
            self._unlink(old)
        self._link(library)
        return name

    def compile(self, code: bytes) -> Library:
        """Run a library's text; nothing else has changed. Raises CommandError."""
        name, source = script_flags.parse_library(code)
        library = self._loading = Library(name, code)
        try:
            self.engine.load_library(source)
        except CompileError as error:
            raise CommandError(b"ERR " + error.text) from None
        finally:
            self._loading = None
        if not library.functions:
            raise CommandError(_NONE_REGISTERED)
        return library

    def restore(self, codes: Iterable[bytes], *, flush: bool, replace: bool) -> None:
        """Add many libraries at once, instead of all others if `flush`. Raises CommandError: nothing has changed."""
        fresh: dict[bytes, Library] = {}
        for code in codes:
            library = self.compile(code)
            if library.name in fresh:
                raise CommandError(b"ERR Library '%b' already exists" % library.name)
            fresh[library.name] = library
        if flush:
            self._check_collisions(fresh.values(), replaced=set(self.libraries))
            self.clear()
        else:
            if not replace:
                for name in fresh:
                    if name in self.libraries:
                        raise CommandError(b"ERR Library %b already exists" % name)
            self._check_collisions(fresh.values(), replaced=set(fresh))
        for library in fresh.values():
            old = self.libraries.get(library.name)
            if old is not None:
                self._unlink(old)
            self._link(library)

    def delete(self, name: bytes) -> None:
        """Remove a library. Raises CommandError."""
        library = self.libraries.get(name)
        if library is None:
            raise CommandError(_NO_LIBRARY)
        self._unlink(library)

    def clear(self) -> None:
        """Remove all libraries. Their Lua world stays: the text of a library cannot have left anything in it."""
        self.libraries.clear()
        self.by_name.clear()

    def _check_collisions(self, fresh: Iterable[Library], replaced: set[bytes]) -> None:
        taken = {
            name for library in self.libraries.values() if library.name not in replaced for name in library.functions
        }
        for library in fresh:
            for name in library.functions:
                if name in taken:
                    raise CommandError(b"ERR Function %b already exists" % name)
                taken.add(name)

    def _link(self, library: Library) -> None:
        self.libraries[library.name] = library
        for name, function in library.functions.items():
            self.by_name[name.lower()] = function

    def _unlink(self, library: Library) -> None:
        del self.libraries[library.name]
        for name in library.functions:
            del self.by_name[name.lower()]

    # -- redis.register_function -----------------------------------------------------------------------------

    def _register(self, *args: Any) -> None:
        """Called by the text of a library. Raises ScriptFailure."""
        library = self._loading
        if library is None:
            raise ScriptFailure(worded(b"redis.register_function can only be called on FUNCTION LOAD command"))
        if not 1 <= len(args) <= 2:
            raise ScriptFailure(worded(b"wrong number of arguments to redis.register_function"))
        function = _positional(*args) if len(args) == 2 else _named(args[0])
        try:
            script_flags.check_name(function.name)
        except CommandError as error:
            raise ScriptFailure(error.reply.line) from None
        if function.name in library.functions:
            raise ScriptFailure(b"ERR Function already exists in the library")
        library.functions[function.name] = function


def _positional(name: Any, callback: Any) -> Function:
    text = _text(name)
    if text is None:
        raise ScriptFailure(worded(b"first argument to redis.register_function must be a string"))
    if not _is(callback, "function"):
        raise ScriptFailure(worded(b"second argument to redis.register_function must be a function"))
    return Function(text, callback, None, 0)


def _named(table: Any) -> Function:
    if not _is(table, "table"):
        text = b"calling redis.register_function with a single argument is only applicable to Lua table "
        raise ScriptFailure(worded(text + b"(representing named arguments)."))
    name = description = callback = None
    flags = 0
    for key, value in table.items():
        option = _text(key)
        if option is None:
            raise ScriptFailure(worded(b"named argument key given to redis.register_function is not a string"))
        option = option.lower()
        if option == b"function_name":
            name = _text(value)
            if name is None:
                raise ScriptFailure(worded(b"function_name argument given to redis.register_function must be a string"))
        elif option == b"description":
            description = _text(value)
            if description is None:
                raise ScriptFailure(worded(b"description argument given to redis.register_function must be a string"))
        elif option == b"callback":
            if not _is(value, "function"):
                raise ScriptFailure(worded(b"callback argument given to redis.register_function must be a function"))
            callback = value
        elif option == b"flags":
            if not _is(value, "table"):
                raise ScriptFailure(
                    worded(b"flags argument to redis.register_function must be a table representing function flags")
                )
            flags = _flags(value)
        else:
            raise ScriptFailure(worded(b"unknown argument given to redis.register_function"))
    if name is None:
        raise ScriptFailure(worded(b"redis.register_function must get a function name argument"))
    if callback is None:
        raise ScriptFailure(worded(b"redis.register_function must get a callback argument"))
    return Function(name, callback, description, flags)


def _flags(table: Any) -> int:
    flags, position = 0, 1
    while (name := table[position]) is not None:
        flag = script_flags.BY_NAME.get(name.lower()) if type(name) is bytes else None
        if flag is None:
            raise ScriptFailure(b"ERR unknown flag given")
        flags |= flag
        position += 1
    return flags


def _text(value: Any) -> bytes | None:
    """A string, or a number as Lua writes it."""
    if type(value) is bytes:
        return value
    if type(value) is int or type(value) is float:
        return b"%.14g" % value
    return None


def _is(value: Any, kind: str) -> bool:
    from lupa import lua51

    return bool(lua51.lua_type(value) == kind)
