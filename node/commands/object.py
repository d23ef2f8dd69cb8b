"""OBJECT: what the server knows about a value besides its content."""

from __future__ import annotations

from typing import Any, Final

from slotmesh.cluster.numbers import to_uint
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.commands.help import help_reply
from slotmesh.node.keyspace.access import record_frequencies, record_times
from slotmesh.node.server import NodeClient
from slotmesh.node.spec.key_specs import key_at
from slotmesh.node.spec.registry import LOADING, READONLY, STALE, command, container
from slotmesh.node.types.string import string_encoding

_KEY: Final = key_at(b"RO", index=2)
_TIPS: Final = (b"nondeterministic_output",)
#: Stock shares the objects of the integers 0 to 9999 between all keys, and shows that as this count.
_SHARED: Final = 2**31 - 1
_SHARED_INTEGERS: Final = 10_000
_POLICY_NOTE: Final = (
    "Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust."
)
_IS_LFU: Final = ErrorReply(f"ERR An LFU maxmemory policy is selected, idle time not tracked. {_POLICY_NOTE}")
_NOT_LFU: Final = ErrorReply(
    f"ERR An LFU maxmemory policy is not selected, access frequency not tracked. {_POLICY_NOTE}"
)

container(
    "object",
    group="generic",
    since="2.2.3",
    summary="Groups the commands that tell about the inside of values.",
    categories=("-keyspace",),
)


@command(
    "object|encoding",
    arity=3,
    syntax="key",
    flags=READONLY,
    keys=_KEY,
    group="generic",
    since="2.2.3",
    complexity="O(1)",
    summary="Names the encoding that the stock server would keep the value in.",
    tips=_TIPS,
)
def cmd_object_encoding(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.look(argv[2], quiet=True)
    if value is None:
        return None
    if type(value) is bytes or type(value) is bytearray:
        return string_encoding(value)
    return value.encoding()


@command(
    "object|refcount",
    arity=3,
    syntax="key",
    flags=READONLY,
    keys=_KEY,
    group="generic",
    since="2.2.3",
    complexity="O(1)",
    summary="Returns the number of references to a value: 1, but for small integers, which stock shares.",
    tips=_TIPS,
)
def cmd_object_refcount(client: NodeClient, argv: list[bytes]) -> Any:
    value = client.db.look(argv[2], quiet=True)
    if value is None:
        return None
    if (
        type(value) is bytes
        and to_uint(value, _SHARED_INTEGERS - 1) is not None
        and string_encoding(value) == b"int"
        and not _ages_are_kept(client)
    ):
        return _SHARED
    return 1


@command(
    "object|idletime",
    arity=3,
    syntax="key",
    flags=READONLY,
    keys=_KEY,
    group="generic",
    since="2.2.3",
    complexity="O(1)",
    summary="Returns the seconds since a key was last used, as far back as that has been recorded.",
    tips=_TIPS,
)
def cmd_object_idletime(client: NodeClient, argv: list[bytes]) -> Any:
    db, key = client.db, argv[2]
    if db.look(key, quiet=True) is None:
        return None
    if _counts_frequency(client):
        raise CommandError(_IS_LFU)
    return record_times(client.server.keyspace).idle_ms(db.index, key) // 1000


@command(
    "object|freq",
    arity=3,
    syntax="key",
    flags=READONLY,
    keys=_KEY,
    group="generic",
    since="4.0.0",
    complexity="O(1)",
    summary="Returns the logarithmic counter of a key's uses, under an LFU policy.",
    tips=_TIPS,
)
def cmd_object_freq(client: NodeClient, argv: list[bytes]) -> Any:
    db, key = client.db, argv[2]
    if db.look(key, quiet=True) is None:
        return None
    if not _counts_frequency(client):
        raise CommandError(_NOT_LFU)
    config = client.server.config
    recorder = record_frequencies(
        client.server.keyspace, client.server.rng, config.lfu_log_factor, config.lfu_decay_time
    )
    return recorder.frequency(db.index, key)


def _ages_are_kept(client: NodeClient) -> bool:
    """Whether every key has an age of its own, which stock keeps with the value: none is shared then."""
    config = client.server.config
    return bool(config.maxmemory) and config.maxmemory_policy.endswith(("lru", "lrm", "lfu"))


def _counts_frequency(client: NodeClient) -> bool:
    return client.server.config.maxmemory_policy.endswith("lfu")


@command(
    "object|help",
    arity=2,
    flags=LOADING | STALE,
    group="generic",
    since="6.2.0",
    complexity="O(1)",
    summary="Explains the subcommands.",
)
def cmd_object_help(client: NodeClient, argv: list[bytes]) -> Any:
    return help_reply(
        b"OBJECT",
        (
            ("ENCODING <key>", "The encoding of the value of <key>."),
            ("FREQ <key>", "The access counter of <key>, under an LFU policy."),
            ("IDLETIME <key>", "Seconds since <key> was last used."),
            ("REFCOUNT <key>", "References to the value of <key>."),
        ),
    )
