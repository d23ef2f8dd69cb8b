"""Writers, and what they were promised.

Each writer appends unique values to a list of its own, one after the other, and notes each acknowledgement and its
time. It behaves as a good client library does: it follows MOVED, asks the sentinels where the primary of a plain
deployment is, tries another server when one fails, and never repeats a write whose fate it does not know.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from tests.chaos.network import Address, Place
from tests.chaos.wire import Link, Refused

PACE_S = 0.02
RETRY_S = 0.01
NOTABLE_GAP_S = 0.4

Finder = Callable[[int], Address]
"""Where to write next, by the number of failures so far. May raise OSError or `Refused`."""


class Writer(threading.Thread):
    """One stream of unique writes under the hash tag `tag`."""

    def __init__(self, tag: str, find: Finder, place: Place | None = None) -> None:
        """With a `place` it writes from there, and its gaps mean nothing."""
        super().__init__(name=f"writer-{tag}", daemon=True)
        self.tag = tag
        self.far = place is not None
        self.chapter = 0
        self.acknowledged: dict[int, dict[bytes, float]] = defaultdict(dict)
        self.gaps: list[tuple[float, float]] = []
        self.last_s = time.monotonic()
        self.why = ""
        """What the last failure was."""
        self._find, self._place = find, place
        self._link: Link | None = None
        self._failures = 0
        self._number = 0
        self._end = threading.Event()

    def key(self, chapter: int) -> str:
        return f"{{{self.tag}}}:{'far:' if self.far else ''}{chapter}"

    def finish(self) -> None:
        self._end.set()
        self.join(30)

    def run(self) -> None:
        if self._place is not None:
            self._place.enter()
        self.last_s = time.monotonic()
        while not self._end.is_set():
            self._number += 1
            chapter, value = self.chapter, b"%d" % self._number
            if self._write(chapter, value):
                now = time.monotonic()
                self.acknowledged[chapter][value] = now
                if now - self.last_s > NOTABLE_GAP_S:
                    self.gaps.append((self.last_s, now))
                self.last_s = now
                self._end.wait(PACE_S)
            else:
                self._failures += 1
                self._end.wait(RETRY_S)
        self._drop()

    def _write(self, chapter: int, value: bytes) -> bool:
        """Whether the write was acknowledged. One that failed is not tried again: its value is used up."""
        try:
            if self._link is None:
                self._link = Link(self._find(self._failures))
            self._link.call("RPUSH", self.key(chapter), value)
            return True
        except Refused as refusal:
            self.why = str(refusal)
            self._drop()
            if self.why.startswith("MOVED"):
                host, _, port = self.why.split()[2].rpartition(":")
                try:
                    self._link = Link((host, int(port)))
                except OSError as error:
                    self.why = f"{host}:{port}: {error}"
        except OSError as error:
            self.why = f"{self._link.address if self._link else 'connecting'}: {error}"
            self._drop()
        return False

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None


def in_turn(addresses: Sequence[Address]) -> Finder:
    """Any of these: cluster nodes tell where to go."""
    return lambda failures: addresses[failures % len(addresses)]


def by_sentinels(sentinels: Sequence[Address]) -> Finder:
    """What a sentinel names as the primary, if that says it is one."""

    def find(failures: int) -> Address:
        with Link(sentinels[failures % len(sentinels)]) as link:
            reply = link.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mesh")
        if reply is None:
            raise ConnectionError("the sentinel knows no primary")
        address = (reply[0].decode(), int(reply[1]))
        with Link(address) as link:
            if link.call("ROLE")[0] != b"master":
                raise ConnectionError(f"{address} is no primary")
        return address

    return find


class Ledger:
    """All writers of a sequence, and the search for what they were promised."""

    def __init__(self, writers: Sequence[Writer]) -> None:
        self.writers = writers
        self._checked: set[str] = set()

    def turn_to(self, chapter: int) -> None:
        """From now on writes go to lists of this chapter."""
        for writer in self.writers:
            writer.chapter = chapter

    def missing(self, read: Callable[[str], set[bytes]], *, all_chapters: bool) -> list[tuple[str, bytes, float]]:
        """(key, value, time) of acknowledged writes that are not there, each told once.

        Looks at chapters that ended since the last time, or at all of them.
        """
        lost: list[tuple[str, bytes, float]] = []
        for writer in self.writers:
            for chapter in sorted(writer.acknowledged):
                key = writer.key(chapter)
                if chapter == writer.chapter or (key in self._checked and not all_chapters):
                    continue
                promised = writer.acknowledged[chapter]
                there = read(key)
                for value in [value for value in promised if value not in there]:
                    lost.append((key, value, promised.pop(value)))
                self._checked.add(key)
        return lost

    @property
    def count(self) -> int:
        return sum(len(values) for writer in self.writers for values in list(writer.acknowledged.values()))
