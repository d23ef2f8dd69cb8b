"""The configuration of a node: typed attributes, CONFIG GET and CONFIG SET, listeners.

Reading a value is a plain attribute access (`config.maxclients`), so that hot code may do it. Writing goes through
`set`: all pairs are parsed before any is stored, then all are stored, then the listeners run; when one of them refuses,
everything goes back to what it was, listeners included. Code that keeps a value derived from the configuration
registers with `on_change`.

Loading files and arguments is in `config/load.py`, CONFIG REWRITE in `config/rewrite.py`. Error texts are those of the
stock server (7.0).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from slotmesh.node.base import errors
from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.base.glob import match as glob_match
from slotmesh.node.config.directive import Directive
from slotmesh.node.config.directives import ALL_DIRECTIVES, BY_NAME
from slotmesh.node.config.directives_after_7_0 import GONE_SINCE, NEWER_NAMES
from slotmesh.node.config.kinds import ConfigError, ConfigFileError, bytes_of, text_of
from slotmesh.node.config.values import ConfigValues

__all__ = ["Config", "ConfigError", "ConfigFileError"]

Listener = Callable[[Any], None]
_GLOB_LETTERS = frozenset(b"[*?")


class Config(ConfigValues):
    """All settings of one node. A fresh one holds the defaults.

    `path` is the file it was loaded from, None without one. `renames`, `users` and `modules` are what the file-only
    directives said.
    """

    def __init__(self) -> None:
        for directive in ALL_DIRECTIVES:
            setattr(self, directive.attribute, directive.default)
        self.dir = os.getcwd()
        self.path: str | None = None
        self.renames: list[tuple[bytes, bytes]] = []
        self.users: list[list[bytes]] = []
        #: How ACL users are written by CONFIG REWRITE; the ACL puts its own function here.
        self.user_lines: Callable[[], list[bytes]] = list
        self._listeners: dict[str, list[Listener]] = {}

    # -- reading ---------------------------------------------------------------------------------------------

    def value(self, directive: Directive) -> Any:
        """The current value of a directive."""
        return getattr(self, directive.attribute)

    def get(self, patterns: Sequence[bytes]) -> dict[bytes, bytes]:
        """CONFIG GET: names as asked for (exact ones) or as declared (glob patterns) with their values as text."""
        found: dict[bytes, bytes] = {}
        for pattern in patterns:
            if _GLOB_LETTERS.isdisjoint(pattern):
                directive = BY_NAME.get(text_of(pattern).lower())
                if directive is not None and pattern not in found:
                    found[pattern] = directive.kind.format(self.value(directive))
                continue
            for name, directive in BY_NAME.items():
                raw = name.encode()
                if (
                    not directive.hidden
                    and name not in NEWER_NAMES
                    and not (COMPAT.newer and name in GONE_SINCE)
                    and raw not in found
                    and glob_match(pattern, raw, ignore_case=True)
                ):
                    found[raw] = directive.kind.format(self.value(directive))
        return found

    # -- writing ---------------------------------------------------------------------------------------------

    def on_change(self, name: str, callback: Listener) -> None:
        """Have `callback(value)` called after CONFIG SET gave `name` another value.

        It may raise ConfigError to veto the change; it is called again with the old value when another listener vetoes.
        """
        self._listeners.setdefault(BY_NAME[name].name, []).append(callback)

    def set(self, pairs: Sequence[tuple[bytes, bytes]], *, local_client: bool = False, loading: bool = False) -> None:
        """CONFIG SET: all pairs or none. Raises CommandError.

        `local_client`: the caller is connected from this host. `loading`: a dataset is being loaded.
        """
        chosen = self._choose(pairs, local_client, loading)
        parsed: list[tuple[Directive, Any]] = []
        for directive, raw in chosen:
            words = raw.split(b" ") if directive.kind.several and raw else [raw]
            try:
                parsed.append((directive, directive.kind.parse(words, self._base(directive))))
            except ConfigError as error:
                raise CommandError(_refusal(bytes_of(directive.name), error)) from error
        self.assign(parsed)

    def _base(self, directive: Directive) -> Any:
        return self.value(directive) if directive.kind.merges else None

    def _choose(
        self, pairs: Sequence[tuple[bytes, bytes]], local_client: bool, loading: bool
    ) -> list[tuple[Directive, bytes]]:
        chosen: dict[str, tuple[Directive, bytes]] = {}
        for name, raw in pairs:
            directive = BY_NAME.get(text_of(name).lower())
            if directive is None:
                raise CommandError(b"ERR Unknown option or number of arguments for CONFIG SET - '%b'" % name)
            allowed = self.enable_protected_configs
            if directive.immutable:
                raise CommandError(_refusal(name, ConfigError("can't set immutable config")))
            if directive.protected and not (allowed == "yes" or (allowed == "local" and local_client)):
                raise CommandError(_refusal(name, ConfigError("can't set protected config")))
            if directive.not_while_loading and loading:
                raise CommandError(errors.LOADING)
            spelling = text_of(name).lower()  # an alias may stand beside the name: the last one counts, as in stock
            if spelling in chosen:
                raise CommandError(_refusal(name, ConfigError("duplicate parameter")))
            chosen[spelling] = (directive, raw)
        return list(chosen.values())

    def assign(self, parsed: Sequence[tuple[Directive, Any]]) -> None:
        """Store values and tell the listeners; roll everything back when one vetoes. Raises CommandError then."""
        old = [(directive, self.value(directive)) for directive, _ in parsed]
        changed = []
        for directive, value in parsed:
            if directive.volatile or value != self.value(directive):
                changed.append(directive)
            setattr(self, directive.attribute, value)
        told: list[Directive] = []
        for directive in changed:
            told.append(directive)
            try:
                self._tell(directive)
            except ConfigError as error:
                for was_directive, was_value in old:
                    setattr(self, was_directive.attribute, was_value)
                for reached in told:
                    self._tell(reached)
                raise CommandError(_refusal(bytes_of(directive.name), error)) from error

    def _tell(self, directive: Directive) -> None:
        value = self.value(directive)
        if directive.name == "dir":
            change_directory(value)
        for callback in self._listeners.get(directive.name, ()):
            callback(value)


def change_directory(path: str) -> None:
    """Make `path` the directory of this process, as `dir` demands. Raises ConfigError with the system's words."""
    try:
        os.chdir(path)
    except OSError as error:
        raise ConfigError(os.strerror(error.errno or 0)) from error


def _refusal(name: bytes, error: ConfigError) -> ErrorReply:
    return ErrorReply(
        b"ERR CONFIG SET failed (possibly related to argument '%b') - %b" % (name, bytes_of(error.args[0]))
    )
