"""Who listens to which channels, and the delivery of messages to the listeners on this node.

Delivery is fire and forget: a message is encoded once per protocol and appended to the output of every listener;
whoever is away misses it, and a listener that reads too slowly is closed by `client-output-buffer-limit pubsub`.
Listeners are kept in dicts, not sets, so that messages go out in the order of subscription. Spreading a message over a
cluster is the business of the cluster host; clients reach this registry through `commands/pubsub.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from slotmesh.node.base.glob import Glob, compile_glob
from slotmesh.node.clients.client import GATE_SUBSCRIBED
from slotmesh.node.keyspace.notify import (
    KEYEVENT,
    KEYSPACE,
    SUBKEYEVENT,
    SUBKEYSPACE,
    SUBKEYSPACEEVENT,
    SUBKEYSPACEITEM,
)
from slotmesh.node.resp.encoder import bulk
from slotmesh.node.resp.values import Many, Push, Raw

if TYPE_CHECKING:
    from slotmesh.node.clients.client import Client

Subscribers = dict[bytes, dict["Client", None]]


class Family:
    """One kind of subscription: plain channels, patterns or shard channels.

    `word` is what the confirmations say behind an optional `un`: `subscribe`, `psubscribe`, `ssubscribe`.
    """

    __slots__ = ("_count", "_held", "_named", "leave_word", "subscribers", "word")

    def __init__(
        self,
        word: bytes,
        leave_word: bytes,
        held: Callable[[Client], dict[bytes, None]],
        count: Callable[[Client], int],
        named: Callable[[int], None],
    ) -> None:
        self.word = word
        self.leave_word = leave_word
        self.subscribers: Subscribers = {}
        self._held = held
        self._count = count
        self._named = named

    def join(self, client: Client, names: Iterable[bytes]) -> Many:
        """Subscribe `client` to all `names`; the confirmations, one per name."""
        confirmations = []
        for name in names:
            held = self._held(client)
            if name not in held:
                held[name] = None
                self.subscribers.setdefault(name, {})[client] = None
            confirmations.append(Push((self.word, name, self._count(client))))
        client.set_gate(GATE_SUBSCRIBED, True)
        self._named(len(confirmations))
        return Many(confirmations)

    def leave(self, client: Client, names: Iterable[bytes]) -> Many:
        """Unsubscribe from `names`, or from everything when there are none; the confirmations."""
        confirmations = []
        for name in names or list(self._held(client)):
            self.remove(client, name)
            confirmations.append(Push((self.leave_word, name, self._count(client))))
        update_gate(client)
        return Many(confirmations or [Push((self.leave_word, None, self._count(client)))])

    def remove(self, client: Client, name: bytes) -> None:
        """End one subscription, if there is one, without a word."""
        if self._held(client).pop(name, self) is self:
            return
        listeners = self.subscribers[name]
        del listeners[client]
        if not listeners:
            del self.subscribers[name]

    def remove_all(self, client: Client) -> None:
        """End all subscriptions of a client that goes away or starts anew."""
        for name in list(self._held(client)):
            self.remove(client, name)


def update_gate(client: Client) -> None:
    """Keep the gate that restricts a RESP2 client in step with its subscriptions."""
    client.set_gate(GATE_SUBSCRIBED, bool(client.channels or client.patterns or client.shard_channels))


def message_forms(*parts: bytes) -> tuple[Raw, Raw]:
    """A message ready for the wire, for RESP2 and for RESP3 listeners."""
    body = b"".join(bulk(part) for part in parts)
    return Raw(b"*%d\r\n%b" % (len(parts), body)), Raw(b">%d\r\n%b" % (len(parts), body))


def _patterns_of(client: Client) -> dict[bytes, None]:
    return client.patterns


class PubSub:
    """All subscriptions of one node."""

    def __init__(self, named: Callable[[int], None]) -> None:
        """`named` is told of how many more names clients give us to remember."""
        plain_count = lambda client: len(client.channels) + len(client.patterns)  # noqa: E731
        self.channels: Final = Family(b"subscribe", b"unsubscribe", lambda client: client.channels, plain_count, named)
        self.patterns: Final = Family(
            b"psubscribe", b"punsubscribe", lambda client: client.patterns, plain_count, named
        )
        self.shard_channels: Final = Family(
            b"ssubscribe",
            b"sunsubscribe",
            lambda client: client.shard_channels,
            lambda client: len(client.shard_channels),
            named,
        )
        self._globs: dict[bytes, Glob] = {}

    def publish(self, channel: bytes, message: bytes) -> int:
        """Deliver to the listeners of this node; their number (one that listens in two ways counts twice)."""
        receivers = self._deliver(self.channels.subscribers.get(channel), b"message", channel, message)
        patterns = self.patterns.subscribers
        for pattern in patterns:
            if compile_glob(pattern).match(channel):
                receivers += self._deliver(patterns[pattern], b"pmessage", pattern, channel, message)
        return receivers

    def publish_to_shard(self, channel: bytes, message: bytes) -> int:
        """Deliver to the listeners of a shard channel on this node; their number."""
        return self._deliver(self.shard_channels.subscribers.get(channel), b"smessage", channel, message)

    @staticmethod
    def _deliver(listeners: dict[Client, None] | None, *parts: bytes) -> int:
        if not listeners:
            return 0
        forms = message_forms(*parts)
        for client in list(listeners):
            if client.to_follow is None:
                client.reply(forms[client.resp3])
            else:
                client.to_follow.append(forms[client.resp3])
        return len(listeners)

    def keyspace_event(self, mask: int, event: bytes, key: bytes, db_index: int) -> None:
        """Tell listeners of `__keyspace@<db>__:<key>` and `__keyevent@<db>__:<event>`; node-local even in a cluster."""
        if not self.channels.subscribers and not self.patterns.subscribers:
            return
        if mask & KEYSPACE:
            self.publish(b"__keyspace@%d__:%b" % (db_index, key), event)
        if mask & KEYEVENT:
            self.publish(b"__keyevent@%d__:%b" % (db_index, event), key)

    def subkey_event(self, mask: int, event: bytes, key: bytes, subkeys: Sequence[bytes], db_index: int) -> None:
        """Tell which fields of a hash an event was about, on the up to four kinds of channels that `mask` says."""
        if not self.channels.subscribers and not self.patterns.subscribers:
            return
        listed = b",".join([b"%d:%b" % (len(subkey), subkey) for subkey in subkeys])
        if mask & SUBKEYSPACE:
            self.publish(b"__subkeyspace@%d__:%b" % (db_index, key), b"%b|%b" % (event, listed))
        if mask & SUBKEYEVENT:
            self.publish(b"__subkeyevent@%d__:%b" % (db_index, event), b"%d:%b|%b" % (len(key), key, listed))
        if mask & SUBKEYSPACEITEM and b"\n" not in key:  # it stands between the key and the field
            for subkey in subkeys:
                self.publish(b"__subkeyspaceitem@%d__:%b\n%b" % (db_index, key, subkey), event)
        if mask & SUBKEYSPACEEVENT:
            self.publish(b"__subkeyspaceevent@%d__:%b|%b" % (db_index, event, key), listed)

    def forget(self, client: Client) -> None:
        """A client is gone, or was RESET."""
        for family in (self.channels, self.patterns, self.shard_channels):
            family.remove_all(client)
        update_gate(client)

    def drop_shard_channels(self, belongs: Callable[[bytes], bool]) -> None:
        """A slot left this node: end the subscriptions to its shard channels and tell their listeners."""
        for channel in [name for name in self.shard_channels.subscribers if belongs(name)]:
            for client in list(self.shard_channels.subscribers[channel]):
                client.reply(self.shard_channels.leave(client, [channel]))
