"""The arguments of a command, from the line that people read to the tree that COMMAND DOCS gives.

A declaration says how its command is written, in the notation of every Redis manual:

    syntax="key [NX | XX] [LIMIT offset count] score member [score member ...]"

Capitals and signs stand for themselves (tokens), small words are values, `[...]` is optional, `<a | b>` a choice, and
`x [x ...]` says that x may come again. A token takes the values that follow it. The type of a value follows from its
name (`TYPES`); where it does not, the type stands behind it: `increment(double)`. docs/commands.md prints the line, and
clients such as redis-cli make their hints from the tree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from attrs import define, evolve, field

_KEYS: Final = ("key", "key1", "key2", "source", "destination", "newkey", "src", "dst", "destkey", "sourcekey")
_INTEGERS: Final = (
    *("bit", "bits", "client-id", "cluster_bus_port", "config-epoch", "count", "cursor", "db", "decrement"),
    *("destination-db", "end-slot", "entries_added", "entries_read", "frequency", "increment", "index", "index1"),
    *("index2", "len", "limit", "maxage", "milliseconds", "ms", "num-matches", "numfields", "numids", "numkeys"),
    *("numlocal", "numreplicas", "offset", "port", "protover", "rank", "seconds", "slot", "start-slot", "ttl"),
    *("version", "weight"),
)
_DOUBLES: Final = ("height", "latitude", "longitude", "radius", "score", "width")
#: Name of a value -> its type in COMMAND DOCS; all others are strings.
TYPES: Final[dict[str, str]] = {
    **dict.fromkeys(_KEYS, "key"),
    **dict.fromkeys(_INTEGERS, "integer"),
    **dict.fromkeys(_DOUBLES, "double"),
    "pattern": "pattern",
    "unix-time-seconds": "unix-time",
    "unix-time-milliseconds": "unix-time",
}
_WORD: Final = re.compile(r"[\[\]<>|]|[^\s\[\]<>|]+")
_TYPED: Final = re.compile(r"(.+)\(([a-z-]+)\)")


class SyntaxLineError(Exception):
    """A declaration's syntax line makes no sense: a bug of ours, found by the tests."""


@define
class Argument:
    """One node of the tree. `kind` is a type of TYPES, `string`, `pure-token`, `oneof` or `block`."""

    name: str
    kind: str
    token: str = ""
    optional: bool = False
    multiple: bool = False
    multiple_token: bool = False
    parts: list[Argument] = field(factory=list)


def plain(line: str) -> str:
    """The line without the types, for people."""
    return re.sub(r"\([a-z-]+\)(?=[\s\]>]|$)", "", line)


def parse(line: str) -> list[Argument]:
    """The arguments of a syntax line. Raises SyntaxLineError."""
    words = _WORD.findall(line)
    parser = _Parser(words)
    arguments = parser.sequence()
    if parser.at < len(words):
        raise SyntaxLineError(f"{words[parser.at]!r} without its beginning in {line!r}")
    return arguments


def render(arguments: Sequence[Argument]) -> str:
    """Arguments as a line again, without types."""
    return " ".join(_render(argument) for argument in arguments)


def _render(argument: Argument) -> str:
    once = _render_once(argument)
    text = argument.token
    if argument.kind != "pure-token":
        text = f"{text} {once}".lstrip()
    if argument.multiple:
        text += f" [{text if argument.multiple_token else once} ...]"
    return f"[{text}]" if argument.optional else text


def _render_once(argument: Argument) -> str:
    if argument.kind == "block":
        return render(argument.parts)
    if argument.kind == "oneof":
        choices = " | ".join(_render(part) for part in argument.parts)
        return choices if argument.optional and not argument.token else f"<{choices}>"
    return argument.name


def _is_token(word: str) -> bool:
    return not any(letter.islower() for letter in word)


class _Parser:
    def __init__(self, words: list[str]) -> None:
        self._words = words
        self.at = 0
        self._group_repeats = False

    def _next(self) -> str:
        return self._words[self.at] if self.at < len(self._words) else ""

    def sequence(self, group: int = 0) -> list[Argument]:
        """Arguments up to the end of a choice. `group` is the word at which the group around them begins."""
        found: list[Argument] = []
        starts: list[int] = []  # the word at which each argument begins
        while self._next() and self._next() not in "]>|":
            begin = self.at
            if self._next() == "[" and (repeated := self._repetition()):
                if self._words[group:begin] == repeated and "|" in repeated:
                    self._group_repeats = True
                else:
                    self._repeat(found, starts, repeated)
                continue
            found.append(self._argument())
            starts.append(begin)
        return found

    def _repetition(self) -> list[str]:
        """The words of `[x ...]` ahead, which is consumed; empty if something else is ahead."""
        depth, end = 0, self.at
        while end < len(self._words):
            depth += {"[": 1, "]": -1}.get(self._words[end], 0)
            if not depth:
                break
            end += 1
        if self._words[end - 1] != "..." or depth:
            return []
        words = self._words[self.at + 1 : end - 1]
        self.at = end + 1
        return words

    def _repeat(self, found: list[Argument], starts: list[int], repeated: list[str]) -> None:
        """Mark what stands before `[x ...]` as repeatable: the last argument, or several as a block."""
        behind = self.at - len(repeated) - 3
        for i in range(len(found) - 1, -1, -1):
            words = self._words[starts[i] : behind]
            if words == repeated or (i == len(found) - 1 and found[i].token and words[1:] == repeated):
                group = found[i:]
                del found[i:], starts[i + 1 :]
                one = group[0] if len(group) == 1 else _block(group)
                if len(group) == 1 and not one.token and one.kind == "block" and one.parts[0].token:
                    one = _block([one])
                found.append(evolve(one, multiple=True, multiple_token=bool(one.token) and words == repeated))
                return
        raise SyntaxLineError(f"[{' '.join(repeated)} ...] repeats nothing in {' '.join(self._words)!r}")

    def _argument(self) -> Argument:
        word = self._next()
        if word in "[<":
            return self._group()
        self.at += 1
        if not _is_token(word):
            return _value(word)
        if self._next() == "<":
            return evolve(self._group(), token=word)
        begin = self.at
        values: list[Argument] = []
        while self._next() and self._next() not in "[]<>|" and not _is_token(self._next()):
            values.append(_value(self._next()))
            self.at += 1
        if not values:
            return Argument(word.lower(), "pure-token", word)
        self._repeat_last_values(values, self._words[begin : self.at])
        return evolve(values[0] if len(values) == 1 else _block(values), token=word)

    def _repeat_last_values(self, values: list[Argument], words: list[str]) -> None:
        """`FIELDS numfields field [field ...]`: what comes again is the end of what a token takes."""
        at = self.at
        repeated = self._repetition() if self._next() == "[" else []
        count = len(repeated)
        if not 0 < count < len(values) or words[-count:] != repeated:
            self.at = at
            return
        last = values[-count:]
        values[-count:] = [evolve(last[0] if count == 1 else _block(last), multiple=True)]

    def _group(self) -> Argument:
        opening = self._next()
        closing = "]" if opening == "[" else ">"
        self.at += 1
        begin = self.at
        choices = [self.sequence(begin)]
        while self._next() == "|":
            self.at += 1
            choices.append(self.sequence(begin))
        if self._next() != closing:
            raise SyntaxLineError(f"{opening!r} without {closing!r} in {' '.join(self._words)!r}")
        self.at += 1
        parts = [choice[0] if len(choice) == 1 else _block(choice) for choice in choices]
        if len(parts) > 1:
            multiple, self._group_repeats = self._group_repeats, False
            name = "_".join(part.name for part in parts)
            return Argument(name, "oneof", "", opening == "[", multiple, parts=parts)
        if parts[0].optional and opening == "[":
            return evolve(_block(choices[0]), optional=True)
        return evolve(parts[0], optional=opening == "[")


def _value(word: str) -> Argument:
    typed = _TYPED.fullmatch(word)
    if typed is not None:
        return Argument(typed[1], typed[2])
    return Argument(word, TYPES.get(word, "string"))


def _block(parts: list[Argument]) -> Argument:
    return Argument("_".join(part.name for part in parts), "block", parts=parts)
