"""When and how often keys are used: what the LRU and LFU policies and OBJECT IDLETIME / FREQ ask for.

A clock beside each value, as stock has it, would cost every key some bytes and every GET some time, although most nodes
never ask. So nothing is recorded until somebody does: an eviction policy that needs it, or the first OBJECT IDLETIME.
From then on a dict per database holds one number per key. For a key that was not used since recording began the honest
answer is the age of the recording, and that is what IDLETIME counts from.

The policies *-lrm (Redis 8.6) ask when a key was last modified instead: reading one, or trying in vain to change one,
does not count. `Database.changed` tells of that, as it tells watchers and tracking clients.

Frequency is stock's logarithmic counter (Morris): 8 bits that are incremented with falling probability
(`lfu-log-factor`) and decay with time (`lfu-decay-time`), so that 255 stands for about a million uses. New keys start
at 5, lest they be evicted at once.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from slotmesh.node.keyspace.keyspace import Keyspace

LFU_START: Final = 5
_LFU_MAX: Final = 255
_MINUTE_MS: Final = 60_000
#: The longest idle time that stock's clock of 24 bits can tell.
_LONGEST_IDLE_MS: Final = ((1 << 24) - 2) * 1000


class AccessTimes:
    """The last use of every key (LRU)."""

    def __init__(self, keyspace: Keyspace) -> None:
        self._keyspace = keyspace
        self._started_ms = keyspace.now_ms
        self._used_ms: list[dict[bytes, int]] = [{} for _ in keyspace.dbs]

    def touch(self, db_index: int, key: bytes) -> None:
        """The key is used now."""
        self._used_ms[db_index][key] = self._keyspace.now_ms

    def forget(self, db_index: int, key: bytes) -> None:
        """The key is gone."""
        self._used_ms[db_index].pop(key, None)

    def forget_database(self, db_index: int) -> dict[bytes, int]:
        """All keys of a database are gone; what was known of them, for whoever frees it bit by bit."""
        known, self._used_ms[db_index] = self._used_ms[db_index], {}
        return known

    def swap_databases(self, first: int, second: int) -> None:
        """Two databases changed places."""
        used = self._used_ms
        used[first], used[second] = used[second], used[first]

    def idle_ms(self, db_index: int, key: bytes) -> int:
        """Time since the last use; since recording began for a key that was not used since."""
        return max(0, self._keyspace.now_ms - self._used_ms[db_index].get(key, self._started_ms))

    def set_idle_ms(self, db_index: int, key: bytes, idle_ms: int) -> None:
        """The key was last used `idle_ms` ago (RESTORE ... IDLETIME, RDB files), which is 194 days at most."""
        self._used_ms[db_index][key] = self._keyspace.now_ms - min(idle_ms, _LONGEST_IDLE_MS)


class ChangeTimes(AccessTimes):
    """The last change of every key (LRM); what is called use above is change here."""

    def touch(self, db_index: int, key: bytes) -> None:
        """The key is used now, which is no change."""

    def changed(self, db_index: int, key: bytes) -> None:
        """The key is changed now."""
        self._used_ms[db_index][key] = self._keyspace.now_ms


class AccessFrequencies:
    """How often every key is used (LFU). An entry is the counter, and above its 8 bits the minute it was valid at."""

    def __init__(self, keyspace: Keyspace, rng: random.Random, log_factor: int, decay_minutes: int) -> None:
        self._keyspace = keyspace
        self._rng = rng
        self.log_factor = log_factor
        self.decay_minutes = decay_minutes
        self._entries: list[dict[bytes, int]] = [{} for _ in keyspace.dbs]

    def touch(self, db_index: int, key: bytes) -> None:
        """The key is used now."""
        entries = self._entries[db_index]
        minute = self._keyspace.now_ms // _MINUTE_MS
        entry = entries.get(key)
        if entry is None:
            entries[key] = minute << 8 | LFU_START
            return
        count = self._decayed(entry, minute)
        if count < _LFU_MAX and self._rng.random() * (max(0, count - LFU_START) * self.log_factor + 1) < 1:
            count += 1
        entries[key] = minute << 8 | count

    def forget(self, db_index: int, key: bytes) -> None:
        """The key is gone."""
        self._entries[db_index].pop(key, None)

    def forget_database(self, db_index: int) -> dict[bytes, int]:
        """All keys of a database are gone; what was known of them, for whoever frees it bit by bit."""
        known, self._entries[db_index] = self._entries[db_index], {}
        return known

    def swap_databases(self, first: int, second: int) -> None:
        """Two databases changed places."""
        entries = self._entries
        entries[first], entries[second] = entries[second], entries[first]

    def frequency(self, db_index: int, key: bytes) -> int:
        """The counter as of now, 0 to 255; that of a new key for one that was not used since recording began."""
        entry = self._entries[db_index].get(key)
        return LFU_START if entry is None else self._decayed(entry, self._keyspace.now_ms // _MINUTE_MS)

    def set_frequency(self, db_index: int, key: bytes, frequency: int) -> None:
        """The key comes with a counter (RESTORE ... FREQ, RDB files)."""
        self._entries[db_index][key] = self._keyspace.now_ms // _MINUTE_MS << 8 | frequency

    def _decayed(self, entry: int, minute: int) -> int:
        count = entry & 0xFF
        if not self.decay_minutes:
            return count
        return max(0, count - (minute - (entry >> 8)) // self.decay_minutes)


def record_times(keyspace: Keyspace) -> AccessTimes:
    """The recorder of last uses, or that of last changes where one runs; it starts now unless it runs already."""
    access = keyspace.access
    if not isinstance(access, AccessTimes):
        access = AccessTimes(keyspace)
        keyspace.record_access(access)
    return access


def record_changes(keyspace: Keyspace) -> ChangeTimes:
    """The recorder of last changes; it starts now unless it runs already."""
    access = keyspace.access
    if not isinstance(access, ChangeTimes):
        access = ChangeTimes(keyspace)
        keyspace.record_access(access, changes=access)
    return access


def record_frequencies(
    keyspace: Keyspace, rng: random.Random, log_factor: int, decay_minutes: int
) -> AccessFrequencies:
    """The recorder of frequencies with these parameters; it starts now unless it runs already."""
    access = keyspace.access
    if not isinstance(access, AccessFrequencies):
        access = AccessFrequencies(keyspace, rng, log_factor, decay_minutes)
        keyspace.record_access(access)
    access.log_factor = log_factor
    access.decay_minutes = decay_minutes
    return access
