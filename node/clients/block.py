"""What a handler returns when its client must wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slotmesh.node.resp.values import NULL_ARRAY


class Block:
    """What a handler returns instead of a reply when its client must wait.

    `timeout_ms` is relative, 0 waits for ever. `on_timeout` is the reply once it is over, a value or a function without
    arguments. `needs_keys`: the wait ends with an error when a key goes (INFO counts such keys). `retry_ms`: run the
    handler again in so many ms even if no key is written; 0: do not. The spec and argv to run again are those of the
    command under way.
    """

    __slots__ = ("argv", "deadline_ms", "keys", "needs_keys", "on_timeout", "retry_ms", "spec", "timeout_ms")

    def __init__(
        self,
        keys: Sequence[bytes],
        timeout_ms: int,
        on_timeout: Any = NULL_ARRAY,
        *,
        needs_keys: bool = False,
        retry_ms: int = 0,
    ) -> None:
        self.keys = list(dict.fromkeys(keys))
        self.timeout_ms = timeout_ms
        self.on_timeout = on_timeout
        self.needs_keys = needs_keys
        self.retry_ms = retry_ms
        self.deadline_ms = 0
        self.spec: Any = None
        self.argv: list[bytes] = []

    def timeout_reply(self) -> Any:
        """The reply when nothing came."""
        return self.on_timeout() if callable(self.on_timeout) else self.on_timeout
