"""WATCH: which clients want their next EXEC to fail when a key changes.

The keyspace calls `touched` for every changed key while anybody watches one. A key that was past its expiry already
when it was watched is no reason to fail when it is finally removed: to its watcher nothing changed; the watch then goes
on as for a missing key (stock's rule).
"""

from __future__ import annotations

from collections.abc import Callable

from slotmesh.node.clients.client import Client
from slotmesh.node.keyspace.keyspace import Keyspace


class Watching:
    """All watched keys of a node. `Client.watched` maps (database, key) to "was expired when the watch began"."""

    def __init__(self, keyspace: Keyspace, named: Callable[[int], None]) -> None:
        """`named` is told of how many more names clients give us to remember."""
        self._keyspace = keyspace
        self._named = named
        self._watchers: dict[tuple[int, bytes], dict[Client, None]] = {}
        keyspace.watched_places = self._watchers.keys

    def __len__(self) -> int:
        return len(self._watchers)

    def watch(self, client: Client, key: bytes) -> None:
        """Let a change of `key` in the client's database break its next EXEC."""
        place = (client.db.index, key)
        if place in client.watched:
            return
        client.watched[place] = client.db.is_past(key)
        self._watchers.setdefault(place, {})[client] = None
        self._keyspace.watched += 1
        self._named(1)
        self._keyspace.refresh_observed()

    def databases_flushed(self, keys: dict[int, list[bytes]]) -> None:
        """Databases were emptied; `keys`: those of them, by database, that somebody watched."""
        for db_index, gone in keys.items():
            for key in gone:
                self.touched(db_index, key)

    def unwatch(self, client: Client) -> None:
        """Forget all watches of a client, broken or not."""
        for place in client.watched:
            watchers = self._watchers[place]
            del watchers[client]
            if not watchers:
                del self._watchers[place]
        self._keyspace.watched -= len(client.watched)
        self._keyspace.refresh_observed()
        client.watched = {}
        client.watch_broken = False

    def touched(self, db_index: int, key: bytes) -> None:
        """A key changed: called by the keyspace."""
        place = (db_index, key)
        watchers = self._watchers.get(place)
        if watchers is None:
            return
        for client in watchers:
            if client.watched[place] and not self._is_stored(place):
                client.watched[place] = False
            else:
                client.watch_broken = True

    def databases_swapped(self, first: int, second: int) -> None:
        """Two databases changed places: a watched key is touched if it was there or is there now, stale keys not
        counting.

        A stale key that takes the place of none, or of another stale one, is as good as none.
        """
        for place, watchers in self._watchers.items():
            db_index, key = place
            if db_index not in (first, second):
                continue
            old_place = (second if db_index == first else first, key)
            was_there, is_there = self._is_stored(old_place), self._is_stored(place)
            if not was_there and not is_there:
                continue
            now_stale = is_there and self._keyspace.dbs[db_index].is_past(key)
            for client in watchers:
                if client.watched[place]:
                    client.watched[place] = is_there
                    client.watch_broken = client.watch_broken or (is_there and not now_stale)
                elif not was_there and now_stale:
                    client.watched[place] = True
                else:
                    client.watch_broken = True

    def is_broken(self, client: Client) -> bool:
        """Whether EXEC must fail: a watched key changed, or its time came since it was watched."""
        if client.watch_broken:
            return True
        dbs = self._keyspace.dbs
        return any(
            not was_expired and dbs[db_index].is_past(key) for (db_index, key), was_expired in client.watched.items()
        )

    def _is_stored(self, place: tuple[int, bytes]) -> bool:
        db = self._keyspace.dbs[place[0]]
        return db.is_past(place[1]) or db.peek(place[1]) is not None
