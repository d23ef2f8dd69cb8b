"""One client connection of a sentinel."""

from __future__ import annotations

from attrs import Factory, define

from slotmesh.node.acl.rules import User
from slotmesh.sentinel.wire import Wire


@define(eq=False)
class Session:
    """What belongs to a connection. `user` is None until it has logged in, where it has to."""

    session_id: int
    wire: Wire
    address: str
    started_ms: int
    user: User | None = None
    name: bytes = b""
    resp3: bool = False
    channels: dict[bytes, None] = Factory(dict)  # in order of subscription
    patterns: dict[bytes, None] = Factory(dict)
    last_ms: int = 0
    last_command: bytes = b"NULL"
    closing: bool = False

    @property
    def subscriptions(self) -> int:
        return len(self.channels) + len(self.patterns)

    def describe(self, now_ms: int) -> bytes:
        """The line of CLIENT LIST."""
        user = self.user.name if self.user is not None else b"(superuser)"
        flags = "P" if self.subscriptions else "N"
        text = (
            f"id={self.session_id} addr={self.address} name={self.name.decode('utf-8', 'surrogateescape')} "
            f"age={(now_ms - self.started_ms) // 1000} idle={(now_ms - (self.last_ms or now_ms)) // 1000} "
            f"flags={flags} db=0 sub={len(self.channels)} psub={len(self.patterns)} ssub=0 multi=-1 "
            f"omem={self.wire.unsent} cmd={self.last_command.decode('utf-8', 'surrogateescape')} "
            f"user={user.decode('utf-8', 'surrogateescape')} redir=-1 resp={3 if self.resp3 else 2}"
        )
        return text.encode("utf-8", "surrogateescape")
