"""SUBSCRIBE and its relatives, PUBLISH, and PUBSUB to look at who listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slotmesh.node.base.compat import COMPAT
from slotmesh.node.base.errors import CommandError
from slotmesh.node.base.glob import compile_glob
from slotmesh.node.clients.client import GATE_SUBSCRIBED
from slotmesh.node.clients.pause import FAILOVER
from slotmesh.node.commands.help import help_reply
from slotmesh.node.spec.key_specs import key_at, keys_from
from slotmesh.node.spec.registry import (
    FAST,
    IN_SUBSCRIBED,
    LOADING,
    MAY_REPLICATE,
    NOSCRIPT,
    PUBSUB,
    STALE,
    command,
    container,
)

if TYPE_CHECKING:
    from slotmesh.node.pubsub.registry import Family, Subscribers
    from slotmesh.node.server import NodeClient

_SUBSCRIBE = PUBSUB | NOSCRIPT | LOADING | STALE | IN_SUBSCRIBED
_PUBLISH = PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE


def _deny_stand_in(client: NodeClient, argv: list[bytes]) -> None:
    """A caller that cannot receive messages (a script's) must not subscribe."""
    if client.deny_blocking and not client.in_exec:
        raise CommandError(b"ERR %b isn't allowed for a DENY BLOCKING client" % argv[0].upper())


def _leave(client: NodeClient, argv: list[bytes], family: Family) -> Any:
    """End subscriptions. Level 7.2 refuses a client that has none of any kind; a transaction may have left the last."""
    if COMPAT.newer and not client.gates & GATE_SUBSCRIBED and not client.in_exec:
        raise CommandError(b"NOSUB '%b' command executed not in subscribed mode" % argv[0].lower())
    return family.leave(client, argv[1:])


@command(
    "subscribe",
    arity=-2,
    syntax="channel [channel ...]",
    flags=_SUBSCRIBE,
    group="pubsub",
    since="2.0.0",
    complexity="O(N), N the channels named",
    summary="Starts listening to channels.",
)
def cmd_subscribe(client: NodeClient, argv: list[bytes]) -> Any:
    _deny_stand_in(client, argv)
    return client.server.pubsub.channels.join(client, argv[1:])


@command(
    "unsubscribe",
    arity=-1,
    syntax="[channel [channel ...]]",
    flags=_SUBSCRIBE,
    group="pubsub",
    since="2.0.0",
    complexity="O(N), N the channels left",
    summary="Stops listening to channels, to all of them when none is named.",
)
def cmd_unsubscribe(client: NodeClient, argv: list[bytes]) -> Any:
    return _leave(client, argv, client.server.pubsub.channels)


@command(
    "psubscribe",
    arity=-2,
    syntax="pattern [pattern ...]",
    flags=_SUBSCRIBE,
    group="pubsub",
    since="2.0.0",
    complexity="O(N), N the patterns named",
    summary="Starts listening to all channels whose names match patterns.",
)
def cmd_psubscribe(client: NodeClient, argv: list[bytes]) -> Any:
    _deny_stand_in(client, argv)
    return client.server.pubsub.patterns.join(client, argv[1:])


@command(
    "punsubscribe",
    arity=-1,
    syntax="[pattern [pattern ...]]",
    flags=_SUBSCRIBE,
    group="pubsub",
    since="2.0.0",
    complexity="O(N), N the patterns left",
    summary="Stops listening to patterns, to all of them when none is named.",
)
def cmd_punsubscribe(client: NodeClient, argv: list[bytes]) -> Any:
    return _leave(client, argv, client.server.pubsub.patterns)


@command(
    "ssubscribe",
    arity=-2,
    syntax="shardchannel [shardchannel ...]",
    flags=_SUBSCRIBE,
    keys=keys_from(b"not_key"),
    group="pubsub",
    since="7.0.0",
    complexity="O(N), N the channels named",
    summary="Starts listening to shard channels, which live in the hash slot of their name.",
)
def cmd_ssubscribe(client: NodeClient, argv: list[bytes]) -> Any:
    _deny_stand_in(client, argv)
    return client.server.pubsub.shard_channels.join(client, argv[1:])


@command(
    "sunsubscribe",
    arity=-1,
    syntax="[shardchannel [shardchannel ...]]",
    flags=_SUBSCRIBE,
    keys=keys_from(b"not_key"),
    group="pubsub",
    since="7.0.0",
    complexity="O(N), N the channels left",
    summary="Stops listening to shard channels, to all of them when none is named.",
)
def cmd_sunsubscribe(client: NodeClient, argv: list[bytes]) -> Any:
    return _leave(client, argv, client.server.pubsub.shard_channels)


@command(
    "publish",
    arity=3,
    syntax="channel message",
    flags=_PUBLISH,
    group="pubsub",
    since="2.0.0",
    complexity="O(N+M), N the listeners of the channel, M all patterns listened to",
    summary="Sends a message to a channel; the number of listeners on this node that get it.",
)
def cmd_publish(client: NodeClient, argv: list[bytes]) -> Any:
    server = client.server
    receivers = server.pubsub.publish(argv[1], argv[2])
    if server.cluster is not None:
        server.cluster.publish(argv[1], argv[2], sharded=False)
    elif not server.pause.is_paused_for(FAILOVER):  # then the offset stands still; sentinels tell each node themselves
        server.propagation.to_replicas(client.db.index, argv)
    return receivers


@command(
    "spublish",
    arity=3,
    syntax="shardchannel message",
    flags=_PUBLISH,
    keys=key_at(b"not_key"),
    group="pubsub",
    since="7.0.0",
    complexity="O(N), N the listeners of the shard channel",
    summary="Sends a message to a shard channel; the number of listeners on this node that get it.",
)
def cmd_spublish(client: NodeClient, argv: list[bytes]) -> Any:
    server = client.server
    receivers = server.pubsub.publish_to_shard(argv[1], argv[2])
    if server.cluster is not None:
        server.cluster.publish(argv[1], argv[2], sharded=True)
    else:
        server.propagation.to_replicas(client.db.index, argv)
    return receivers


# -- PUBSUB ------------------------------------------------------------------------------------------------------

container("pubsub", group="pubsub", since="2.8.0", summary="Tells who listens to what.", categories=("-pubsub",))

_LOOK = PUBSUB | LOADING | STALE


def _names(subscribers: Subscribers, argv: list[bytes]) -> list[bytes]:
    if len(argv) > 3:
        raise CommandError(b"ERR unknown subcommand or wrong number of arguments for '%b'. Try PUBSUB HELP." % argv[1])
    if len(argv) == 2:
        return list(subscribers)
    matches = compile_glob(argv[2]).match
    return [name for name in subscribers if matches(name)]


def _counts(subscribers: Subscribers, names: list[bytes]) -> list[bytes | int]:
    reply: list[bytes | int] = []
    for name in names:
        reply += (name, len(subscribers.get(name, ())))
    return reply


@command(
    "pubsub|channels",
    arity=-2,
    syntax="[pattern]",
    flags=_LOOK,
    group="pubsub",
    since="2.8.0",
    complexity="O(N), N the channels with listeners",
    summary="Lists the channels with listeners, all or those that match a pattern.",
)
def cmd_pubsub_channels(client: NodeClient, argv: list[bytes]) -> Any:
    return _names(client.server.pubsub.channels.subscribers, argv)


@command(
    "pubsub|shardchannels",
    arity=-2,
    syntax="[pattern]",
    flags=_LOOK,
    group="pubsub",
    since="7.0.0",
    complexity="O(N), N the shard channels with listeners",
    summary="Lists the shard channels with listeners, all or those that match a pattern.",
)
def cmd_pubsub_shardchannels(client: NodeClient, argv: list[bytes]) -> Any:
    return _names(client.server.pubsub.shard_channels.subscribers, argv)


@command(
    "pubsub|numsub",
    arity=-2,
    syntax="[channel [channel ...]]",
    flags=_LOOK,
    group="pubsub",
    since="2.8.0",
    complexity="O(N), N the channels named",
    summary="Counts the listeners of channels.",
)
def cmd_pubsub_numsub(client: NodeClient, argv: list[bytes]) -> Any:
    return _counts(client.server.pubsub.channels.subscribers, argv[2:])


@command(
    "pubsub|shardnumsub",
    arity=-2,
    syntax="[shardchannel [shardchannel ...]]",
    flags=_LOOK,
    group="pubsub",
    since="7.0.0",
    complexity="O(N), N the channels named",
    summary="Counts the listeners of shard channels.",
)
def cmd_pubsub_shardnumsub(client: NodeClient, argv: list[bytes]) -> Any:
    return _counts(client.server.pubsub.shard_channels.subscribers, argv[2:])


@command(
    "pubsub|numpat",
    arity=2,
    flags=_LOOK,
    group="pubsub",
    since="2.8.0",
    complexity="O(1)",
    summary="Counts the different patterns that clients listen to.",
)
def cmd_pubsub_numpat(client: NodeClient, argv: list[bytes]) -> Any:
    return len(client.server.pubsub.patterns.subscribers)


@command(
    "pubsub|help",
    arity=2,
    flags=LOADING | STALE,
    group="pubsub",
    categories=("-pubsub",),
    since="6.2.0",
    complexity="O(1)",
    summary="Explains the subcommands.",
)
def cmd_pubsub_help(client: NodeClient, argv: list[bytes]) -> Any:
    return help_reply(
        b"PUBSUB",
        (
            ("CHANNELS [<pattern>]", "List channels that have listeners, by default all."),
            ("NUMPAT", "Count the different patterns that clients listen to."),
            ("NUMSUB [<channel> ...]", "Count the listeners of the given channels, patterns left aside."),
            ("SHARDCHANNELS [<pattern>]", "List shard channels that have listeners, by default all."),
            ("SHARDNUMSUB [<shardchannel> ...]", "Count the listeners of the given shard channels."),
        ),
    )
