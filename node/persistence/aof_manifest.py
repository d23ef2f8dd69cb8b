"""The manifest of a multi-part append-only file: which files make it up, and in which order (7.0 layout).

    file appendonly.aof.2.base.rdb seq 2 type b     the snapshot that the log starts from: one, first
    file appendonly.aof.3.incr.aof seq 3 type h     history: superseded, to be deleted
    file appendonly.aof.4.incr.aof seq 4 type i     the commands since, ascending; the last file is written to

A manifest is a value: changes make another one, which is written beside the old and renamed over it. So at any moment
the disk holds one manifest, and the files it names exist.
"""

from __future__ import annotations

import os
import re
from typing import Final

import attrs

from slotmesh.cluster.numbers import to_uint
from slotmesh.node.persistence.errors import LoadError
from slotmesh.node.persistence.snapshot import sync_directory, write_file

BASE: Final = "b"
HISTORY: Final = "h"
INCREMENT: Final = "i"

_MAX_LINE: Final = 1024
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\\')*)\'|([^\s"\']\S*)')
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "a": "\a"}
_LETTERS: Final = {text: letter for letter, text in _ESCAPES.items()}
_NEEDS_QUOTES: Final = re.compile(r"[^!-~]|[\"'\\]")


@attrs.frozen
class AofFile:
    """One file of the log: its name inside the directory, its number among those of its kind, and its kind."""

    name: str
    seq: int
    kind: str

    def line(self) -> str:
        """The manifest line."""
        return f"file {_quote(self.name)} seq {self.seq} type {self.kind}\n"


@attrs.frozen
class Manifest:
    """The files of a log. `base_seq` and `increment_seq` are the highest numbers used."""

    base: AofFile | None = None
    history: tuple[AofFile, ...] = ()
    increments: tuple[AofFile, ...] = ()
    base_seq: int = 0
    increment_seq: int = 0

    @property
    def files(self) -> tuple[AofFile, ...]:
        """What has to be loaded, in order."""
        return (() if self.base is None else (self.base,)) + self.increments

    def with_increment(self, stem: str) -> Manifest:
        """With a new last file for commands. `stem` is `appendfilename`."""
        seq = self.increment_seq + 1
        added = AofFile(f"{stem}.{seq}.incr.aof", seq, INCREMENT)
        return attrs.evolve(self, increments=(*self.increments, added), increment_seq=seq)

    def with_base(self, stem: str, extension: str, superseded: int) -> Manifest:
        """With a new base, which makes the old one and the first `superseded` increments history, the newest first."""
        seq = self.base_seq + 1
        old = self.increments[:superseded] if self.base is None else (self.base, *self.increments[:superseded])
        return attrs.evolve(
            self,
            base=AofFile(f"{stem}.{seq}.base.{extension}", seq, BASE),
            base_seq=seq,
            history=(*(attrs.evolve(file, kind=HISTORY) for file in reversed(old)), *self.history),
            increments=self.increments[superseded:],
        )

    def without_history(self) -> Manifest:
        """With all history forgotten."""
        return attrs.evolve(self, history=())

    def text(self) -> str:
        """The content of the manifest file."""
        base = () if self.base is None else (self.base,)
        return "".join(file.line() for file in (*base, *self.history, *self.increments))


def parse_manifest(text: str) -> Manifest:
    """The manifest that `text` describes. Raises LoadError naming the line."""
    base: AofFile | None = None
    history: list[AofFile] = []
    increments: list[AofFile] = []
    lines = [line + "\n" for line in text.split("\n")]  # the names may hold what else Python takes for line ends
    lines[-1] = lines[-1][:-1]
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise LoadError("Found an empty AOF manifest")
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            continue
        file = _parse_line(line, number)
        if file.kind == BASE:
            if base is not None:
                raise _bad_line(number, line, "Found duplicate base file information")
            base = file
        elif file.kind == HISTORY:
            history.append(file)
        elif file.kind == INCREMENT:
            if increments and file.seq <= increments[-1].seq:
                raise _bad_line(number, line, "Found a non-monotonic sequence number")
            increments.append(file)
        else:
            raise _bad_line(number, line, "Unknown AOF file type")
    return Manifest(
        base,
        tuple(history),
        tuple(increments),
        base_seq=0 if base is None else base.seq,
        increment_seq=increments[-1].seq if increments else 0,
    )


def _parse_line(line: str, number: int) -> AofFile:
    if len(line) > _MAX_LINE or not line.endswith("\n"):
        raise _bad_line(number, line, "The AOF manifest file contains too long line")
    words = _split_words(line)
    # further pairs are allowed: a later version may have added some
    if words is None or len(words) < 6 or len(words) % 2:
        raise _bad_line(number, line, "Invalid AOF manifest file format")
    pairs = {words[i].lower(): words[i + 1] for i in range(0, len(words), 2)}
    name, seq, kind = pairs.get("file", ""), pairs.get("seq", ""), pairs.get("type", "")
    if "/" in name:
        raise _bad_line(number, line, "File can't be a path, just a filename")
    sequence = to_uint(seq)
    if not name or not kind or not sequence or "\0" in name:
        raise _bad_line(number, line, "Invalid AOF manifest file format")
    return AofFile(name, sequence, kind[0])


def _bad_line(number: int, line: str, what: str) -> LoadError:
    return LoadError(f"bad AOF manifest, line {number} ({line.strip()!r}): {what}")


def _split_words(line: str) -> list[str] | None:
    """Words of a line, quoted as in redis.conf; None when the quoting is wrong."""
    words: list[str] = []
    position = 0
    line = line.strip()
    while position < len(line):
        match = _QUOTED.match(line, position)
        if match is None:
            return None
        double, single, plain = match.groups()
        if double is not None:
            words.append(_ESCAPE.sub(_unescape, double))
        else:
            words.append(plain if single is None else single.replace("\\'", "'"))
        position = match.end()
        if position < len(line) and not line[position].isspace():
            return None
        while position < len(line) and line[position].isspace():
            position += 1
    return words


def _unescape(match: re.Match[str]) -> str:
    letter = match[1]
    return chr(int(letter[1:], 16)) if len(letter) == 3 else _ESCAPES.get(letter, letter)


def _quote(name: str) -> str:
    """`name`, in double quotes with escapes if it needs them."""
    if name and not _NEEDS_QUOTES.search(name):
        return name
    pieces = []
    for byte in os.fsencode(name):
        letter = chr(byte)
        if letter in '"\\':
            pieces.append("\\" + letter)
        elif letter in _LETTERS:
            pieces.append("\\" + _LETTERS[letter])
        else:
            pieces.append(letter if " " <= letter <= "~" else f"\\x{byte:02x}")
    return f'"{"".join(pieces)}"'


def read_manifest(path: str) -> Manifest:
    """The manifest of a file. Raises LoadError or OSError."""
    with open(path, encoding="latin-1", newline="") as file:
        manifest = parse_manifest(file.read())
    return attrs.evolve(
        manifest,
        base=manifest.base and _native_name(manifest.base),
        history=tuple(map(_native_name, manifest.history)),
        increments=tuple(map(_native_name, manifest.increments)),
    )


def _native_name(file: AofFile) -> AofFile:
    """The file with its name as the operating system's functions want it: manifests hold plain bytes."""
    return attrs.evolve(file, name=os.fsdecode(file.name.encode("latin-1")))


def write_manifest(directory: str, stem: str, manifest: Manifest) -> None:
    """Replace the manifest on disk, durably. Raises OSError."""
    temp_path = os.path.join(directory, f"temp-{stem}.manifest")
    data = os.fsencode(manifest.text())
    write_file(temp_path, False, lambda write: write(data))
    os.rename(temp_path, os.path.join(directory, f"{stem}.manifest"))
    sync_directory(directory)
