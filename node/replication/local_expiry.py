"""Expiry of the keys that clients wrote to a writable replica.

A replica leaves expiry to its primary, who sends a DEL. Of keys that clients made here (`replica-read-only no`) the
primary knows nothing, so the replica must see to them itself, and to no others (stock: `expireSlaveKeys`).
"""

from __future__ import annotations

from slotmesh.node.base.errors import CommandError
from slotmesh.node.spec import registry
from slotmesh.node.state import NodeState


class LocalExpiry:
    """Which keys with an expiry were written here. It hears of writes as a feed of propagation."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._keys: dict[tuple[int, bytes], None] = {}
        #: Set while commands of the primary run: those are not ours.
        self.suspended = False

    def __len__(self) -> int:
        """How many keys are noted."""
        return len(self._keys)

    def set_active(self, on: bool) -> None:
        """Whether this is a writable replica."""
        feeds = self._state.propagation.feeds
        if on and self._written not in feeds:
            feeds.append(self._written)
        elif not on and self._written in feeds:
            feeds.remove(self._written)
            self._keys.clear()

    def _written(self, db_index: int, argv: list[bytes]) -> None:
        """A command changed something: note those of its keys that have an expiry now."""
        if self.suspended or db_index < 0:
            return
        try:
            spec = registry.find(argv)
        except CommandError:
            return  # MULTI and the like of a propagated batch are no business of ours, nor are unknown words
        db = self._state.keyspace.dbs[db_index]
        for position in spec.key_positions(argv):
            if db.expire_at(argv[position]) is not None:
                self._keys[db_index, argv[position]] = None

    def remove_due(self) -> None:
        """Remove the noted keys whose time has come, and forget those that have no expiry any more."""
        if not self._keys:
            return
        dbs = self._state.keyspace.dbs
        for db_index, key in list(self._keys):
            db = dbs[db_index]
            if db.expire_at(key) is None:
                del self._keys[db_index, key]
            elif db.is_past(key):
                del self._keys[db_index, key]
                db.expire_now(key)
