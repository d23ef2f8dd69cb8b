"""What producers of a stream have sent already, so that a message that is sent again is not added again.

A producer names itself and each of its messages (XADD IDMP). Of every producer the newest messages are remembered, up
to a number and for a time; both are settings of the stream. The time at which a message came is that of its entry ID:
so IDs are all that is to be kept, and to be told to files and replicas.
"""

from __future__ import annotations

from typing import Final

from slotmesh.node.types.limits import LIMITS

#: Bounds of the two settings: seconds, messages per producer.
MAX_DURATION_S: Final = 86_400
MAX_MESSAGES: Final = 10_000
#: Producers that are looked at per message, whether all of theirs is out of date.
_SWEEP: Final = 2


class SentMessages:
    """The memory of one stream."""

    __slots__ = ("_duration_s", "_max_messages", "_producers", "added", "duplicates")

    def __init__(self) -> None:
        self._duration_s = LIMITS.stream_idmp_duration
        self._max_messages = LIMITS.stream_idmp_maxsize
        #: Producer -> message -> entry ID, oldest first; the producer that sent last is the last one.
        self._producers: dict[bytes, dict[bytes, int]] = {}
        #: Messages remembered and found again in the stream's whole life.
        self.added = 0
        self.duplicates = 0

    @property
    def duration_s(self) -> int:
        """For how long a message is remembered."""
        return self._duration_s

    @property
    def max_messages(self) -> int:
        """How many messages of each producer are remembered."""
        return self._max_messages

    def configure(self, duration_s: int, max_messages: int) -> None:
        """Change the settings. If they are others than before, all is forgotten (but not how much there was)."""
        if (duration_s, max_messages) != (self._duration_s, self._max_messages):
            self._duration_s, self._max_messages = duration_s, max_messages
            self._producers = {}

    def find(self, producer: bytes, message: bytes, now_ms: int) -> int | None:
        """The entry ID of a message that was sent before, None when it is new or forgotten."""
        messages = self._producers.get(producer)
        if messages is None:
            return None
        self._drop_old(producer, messages, now_ms)
        entry_id = messages.get(message)
        return entry_id if entry_id is not None and entry_id >> 64 > self._oldest_ms(now_ms) else None

    def remember(self, producer: bytes, message: bytes, entry_id: int, now_ms: int) -> None:
        """The message became that entry."""
        messages = self._producers.pop(producer, None)
        if messages is None:
            messages = {}
        messages.pop(message, None)
        messages[message] = entry_id
        if len(messages) > self._max_messages:
            del messages[next(iter(messages))]
        self._producers[producer] = messages
        self.added += 1
        self._sweep(now_ms)

    def _oldest_ms(self, now_ms: int) -> int:
        return now_ms - 1000 * self._duration_s

    def _drop_old(self, producer: bytes, messages: dict[bytes, int], now_ms: int) -> None:
        oldest_ms = self._oldest_ms(now_ms)
        while messages:
            first = next(iter(messages))
            if messages[first] >> 64 > oldest_ms:
                return
            del messages[first]
        del self._producers[producer]

    def _sweep(self, now_ms: int) -> None:
        """Forget producers that sent nothing for too long: a few at a time, from the one that is silent longest."""
        oldest_ms = self._oldest_ms(now_ms)
        for _ in range(_SWEEP):
            producer = next(iter(self._producers), None)
            if producer is None:
                return
            messages = self._producers[producer]
            if messages[next(reversed(messages))] >> 64 > oldest_ms:
                return
            del self._producers[producer]

    def counts(self, now_ms: int) -> tuple[int, int]:
        """(producers, messages) that are remembered now."""
        for producer in list(self._producers):
            self._drop_old(producer, self._producers[producer], now_ms)
        return len(self._producers), sum(map(len, self._producers.values()))

    def listed(self) -> list[tuple[bytes, bytes, int]]:
        """(producer, message, entry ID) of all, oldest first for each producer."""
        return [
            (producer, message, entry_id)
            for producer, messages in self._producers.items()
            for message, entry_id in messages.items()
        ]

    def restore(self, sent: list[tuple[bytes, bytes, int]], added: int, duplicates: int) -> None:
        """Take over what `listed` gave elsewhere."""
        self._producers = {}
        for producer, message, entry_id in sent:
            self._producers.setdefault(producer, {})[message] = entry_id
        self.added, self.duplicates = added, duplicates

    def copy(self) -> SentMessages:
        """An independent memory of the same."""
        twin = SentMessages()
        twin._duration_s, twin._max_messages = self._duration_s, self._max_messages
        twin.restore(self.listed(), self.added, self.duplicates)
        return twin

    def size_bytes(self) -> int:
        """Estimated memory."""
        messages = sum(map(len, self._producers.values()))
        return 250 + 300 * len(self._producers) + 220 * messages
