"""The commands of a sentinel that touch its state: SENTINEL with all its subcommands, PUBLISH, ROLE.

`execute` takes a command and returns its reply; it never sends anything itself. What it changes comes out of the core
as effects, in front of the reply: a vote is on disk before it is told. Commands about the connection (HELLO, AUTH,
CLIENT, SUBSCRIBE...) are the server's.

Texts and shapes are stock's. Valkey's names with PRIMARY instead of MASTER are accepted as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from slotmesh.cluster.quorum import majority
from slotmesh.node.base.glob import match
from slotmesh.node.resp.values import NULL_ARRAY, OK, PONG, Status
from slotmesh.sentinel import settings_commands
from slotmesh.sentinel.command_support import CommandFailure, number, unit_of, word
from slotmesh.sentinel.effects import WARNING, ErrorReply, Reply
from slotmesh.sentinel.hello import HELLO_CHANNEL
from slotmesh.sentinel.help import SENTINEL_HELP
from slotmesh.sentinel.instance import Instance, Unit
from slotmesh.sentinel.present import instance_map, text, timing_map
from slotmesh.sentinel.selection import select_replica

if TYPE_CHECKING:
    from slotmesh.sentinel.core import SentinelCore

Handler = Callable[["SentinelCore", list[bytes]], Reply]


def execute(core: SentinelCore, argv: Sequence[bytes]) -> Reply:
    """Run one command."""
    name = word(argv[0]).lower()
    args = list(argv[1:])
    try:
        if name == "sentinel":
            return _sentinel(core, args)
        if name == "publish":
            return _arity("publish", args, 2) or _publish(core, args)
        if name == "role":
            return _arity("role", args, 0) or [b"sentinel", [text(unit) for unit in core.ctx.units]]
        if name == "ping":
            return args[0] if len(args) == 1 else _arity("ping", args, 0) or PONG
        if name in ("auth", "client"):
            return OK  # over a simulated connection there is nobody to authenticate and nothing to name
    except CommandFailure as failure:
        return ErrorReply(str(failure))
    return unknown_command(argv)


def unknown_command(argv: Sequence[bytes]) -> ErrorReply:
    """The stock complaint about a command that does not exist."""
    shown = ""
    for argument in argv[1:]:
        if len(shown) >= 128:
            break
        shown += f"'{word(argument)[: 128 - len(shown)]}' "
    return ErrorReply(f"ERR unknown command '{word(argv[0])[:128]}', with args beginning with: {shown}")


def _arity(name: str, args: Sequence[bytes], least: int, most: int | None = None) -> ErrorReply | None:
    if least <= len(args) <= (least if most is None else most):
        return None
    return ErrorReply(f"ERR wrong number of arguments for '{name}' command")


def _publish(core: SentinelCore, args: list[bytes]) -> Reply:
    if word(args[0]) != HELLO_CHANNEL:
        raise CommandFailure("ERR Only HELLO messages are accepted by Sentinel instances.")
    core.peers.on_hello(args[1])
    return 1


def _sentinel(core: SentinelCore, args: list[bytes]) -> Reply:
    if not args:
        return ErrorReply("ERR wrong number of arguments for 'sentinel' command")
    name = word(args[0]).lower()
    name = ALIASES.get(name, name)
    found = SUBCOMMANDS.get(name)
    if found is None:
        return ErrorReply(f"ERR unknown subcommand '{word(args[0])[:128]}'. Try SENTINEL HELP.")
    handler, least, most = found
    wrong = _arity(f"sentinel|{name}", args[1:], least, most)
    return wrong or handler(core, args[1:])


# ------------------------------------------------------------------------------------------------------------- queries


def _primaries(core: SentinelCore, args: list[bytes]) -> Reply:
    return [instance_map(core.ctx, unit.primary) for unit in core.ctx.units.values()]


def _primary(core: SentinelCore, args: list[bytes]) -> Reply:
    return instance_map(core.ctx, unit_of(core, args[0]).primary)


def _replicas(core: SentinelCore, args: list[bytes]) -> Reply:
    replicas = unit_of(core, args[0]).replicas.values()
    return [instance_map(core.ctx, replica) for replica in replicas if replica.replica.announced]


def _sentinels(core: SentinelCore, args: list[bytes]) -> Reply:
    return [instance_map(core.ctx, peer) for peer in unit_of(core, args[0]).sentinels.values()]


def _my_id(core: SentinelCore, args: list[bytes]) -> Reply:
    return text(core.ctx.my_id)


def _address_by_name(core: SentinelCore, args: list[bytes]) -> Reply:
    unit = core.ctx.units.get(word(args[0]))
    if unit is None:
        return NULL_ARRAY
    address = core.failover.current_address(unit)
    return [text(core.ctx.announce(address)), text(address.port)]


def _info_cache(core: SentinelCore, args: list[bytes]) -> Reply:
    units = [core.ctx.units[word(name)] for name in args if word(name) in core.ctx.units]
    reply: list[Reply] = []
    for unit in units:
        rows: list[Reply] = [_cached(core, member) for member in unit.members()]
        reply += [text(unit.name), rows]
    return reply


def _cached(core: SentinelCore, instance: Instance) -> Reply:
    age_ms = core.ctx.now_ms - instance.info_heard_ms if instance.info_heard_ms else 0
    return [age_ms, instance.info_text]


def _check_quorum(core: SentinelCore, args: list[bytes]) -> Reply:
    """Can quorum and majority be reached with the sentinels that are up? A guard's name asks for all shards."""
    guard = core.ctx.guards.get(word(args[0]))
    units = list(guard.units.values()) if guard is not None and guard.units else [unit_of(core, args[0])]
    verdicts = [_quorum_of(unit) for unit in units]
    failed = [verdict for verdict in verdicts if isinstance(verdict, ErrorReply)]
    return failed[0] if failed else verdicts[0]


def _quorum_of(unit: Unit) -> Reply:
    usable = 1 + sum(not peer.sdown for peer in unit.sentinels.values())
    problems = []
    if usable < unit.settings.quorum:
        problems.append("Not enough available Sentinels to reach the specified quorum for this master")
    if usable < majority(unit.voters):
        problems.append("Not enough available Sentinels to reach the majority and authorize a failover")
    if problems:
        return ErrorReply(f"NOQUORUM {usable} usable Sentinels. " + ". ".join(problems))
    return Status(b"OK %d usable Sentinels. Quorum and failover authorization can be reached" % usable)


def _pending_scripts(core: SentinelCore, args: list[bytes]) -> Reply:
    reply: list[Reply] = []
    for job in core.ctx.scripts.jobs:
        elapsed = core.ctx.now_ms - job.start_ms
        timing = (b"run-time", elapsed) if job.running else (b"run-delay", max(-elapsed, 0) if job.start_ms else 0)
        row: dict[bytes, Reply] = {
            b"argv": [text(argument) for argument in job.argv],
            b"flags": b"running" if job.running else b"scheduled",
            b"pid": text(job.pid),
            timing[0]: text(timing[1]),
            b"retry-num": text(job.tries),
        }
        reply.append(row)
    return reply


def _help(core: SentinelCore, args: list[bytes]) -> Reply:
    return [Status(line.encode()) for line in SENTINEL_HELP]


# ---------------------------------------------------------------------------------------------------- between sentinels


def _is_down(core: SentinelCore, args: list[bytes]) -> Reply:
    """IS-MASTER-DOWN-BY-ADDR ip port epoch run-id: is that primary down for us - and, unless the run id is `*`, our
    vote.

    Asked about a primary that looks well to us, we have a look at once: the next question comes within milliseconds.
    """
    port, epoch = number(args[1]), number(args[2])
    candidate = word(args[3])
    unit = core.roster.by_address(word(args[0]), port)
    down = unit is not None and unit.primary.sdown and not core.ctx.tilt
    leader, leader_epoch = "", 0
    if unit is not None:
        if not unit.primary.sdown:
            core.links.probe(unit.primary)
        if candidate != "*":
            leader, leader_epoch = core.election.cast_vote(unit, epoch, candidate)
    return [int(down), text(leader or "*"), leader_epoch]


def _give_back_vote(core: SentinelCore, args: list[bytes]) -> Reply:
    """GIVE-BACK-VOTE epoch run-id: that sentinel ended its attempt of that epoch, and promotes nobody in it."""
    core.election.on_vote_back(number(args[0]), word(args[1]))
    return OK


# ----------------------------------------------------------------------------------------------------------- operating


def _failover(core: SentinelCore, args: list[bytes]) -> Reply:
    unit = unit_of(core, args[0])
    if unit.failover.active:
        raise CommandFailure("INPROG Failover already in progress")
    if select_replica(unit, core.ctx.timing, core.ctx.now_ms) is None:
        raise CommandFailure("NOGOODSLAVE No suitable replica to promote")
    core.failover.force(unit)
    return OK


def _reset(core: SentinelCore, args: list[bytes]) -> Reply:
    units = [unit for unit in core.ctx.units.values() if match(args[0], text(unit.name))]
    for unit in units:
        core.reset(unit)
    return len(units)


def _flush_config(core: SentinelCore, args: list[bytes]) -> Reply:
    core.ctx.persist()
    return OK


def _remove(core: SentinelCore, args: list[bytes]) -> Reply:
    guard = core.ctx.guards.get(word(args[0]))
    if guard is not None:
        for unit in guard.units.values():
            core.ctx.emit(WARNING, "-monitor", unit)
        core.guarding.remove_guard(guard)
    else:
        unit = unit_of(core, args[0])
        if unit.guard is not None:
            raise CommandFailure(
                f"ERR '{unit.name}' is a shard of the guarded cluster '{unit.guard.name}': remove that"
            )
        core.ctx.emit(WARNING, "-monitor", unit)
        core.leases.release(unit)
        core.roster.remove_unit(unit)
    core.ctx.persist()
    return OK


def _simulate_failure(core: SentinelCore, args: list[bytes]) -> Reply:
    ctx = core.ctx
    ctx.crash_after_election = ctx.crash_after_promotion = False
    for arg in args:
        failure = word(arg).lower()
        if failure == "crash-after-election":
            ctx.crash_after_election = True
            ctx.log("Failure simulation: this sentinel will crash after it is elected to lead a failover")
        elif failure == "crash-after-promotion":
            ctx.crash_after_promotion = True
            ctx.log("Failure simulation: this sentinel will crash after it has promoted a replica")
        elif failure == "help":
            return [b"crash-after-election", b"crash-after-promotion"]
        else:
            raise CommandFailure("ERR Unknown failure simulation specified")
    return OK


def _debug(core: SentinelCore, args: list[bytes]) -> Reply:
    return settings_commands.set_timing(core, args) if args else timing_map(core.ctx.timing)


ANY = 1 << 30
SUBCOMMANDS: dict[str, tuple[Handler, int, int]] = {
    "ckquorum": (_check_quorum, 1, 1),
    "config": (settings_commands.config, 1, ANY),
    "debug": (_debug, 0, ANY),
    "failover": (_failover, 1, 1),
    "flushconfig": (_flush_config, 0, 0),
    "get-master-addr-by-name": (_address_by_name, 1, 1),
    "give-back-vote": (_give_back_vote, 2, 2),
    "help": (_help, 0, 0),
    "info-cache": (_info_cache, 1, ANY),
    "is-master-down-by-addr": (_is_down, 4, 4),
    "master": (_primary, 1, 1),
    "masters": (_primaries, 0, 0),
    "monitor": (settings_commands.monitor, 4, 4),
    "myid": (_my_id, 0, 0),
    "pending-scripts": (_pending_scripts, 0, 0),
    "remove": (_remove, 1, 1),
    "replicas": (_replicas, 1, 1),
    "reset": (_reset, 1, 1),
    "sentinels": (_sentinels, 1, 1),
    "set": (settings_commands.set_options, 3, ANY),
    "simulate-failure": (_simulate_failure, 1, ANY),
    "slaves": (_replicas, 1, 1),
}
ALIASES = {
    "primary": "master",
    "primaries": "masters",
    "get-primary-addr-by-name": "get-master-addr-by-name",
    "is-primary-down-by-addr": "is-master-down-by-addr",
}
