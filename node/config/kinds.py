"""Kinds of configuration values: how each is read from words, shown by CONFIG GET and written by CONFIG REWRITE.

A kind turns the words behind a directive's name into a Python value (`parse`), the value into the one text that CONFIG
GET shows (`format`), and into the lines that CONFIG REWRITE writes (`lines`). Ranges and error texts are those of the
stock server (7.0). Values are plain and immutable (bool, int, str, bytes, tuples), so that a rollback is an assignment.

Text is `str` with `surrogateescape`, which keeps any byte; secrets that travel in the protocol are `bytes`.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final

from slotmesh.cluster.numbers import to_int64, to_uint
from slotmesh.node.keyspace import notify
from slotmesh.node.resp.inline import quote

INT_MAX: Final = 2**31 - 1
UINT_MAX: Final = 2**32 - 1
LONG_MAX: Final = 2**63 - 1
ULONG_MAX: Final = 2**64 - 1

_UNITS: Final = {
    b"": 1,
    b"b": 1,
    b"k": 1000,
    b"kb": 1 << 10,
    b"m": 1000**2,
    b"mb": 1 << 20,
    b"g": 1000**3,
    b"gb": 1 << 30,
}


class ConfigError(Exception):
    """A value that a directive does not accept. `args[0]` is the stock server's text."""


NO_TLS = "TLS is not supported: nothing would be encrypted"


class ConfigFileError(Exception):
    """The node must not start. `args[0]` is what stderr should show; exit status 1 goes with it."""


def text_of(raw: bytes) -> str:
    """Bytes of a file, argument or request as the text of a value; `bytes_of` is its exact inverse."""
    return raw.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """The bytes that `text` was made from."""
    return text.encode("utf-8", "surrogateescape")


def parse_memory(text: bytes) -> int | None:
    """Bytes that `100mb`, `1k` and the like mean, or None. Units: k m g are powers of 1000, kb mb gb of 1024."""
    match = re.fullmatch(rb"([0-9]*)([a-z]*)", text, re.IGNORECASE)
    unit = None if match is None else _UNITS.get(match[2].lower())
    if match is None or unit is None:
        return None
    count = to_uint(match[1].lstrip(b"0") or b"0", ULONG_MAX)
    return None if count is None or count * unit > ULONG_MAX else count * unit


def format_memory(size: int) -> bytes:
    """The shortest exact form with a unit, as CONFIG REWRITE writes it."""
    for unit, word in ((1 << 30, b"gb"), (1 << 20, b"mb"), (1 << 10, b"kb")):
        if size and size % unit == 0:
            return b"%d%b" % (size // unit, word)
    return b"%d" % size


class Kind(ABC):
    """Base of all kinds. `several`: the directive takes any number of words (one quoted word may hold them all)."""

    several = False
    #: `parse` gets the current value as `old` because a setting changes only a part of it.
    merges = False
    #: Repeated lines in a config file add up.
    grows_in_files = False

    @abstractmethod
    def parse(self, words: Sequence[bytes], old: Any = None) -> Any:
        """The value. Raises ConfigError."""

    @abstractmethod
    def format(self, value: Any) -> bytes:
        """The text that CONFIG GET shows."""

    def lines(self, value: Any, default: Any) -> list[tuple[bytes, bool]]:
        """What CONFIG REWRITE writes behind the name: (text, must be written even if the file did not have it)."""
        return [(self.format(value), value != default)]


class YesNo(Kind):
    """`yes` or `no`."""

    def __init__(self, refuse_yes: str = "") -> None:
        self._refuse_yes = refuse_yes

    def parse(self, words: Sequence[bytes], old: Any = None) -> bool:
        word = words[0].lower()
        if word not in (b"yes", b"no"):
            raise ConfigError("argument must be 'yes' or 'no'")
        if word == b"yes" and self._refuse_yes:
            raise ConfigError(self._refuse_yes)
        return word == b"yes"

    def format(self, value: bool) -> bytes:
        return b"yes" if value else b"no"


class Integer(Kind):
    """A decimal integer in a closed range."""

    def __init__(self, low: int, high: int) -> None:
        self.low = low
        self.high = high

    def parse(self, words: Sequence[bytes], old: Any = None) -> int:
        value = to_int64(words[0])
        if value is None:
            raise ConfigError("argument couldn't be parsed into an integer")
        return self.in_range(value)

    def in_range(self, value: int) -> int:
        """`value` itself. Raises ConfigError when it is outside the range."""
        if not self.low <= value <= self.high:
            raise ConfigError(f"argument must be between {self.low} and {self.high} inclusive")
        return value

    def format(self, value: int) -> bytes:
        return b"%d" % value


class NoTlsPort(Integer):
    """`tls-port`: only 0, which is none. Other ports are told apart from nonsense, though, as a mistake of its own."""

    def in_range(self, value: int) -> int:
        if super().in_range(value):
            raise ConfigError(NO_TLS)
        return value


class Hertz(Integer):
    """`hz`: any non-negative number is taken, but capped to what makes sense."""

    def in_range(self, value: int) -> int:
        return min(max(super().in_range(value), 1), 500)


class Octal(Integer):
    """File permissions."""

    def parse(self, words: Sequence[bytes], old: Any = None) -> int:
        if re.fullmatch(rb"[0-7]{1,21}", words[0]) is None:
            raise ConfigError("argument couldn't be parsed as an octal number")
        value = int(words[0], 8)
        if not self.low <= value <= self.high:
            raise ConfigError(f"argument must be between {self.low:o} and {self.high:o} inclusive")
        return value

    def format(self, value: int) -> bytes:
        return b"%o" % value


class Memory(Integer):
    """A number of bytes, with or without a unit."""

    def parse(self, words: Sequence[bytes], old: Any = None) -> int:
        value = parse_memory(words[0])
        if value is None:
            raise ConfigError("argument must be a memory value")
        return self.in_range(value)

    def lines(self, value: int, default: int) -> list[tuple[bytes, bool]]:
        return [(format_memory(value), value != default)]


class MemoryOrPercent(Memory):
    """A number of bytes, or a share (of `maxmemory`) that is kept as a negative number: -5 means 5%."""

    def parse(self, words: Sequence[bytes], old: Any = None) -> int:
        size = parse_memory(words[0])
        if size is not None:
            return self.in_range(size)
        percent = to_int64(words[0][:-1]) if words[0].endswith(b"%") else None
        if percent is None or percent < 0:
            raise ConfigError("argument must be a memory or percent value")
        if -percent < self.low:
            raise ConfigError(f"percentage argument must be less or equal to {-self.low}")
        return -percent

    def format(self, value: int) -> bytes:
        return b"%d%%" % -value if value < 0 else b"%d" % value

    def lines(self, value: int, default: int) -> list[tuple[bytes, bool]]:
        return [(self.format(value) if value < 0 else format_memory(value), value != default)]


class Word(Kind):
    """One word of a fixed choice. `also` maps further spellings to the word they stand for. `newer`: words of later
    versions, which are understood; the text of the error names those of 7.0."""

    def __init__(self, *choice: str, also: dict[str, str] | None = None, newer: Sequence[str] = ()) -> None:
        self.choice = choice
        self._also = also or {}
        self._newer = newer

    def parse(self, words: Sequence[bytes], old: Any = None) -> str:
        return self.one(words[0])

    def one(self, raw: bytes) -> str:
        """The member of the choice that `raw` names. Raises ConfigError."""
        word = text_of(raw).lower()
        if word not in self.choice and word not in self._newer:
            raise ConfigError("argument(s) must be one of the following: " + ", ".join(self.choice))
        return self._also.get(word, word)

    def format(self, value: str) -> bytes:
        return value.encode()


class ShutdownFlags(Kind):
    """What a signal's shutdown does: `default`, or words of save, nosave, now, force and (Valkey 9) safe. The value is
    a tuple of words."""

    several = True

    def __init__(self) -> None:
        self._words = Word("default", "save", "nosave", "now", "force", newer=("safe",))

    def parse(self, words: Sequence[bytes], old: Any = None) -> tuple[str, ...]:
        if not words:
            self._words.one(b"")
        named = {self._words.one(word) for word in words}
        if {"save", "nosave"} <= named:
            raise ConfigError("shutdown options SAVE and NOSAVE can't be used simultaneously")
        return tuple(word for word in (*self._words.choice[1:], "safe") if word in named)

    def format(self, value: tuple[str, ...]) -> bytes:
        return " ".join(value or ("default",)).encode()


class Text(Kind):
    """A string. `unset_when_empty`: an empty one is never written to a file, because absence means the same."""

    def __init__(self, unset_when_empty: bool = False, check: Callable[[str], str | None] | None = None) -> None:
        self._unset_when_empty = unset_when_empty
        self._check = check

    def parse(self, words: Sequence[bytes], old: Any = None) -> Any:
        value = text_of(words[0])
        problem = self._check(value) if self._check is not None else None
        if problem:
            raise ConfigError(problem)
        return value

    def format(self, value: Any) -> bytes:
        return bytes_of(value)

    def lines(self, value: Any, default: Any) -> list[tuple[bytes, bool]]:
        if not value and self._unset_when_empty:
            return []
        return [(quote(self.format(value)), value != default)]


class Secret(Text):
    """A user name or password that travels in the protocol: `bytes`, never written when empty."""

    def __init__(self) -> None:
        super().__init__(unset_when_empty=True)

    def parse(self, words: Sequence[bytes], old: Any = None) -> bytes:
        return bytes(words[0])

    def format(self, value: bytes) -> bytes:
        return value


class Directory(Text):
    """`dir`: an existing directory; the value is absolute. Changing into it is the business of `Config`."""

    def parse(self, words: Sequence[bytes], old: Any = None) -> str:
        path = text_of(words[0])
        try:
            os.scandir(path).close()
        except OSError as error:
            raise ConfigError(os.strerror(error.errno or 0)) from error
        return os.path.abspath(path)

    def lines(self, value: str, default: str) -> list[tuple[bytes, bool]]:
        return [(quote(bytes_of(value)), True)]


def file_name_check(directive: str, what: str, may_be_empty: bool = False) -> Callable[[str], str | None]:
    """A check for names of files that must stay inside `dir`."""

    def check(value: str) -> str | None:
        if not value and not may_be_empty:
            return f"{directive} can't be empty"
        if "/" in value or "\\" in value:
            return f"{directive} can't be a path, just a {what}"
        return None

    return check


def address_check(value: str) -> str | None:
    """The rule for `cluster-announce-ip`: what it says is written to nodes.conf and carried by the bus. Stock has none,
    and cannot read its nodes.conf again after a blank in it."""
    if re.fullmatch(r"[0-9A-Za-z:.%_-]{0,45}", value) is None:
        return "Addresses may only contain alphanumeric characters, colons, dots, hyphens and percent signs"
    return None


def host_name_check(value: str) -> str | None:
    """The rule for `cluster-announce-hostname`."""
    if len(value) >= 256:
        return "Hostnames must be less than 256 characters"
    if re.fullmatch(r"[A-Za-z0-9.-]*", value) is None:
        return "Hostnames may only contain alphanumeric characters, hyphens or dots"
    return None


_TITLE_VARIABLES: Final = {"title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"}


def title_check(value: str) -> str | None:
    """The rule for `proc-title-template`."""
    rest = re.sub(r"\{([^{}]*)\}", lambda match: "" if match[1] in _TITLE_VARIABLES else "{", value)
    return "template format is invalid or contains unknown variables" if "{" in rest or "}" in rest else None


class EventClasses(Kind):
    """`notify-keyspace-events`: the value is a mask of `node.keyspace.notify`."""

    def parse(self, words: Sequence[bytes], old: Any = None) -> int:
        mask = notify.parse_flags(text_of(words[0]))
        if mask is None:
            raise ConfigError("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
        return mask

    def format(self, value: int) -> bytes:
        return notify.format_flags(value).encode()

    def lines(self, value: int, default: int) -> list[tuple[bytes, bool]]:
        return [(quote(self.format(value)), value != default)]
