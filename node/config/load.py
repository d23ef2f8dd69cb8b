"""Loading a configuration: a redis.conf file, standard input, then command-line options, as if they were one file.

The rules are those of the stock server (7.0), so that its files and start scripts work unchanged: options are turned
into lines and appended; `--save` may come without a value; `include` takes file names and glob patterns; repeated
`save` lines add up. Whatever is wrong ends the start with the stock text, which names the line: a node never runs with
half a configuration.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final, TextIO

from slotmesh.node.base.compat import LEVELS
from slotmesh.node.config.configuration import Config
from slotmesh.node.config.directive import Directive
from slotmesh.node.config.directives import BY_NAME, OBSOLETE
from slotmesh.node.config.directives_after_7_0 import NEWER_DEFAULTS, default_at
from slotmesh.node.config.kinds import ConfigError, ConfigFileError, bytes_of, text_of
from slotmesh.node.resp.inline import quote, split_args
from slotmesh.node.spec import registry

STOCK_VERSION: Final = LEVELS["7.0"]
MAX_INCLUDE_DEPTH: Final = 32


#: Takes a `user` line into a configuration; what is wrong with it, empty when it is fine.
UserLines = Callable[[Config, list[bytes]], str]


class _LineError(Exception):
    """What is wrong with one line."""


def load_config(argv: Sequence[str], add_user: UserLines, stdin: TextIO = sys.stdin) -> Config:
    """The configuration that the arguments of a process mean: `[file] [-] [--option value ...] [-]`.

    `add_user` takes the words of a `user` line, and says what is wrong with them, as the file's error should say it.
    Raises ConfigFileError; its text is what the operator should read on stderr.
    """
    config = Config()
    path = argv[0] if argv and not argv[0].startswith("-") else None
    from_stdin, lines = _options_as_lines([bytes_of(option) for option in argv[path is not None :]])
    content = b""
    if path is not None:
        config.path = os.path.abspath(path)
        content = read_files(path)
    if from_stdin:
        content += bytes_of(stdin.read())
    if lines:
        content += b"\n" + lines
    loader = _Loader(config, add_user)
    loader.run(content, 0)
    loader.fill_up()
    _check_whole(config)
    return config


def _options_as_lines(options: Sequence[bytes]) -> tuple[bool, bytes]:
    """(read standard input?, the options as lines of a file)."""
    from_stdin = False
    lines = b""
    name_is_complete = True  # the option before has a value, so that `--word` starts another one
    for i, option in enumerate(options):
        last = i == len(options) - 1
        if option == b"-" and (i == 0 or last):
            from_stdin = True
        elif name_is_complete and option.startswith(b"--"):
            lines += (b"\n" if lines else b"") + option[2:] + b" "
            words = split_args(option) or []
            name_is_complete = len(words) != 1
            if option.lower() == b"--save" and (last or options[i + 1].startswith(b"--")):
                lines += b'""'
                name_is_complete = True
        else:
            lines += quote(option) + b" "
            name_is_complete = True
    return from_stdin, lines


def read_files(path: str) -> bytes:
    """One file, or all files that a pattern matches: none is fine then."""
    paths = sorted(glob.glob(path)) if any(letter in path for letter in "*?[") else [path]
    content = b""
    for name in paths:
        try:
            with open(name, "rb") as file:
                content += file.read()
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise ConfigFileError(f"Fatal error, can't open config file '{name}': {reason}") from error
    return content


def _check_whole(config: Config) -> None:
    """What can only be judged when all lines are known."""
    problem = ""
    if config.logfile:
        try:
            with open(config.logfile, "ab"):
                pass
        except OSError as error:
            problem = f"Can't open the log file: {os.strerror(error.errno or 0)} ({config.logfile})"
    if config.cluster_enabled and config.replicaof is not None:
        problem = "replicaof directive not allowed in cluster mode"
    if problem:
        raise ConfigFileError(f"\n*** FATAL CONFIG FILE ERROR (Redis {STOCK_VERSION}) ***\n{problem}")


class _Loader:
    """Runs lines against one configuration."""

    def __init__(self, config: Config, add_user: UserLines) -> None:
        self._config = config
        self._add_user_line = add_user
        self._seen: set[str] = set()

    def run(self, content: bytes, depth: int) -> None:
        """Apply all lines. Raises ConfigFileError."""
        for number, raw in enumerate(content.split(b"\n"), 1):
            line = raw.strip(b" \t\r\n")
            if not line or line.startswith(b"#"):
                continue
            try:
                self._line(line, depth)
            except (_LineError, ConfigError) as error:
                raise ConfigFileError(
                    f"\n*** FATAL CONFIG FILE ERROR (Redis {STOCK_VERSION}) ***\n"
                    f"Reading the configuration file, at line {number}\n>>> '{text_of(line)}'\n{error.args[0]}"
                ) from error

    def fill_up(self) -> None:
        """Give what no line set the default of the compat-level."""
        for name in NEWER_DEFAULTS:
            if name not in self._seen:
                directive = BY_NAME[name]
                setattr(self._config, directive.attribute, default_at(self._config.compat_level, directive))

    def _line(self, line: bytes, depth: int) -> None:
        words = split_args(line)
        if words is None:
            raise _LineError("Unbalanced quotes in configuration line")
        if not words:
            return
        name = text_of(words[0]).lower()
        directive = BY_NAME.get(name)
        if directive is not None:
            self._set(directive, words[1:])
        elif not (name in OBSOLETE and len(words) == 2):
            self._file_only(name, words, depth)

    def _set(self, directive: Directive, words: list[bytes]) -> None:
        kind, config = directive.kind, self._config
        if not kind.several and len(words) != 1:
            raise _LineError("wrong number of arguments")
        if kind.several and len(words) == 1 and words[0]:
            words = split_args(words[0]) or []
        old = None
        if kind.merges or (kind.grows_in_files and directive.name in self._seen):
            old = config.value(directive)
        self._seen.add(directive.name)
        setattr(config, directive.attribute, kind.parse(words, old))
        if directive.name == "dir":
            os.chdir(config.dir)

    def _file_only(self, name: str, words: list[bytes], depth: int) -> None:
        if name == "include" and len(words) == 2:
            if depth == MAX_INCLUDE_DEPTH:
                raise _LineError(f"include nested more than {MAX_INCLUDE_DEPTH} levels deep")
            self.run(read_files(text_of(words[1])), depth + 1)
        elif name == "rename-command" and len(words) == 3:
            self._rename(words[1], words[2])
        elif name == "user" and len(words) >= 2:
            self._add_user(words)
        elif name == "loadmodule" and len(words) >= 2:
            raise _LineError("Modules are not supported")
        elif "." in name:
            raise _LineError("Module config specified without value" if len(words) < 2 else "Modules are not supported")
        elif name == "sentinel" and len(words) > 1:
            raise _LineError("sentinel directive while not in sentinel mode")
        else:
            raise _LineError("Bad directive or wrong number of arguments")

    def _rename(self, old: bytes, new: bytes) -> None:
        """Rename at once: later lines see the new name, and a name that is taken is the fault of this line."""
        spec = registry.LOOKUP.get(old.lower())
        if spec is None:
            raise _LineError("No such command in rename-command")
        if new.lower() in registry.LOOKUP:
            raise _LineError("Target command name already exists")
        del registry.LOOKUP[old.lower()], registry.LOOKUP[old.upper()]
        if new:
            registry.LOOKUP[new.lower()] = registry.LOOKUP[new.upper()] = spec
        self._config.renames.append((old, new))

    def _add_user(self, words: list[bytes]) -> None:
        problem = self._add_user_line(self._config, words)
        if problem:
            raise _LineError(problem)
