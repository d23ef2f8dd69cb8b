"""The cache of compiled scripts, by SHA1 and by text.

Stock 7.0 keeps every script until SCRIPT FLUSH. Later servers keep those of SCRIPT LOAD, and of those that only EVAL
has brought the 500 used last: programs that write their arguments into the text would otherwise fill the memory. We do
as the compat level says.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from slotmesh.node.base.compat import COMPAT

#: How many scripts that only EVAL has brought are kept at level 7.2.
KEPT_OF_EVAL: Final = 500
#: What a cached script costs beside its text.
_OVERHEAD: Final = 200


class Script:
    """A compiled script."""

    __slots__ = ("body", "flags", "function", "sha")

    def __init__(self, sha: bytes, body: bytes, flags: int, function: Any) -> None:
        self.sha = sha
        self.body = body
        self.flags = flags
        self.function = function


class ScriptCache:
    """All scripts of a node. `bytes` is what they cost beside Lua; `evicted` counts those that had to go."""

    def __init__(self) -> None:
        self._by_sha: dict[bytes, Script] = {}
        self._by_body: dict[bytes, Script] = {}
        #: Those that may go, the one used last at the end.
        self._passing: OrderedDict[bytes, None] = OrderedDict()
        self.size_bytes = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._by_sha)

    def with_sha(self, sha: bytes) -> Script | None:
        """The script with this SHA1, written in lower or upper case."""
        return self._by_sha.get(sha) or self._by_sha.get(sha.lower())

    def with_body(self, body: bytes) -> Script | None:
        """The script with this text."""
        return self._by_body.get(body)

    def used(self, script: Script) -> None:
        """A script is about to run: others go before it."""
        if script.sha in self._passing:
            self._passing.move_to_end(script.sha)

    def keep(self, script: Script) -> None:
        """SCRIPT LOAD has asked for a script: it stays."""
        self._passing.pop(script.sha, None)

    def add(self, script: Script, *, passing: bool) -> None:
        """A new script. `passing`: EVAL brought it."""
        self._by_sha[script.sha] = self._by_body[script.body] = script
        self.size_bytes += len(script.body) + _OVERHEAD
        if passing and COMPAT.newer:
            self._passing[script.sha] = None
            if len(self._passing) > KEPT_OF_EVAL:
                self._evict()

    def _evict(self) -> None:
        sha, _ = self._passing.popitem(last=False)
        script = self._by_sha.pop(sha)
        del self._by_body[script.body]
        self.size_bytes -= len(script.body) + _OVERHEAD
        self.evicted += 1

    def clear(self) -> None:
        """SCRIPT FLUSH."""
        self._by_sha.clear()
        self._by_body.clear()
        self._passing.clear()
        self.size_bytes = 0
