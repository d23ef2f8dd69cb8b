"""Kinds of configuration values that consist of several words: save points, buffer limits, addresses, percentiles.

The rules of the base class are in `config/kinds.py`; ranges and error texts are those of the stock server (7.0).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

from slotmesh.node.config.kinds import ConfigError, Kind, bytes_of, format_memory, parse_memory, text_of
from slotmesh.node.spec.arguments import to_float, to_int64

MAX_BIND_ADDRESSES: Final = 16


class SavePoints(Kind):
    """`save`: pairs of (seconds, changes)."""

    several = True
    grows_in_files = True

    def parse(self, words: Sequence[bytes], old: Any = None) -> tuple[tuple[int, int], ...]:
        if list(words) == [b""]:
            return ()
        numbers = [to_int64(word) for word in words]
        pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
        points: tuple[tuple[int, int], ...] = ()
        for seconds, changes in pairs:
            if seconds is None or changes is None or seconds < 1 or changes < 0:
                raise ConfigError("Invalid save parameters")
            points += ((seconds, changes),)
        if len(words) % 2:
            raise ConfigError("Invalid save parameters")
        return (old or ()) + points

    def format(self, value: tuple[tuple[int, int], ...]) -> bytes:
        return b" ".join(b"%d %d" % point for point in value)

    def lines(self, value: Any, default: Any) -> list[tuple[bytes, bool]]:
        return [(b"%d %d" % point, True) for point in value] or [(b'""', True)]


class AddressViews(Kind):
    """`cluster-announce-view`: pairs of (network, host), the host that clients from that network are told (slotmesh).

    May be given several times; the first network that holds a client's address counts.
    """

    several = True
    grows_in_files = True

    def parse(self, words: Sequence[bytes], old: Any = None) -> tuple[tuple[IPv4Network | IPv6Network, str], ...]:
        if list(words) == [b""]:
            return ()
        if len(words) % 2:
            raise ConfigError("expected pairs of a network and a host")
        views: tuple[tuple[IPv4Network | IPv6Network, str], ...] = old or ()
        for network, host in zip(words[::2], words[1::2], strict=True):
            try:
                views += ((ip_network(text_of(network)), text_of(host)),)
            except ValueError as error:
                raise ConfigError(str(error)) from None
        return views

    def format(self, value: tuple[tuple[IPv4Network | IPv6Network, str], ...]) -> bytes:
        return b" ".join(bytes_of(f"{network} {host}") for network, host in value)

    def lines(self, value: Any, default: Any) -> list[tuple[bytes, bool]]:
        return [(bytes_of(f"{network} {host}"), True) for network, host in value]


class BufferLimits(Kind):
    """`client-output-buffer-limit`: (hard bytes, soft bytes, soft seconds) for normal, replica and pubsub clients.

    The order is that of `node.client.KIND_NORMAL`, `KIND_REPLICA`, `KIND_PUBSUB`.
    """

    several = True
    merges = True
    _CLASSES: Final = {b"normal": 0, b"slave": 1, b"replica": 1, b"pubsub": 2}

    def parse(self, words: Sequence[bytes], old: Any = None) -> tuple[tuple[int, int, int], ...]:
        if len(words) % 4:
            raise ConfigError("Wrong number of arguments in buffer limit configuration.")
        limits = list(old)
        for name, hard_text, soft_text, seconds_text in zip(*(iter(words),) * 4, strict=True):
            index = self._CLASSES.get(name.lower())
            if index is None:
                raise ConfigError("Invalid client class specified in buffer limit configuration.")
            hard, soft, seconds = parse_memory(hard_text), parse_memory(soft_text), to_int64(seconds_text)
            if hard is None or soft is None or seconds is None or seconds < 0:
                raise ConfigError("Error in hard, soft or soft_seconds setting in buffer limit configuration.")
            limits[index] = (hard, soft, seconds)
        return tuple(limits)

    def format(self, value: Any) -> bytes:
        names = (b"normal", b"slave", b"pubsub")
        return b" ".join(b"%b %d %d %d" % (name, *limit) for name, limit in zip(names, value, strict=True))

    def lines(self, value: Any, default: Any) -> list[tuple[bytes, bool]]:
        names = (b"normal", b"replica", b"pubsub")
        return [
            (b"%b %b %b %d" % (name, format_memory(mine[0]), format_memory(mine[1]), mine[2]), mine != usual)
            for name, mine, usual in zip(names, value, default, strict=True)
        ]


class Addresses(Kind):
    """`bind`: a tuple of addresses; one that starts with '-' may be missing on this host; `*` means all."""

    several = True

    def parse(self, words: Sequence[bytes], old: Any = None) -> tuple[str, ...]:
        if len(words) > MAX_BIND_ADDRESSES:
            raise ConfigError("Too many bind addresses specified.")
        return () if list(words) == [b""] else tuple(text_of(word) for word in words)

    def format(self, value: tuple[str, ...]) -> bytes:
        return b" ".join(bytes_of(address) for address in value)

    def lines(self, value: tuple[str, ...], default: tuple[str, ...]) -> list[tuple[bytes, bool]]:
        return [] if value == default else [(self.format(value) or b'""', True)]


class OomScores(Kind):
    """`oom-score-adj-values`: what to add for a primary, a replica and a child process."""

    several = True

    def parse(self, words: Sequence[bytes], old: Any = None) -> tuple[int, ...]:
        if len(words) != 3:
            raise ConfigError("wrong number of arguments")
        values = []
        for word in words:
            value = to_int64(word)
            if value is None or not -2000 <= value <= 2000:
                raise ConfigError("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")
            values.append(value)
        return tuple(values)

    def format(self, value: tuple[int, ...]) -> bytes:
        return b" ".join(b"%d" % number for number in value)


class PrimaryAddress(Kind):
    """`replicaof`: (host, port), or None for a primary. `no one` means None."""

    several = True

    def parse(self, words: Sequence[bytes], old: Any = None) -> tuple[str, int] | None:
        if len(words) != 2:
            raise ConfigError("wrong number of arguments")
        if words[0].lower() == b"no" and words[1].lower() == b"one":
            return None
        port = to_int64(words[1])
        if port is None or not 0 <= port <= 65535:
            raise ConfigError("Invalid master port")
        return text_of(words[0]), port

    def format(self, value: tuple[str, int] | None) -> bytes:
        return b"" if value is None else b"%b %d" % (bytes_of(value[0]), value[1])

    def lines(self, value: tuple[str, int] | None, default: Any) -> list[tuple[bytes, bool]]:
        return [] if value is None else [(self.format(value), True)]


class Percentiles(Kind):
    """`latency-tracking-info-percentiles`: floats from 0 to 100."""

    several = True

    def parse(self, words: Sequence[bytes], old: Any = None) -> tuple[float, ...]:
        if list(words) == [b""]:
            return ()
        values = []
        for word in words:
            value = to_float(word)
            if value is None:
                raise ConfigError("Invalid latency-tracking-info-percentiles parameters")
            if not 0 <= value <= 100:
                raise ConfigError("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")
            values.append(value)
        return tuple(values)

    def format(self, value: tuple[float, ...]) -> bytes:
        return b" ".join(format_percentile(number).encode() for number in value)

    def lines(self, value: tuple[float, ...], default: tuple[float, ...]) -> list[tuple[bytes, bool]]:
        return [(self.format(value) or b'""', True)]


def format_percentile(value: float) -> str:
    """`99.9`, `50`: six decimals at most, without trailing zeros."""
    return f"{value:f}".rstrip("0").rstrip(".")
