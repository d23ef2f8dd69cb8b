"""The `sentinel` statements of the config file: what each means, and the state written back as statements.

Loading and dumping stand next to each other on purpose: whatever `dump` writes, `load` must read.

Some statements are ours; a stock sentinel does not know them. Those of guarded clusters, which it could not guard:

    sentinel known-shard <guard> <unit id> <shard id or -> <primary node id> <cluster epoch> <lease holder node id or ->
    sentinel known-node <guard> <unit id> <node id> <ip> <port>

and those of guarded primaries without a cluster: the setting, where it is not `auto`, and who may hold a lease of ours,
as long as that is not the monitored primary (for some milliseconds of a failover).

    sentinel guard <name> yes | no | auto
    sentinel known-holder <name> <ip> <port>

The other per-unit statements (config-epoch, leader-epoch, known-sentinel) name a shard's unit as <guard>/<unit id>.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from slotmesh.cluster.numbers import INT64_MAX, INT64_MIN, to_uint
from slotmesh.sentinel.config import REBOOT_PERIOD, Statement, fatal
from slotmesh.sentinel.core import SentinelCore
from slotmesh.sentinel.hello import MAX_PORT
from slotmesh.sentinel.instance import (
    DEFAULT_DOWN_AFTER_MS,
    DEFAULT_FAILOVER_TIMEOUT_MS,
    DEFAULT_PARALLEL_SYNCS,
    GUARD_AUTO,
    GUARD_WORDS,
    Address,
    Instance,
    Settings,
    Unit,
)
from slotmesh.sentinel.state import Context

RUN_ID_LENGTH = 40
_NO_SUCH = "No such master with specified name."
_NONE = "-"
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?)([0-9]+)")


class StatementError(Exception):
    """What is wrong with a statement."""


def load(core: SentinelCore, statements: list[Statement], executable: Callable[[str], bool]) -> None:
    """Apply the statements of a file, sorted by phase. `executable` tells whether a path may be run as a script.

    Raises ConfigFileError naming the line.
    """
    for statement in statements:
        try:
            _apply(core, list(statement.words), executable)
        except StatementError as error:
            raise fatal(statement.number, statement.text, str(error)) from error
    for unit in core.ctx.units.values():
        core.leases.restarted(unit)
    core.ctx.dirty = False


def _apply(core: SentinelCore, words: list[str], executable: Callable[[str], bool]) -> None:
    name, args = words[0].lower(), words[1:]
    if _apply_global(core, name, args):
        return
    if name == "monitor" and len(args) == 4:
        _monitor(core, args)
    elif name == "known-shard" and len(args) == 6:
        _known_shard(core, args)
    elif name == "known-node" and len(args) == 5:
        _known_node(core, args)
    elif name == "known-holder" and len(args) == 3:
        address = _instance(core, args[1], args[2])
        _unit(core, args[0]).lease_holder = f"{address.host}:{address.port}"
    elif name in ("config-epoch", "leader-epoch") and len(args) == 2:
        _epoch(core, name, args)
    elif name in ("known-slave", "known-replica") and len(args) == 3:
        _known_replica(core, args)
    elif name == "known-sentinel" and len(args) in (3, 4):
        if len(args) == 4:  # the form without a run id is of no use
            _known_sentinel(core, args)
    elif name == "rename-command" and len(args) == 3:
        settings = _settings(core, args[0])
        if args[1].upper() in settings.renamed:
            raise StatementError("Same command renamed multiple times with rename-command.")
        settings.renamed[args[1].upper()] = args[2]
    elif len(args) == 2 and _apply_setting(core, name, args, executable):
        return
    else:
        raise StatementError("Unrecognized sentinel configuration statement.")


# ------------------------------------------------------------------------------------------------------------ globals


def _apply_global(core: SentinelCore, name: str, args: list[str]) -> bool:
    """Statements about the sentinel itself; whether it was one."""
    if len(args) != 1:
        return False
    ctx, value = core.ctx, args[0]
    if name == "myid":
        if len(value) != RUN_ID_LENGTH:
            raise StatementError("Malformed Sentinel id in myid option.")
        ctx.my_id = value
    elif name == "current-epoch":
        ctx.current_epoch = max(ctx.current_epoch, _epoch_number(value))
    elif name == "announce-ip":
        ctx.options.announce_ip = value
    elif name == "announce-port":
        ctx.options.announce_port = _number(value)
    elif name in ("sentinel-user", "sentinel-pass"):
        setattr(ctx.options, name.replace("-", "_"), value)
    elif name in ("deny-scripts-reconfig", "resolve-hostnames", "announce-hostnames"):
        if value.lower() not in ("yes", "no"):
            plural = "s" if name.startswith("deny") else ""
            raise StatementError(f"Please specify yes or no for the {name} option{plural}.")
        setattr(ctx.options, name.replace("-", "_"), value.lower() == "yes")
    else:
        return False
    return True


def _number(text: str) -> int:
    """A number as atoi reads it: what is none counts as 0. Beyond int64 it is the nearest one."""
    found = _NUMBER.match(text)
    if found is None:
        return 0
    value = to_uint(found[2].lstrip("0") or "0")
    if value is None:
        return INT64_MIN if found[1] == "-" else INT64_MAX
    return -value if found[1] == "-" else value


def _epoch_number(text: str) -> int:
    value = _number(text)
    if not 0 <= value < INT64_MAX:
        raise StatementError("Epoch out of range.")
    return value


def _instance(core: SentinelCore, host: str, port_text: str) -> Address:
    """Where a replica or sentinel of the file is, in stock's words where it cannot be anywhere."""
    port = _number(port_text)
    if not 0 <= port <= MAX_PORT:
        raise StatementError("Invalid port number.")
    if not core.ctx.reachable(host):
        raise StatementError("Can't resolve instance hostname.")
    return core.ctx.address(host, port)


# ------------------------------------------------------------------------------------------------------------ monitor


def check_new_unit(core: SentinelCore, name: str, host: str, port: int) -> str:
    """Why a primary of this name and address cannot be monitored; empty when it can."""
    if not 0 <= port <= 65535:
        return "Invalid port number."
    if not core.ctx.reachable(host):
        return "Can't resolve instance hostname."
    if name in core.ctx.units or name in core.ctx.guards:
        return "Duplicate master name."
    return ""


def _monitor(core: SentinelCore, args: list[str]) -> None:
    name, host, port, quorum = args[0], args[1], _number(args[2]), _number(args[3])
    if quorum <= 0:
        raise StatementError("Quorum must be 1 or greater.")
    problem = check_new_unit(core, name, host, port)
    if problem:
        raise StatementError(problem)
    core.roster.add_unit(name, core.ctx.address(host, port), Settings(quorum))


def _unit(core: SentinelCore, name: str) -> Unit:
    unit = core.ctx.units.get(name)
    if unit is None:
        raise StatementError(_NO_SUCH)
    return unit


def _settings(core: SentinelCore, name: str) -> Settings:
    guard = core.ctx.guards.get(name)
    return guard.settings if guard is not None else _unit(core, name).settings


def _apply_setting(core: SentinelCore, name: str, args: list[str], executable: Callable[[str], bool]) -> bool:
    """One setting of a monitored primary; whether it was one."""
    value = args[1]
    if name in ("down-after-milliseconds", "failover-timeout"):
        field = "down_after_ms" if name.startswith("down") else "failover_timeout_ms"
        settings = _settings(core, args[0])
        if _number(value) <= 0:
            raise StatementError("negative or zero time parameter.")
        setattr(settings, field, _number(value))
    elif name == "parallel-syncs":
        _settings(core, args[0]).parallel_syncs = _number(value)
    elif name in (REBOOT_PERIOD, "primary-reboot-down-after-period"):  # the latter is what Valkey calls it
        settings = _settings(core, args[0])
        if _number(value) < 0:
            raise StatementError("negative time parameter.")
        settings.reboot_down_after_ms = _number(value)
    elif name in ("notification-script", "client-reconfig-script"):
        settings = _settings(core, args[0])
        if not executable(value):
            what = "Notification" if name.startswith("n") else "Client reconfiguration"
            raise StatementError(f"{what} script seems non existing or non executable.")
        setattr(settings, name.replace("-", "_"), value)
    elif name == "guard":
        if value.lower() not in GUARD_WORDS or args[0] in core.ctx.guards:
            raise StatementError("Please specify yes, no or auto for the guard option; a cluster is always guarded.")
        _settings(core, args[0]).guard = value.lower()
    elif name in ("auth-pass", "auth-user"):
        setattr(_settings(core, args[0]), name.replace("-", "_"), value)
    else:
        return False
    return True


# -------------------------------------------------------------------------------------------------------------- state


def _epoch(core: SentinelCore, name: str, args: list[str]) -> None:
    unit, epoch = _unit(core, args[0]), _epoch_number(args[1])
    if name == "config-epoch":
        unit.config_epoch = epoch
        core.ctx.current_epoch = max(core.ctx.current_epoch, epoch)
    else:
        unit.last_vote_epoch = epoch


def _known_replica(core: SentinelCore, args: list[str]) -> None:
    unit, address = _unit(core, args[0]), _instance(core, args[1], args[2])
    known = core.roster.find_replica(unit, address)
    if known is None:
        core.roster.add_replica(unit, address)
    elif known.address.host.lower() == address.host.lower():
        raise StatementError("Duplicate hostname and port for replica.")
    # Else two names, told by others, lead to one server by now: one line of the two is enough.


def _known_sentinel(core: SentinelCore, args: list[str]) -> None:
    unit, run_id = _unit(core, args[0]), args[3]
    if run_id in unit.sentinels:
        raise StatementError("Duplicate runid for sentinel.")
    core.roster.add_sentinel(unit, _instance(core, args[1], args[2]), run_id)


def _known_shard(core: SentinelCore, args: list[str]) -> None:
    """The first known shard of a monitored name makes it a guarded cluster again."""
    guard_name, unit_id, shard_id, primary_id, epoch, holder = args
    guard = core.ctx.guards.get(guard_name)
    if guard is None:
        plain = _unit(core, guard_name)
        seed, settings = plain.primary.address, plain.settings
        core.roster.remove_unit(plain)
        guard = core.guarding.add_guard(guard_name, seed, settings)
    if f"{guard_name}/{unit_id}" in core.ctx.units:
        raise StatementError("Duplicate master name.")
    unit = core.guarding.new_unit(guard, f"{guard_name}/{unit_id}", primary_id, guard.seed)
    unit.shard_id = "" if shard_id == _NONE else shard_id
    unit.cluster_epoch = _epoch_number(epoch)
    unit.unconfirmed = unit.cluster_epoch == 0
    unit.lease_holder = "" if holder == _NONE else holder


def _known_node(core: SentinelCore, args: list[str]) -> None:
    guard_name, unit_id, node_id, host, port = args
    guard = core.ctx.guards.get(guard_name)
    unit = core.ctx.units.get(f"{guard_name}/{unit_id}")
    if guard is None or unit is None:
        raise StatementError(_NO_SUCH)
    address = _instance(core, host, port)
    if node_id == unit.primary.node_id:
        unit.primary.address = address
        return
    replica = core.roster.add_replica(unit, address, listen=core.guarding.wants_listener(guard))
    if replica is None:
        raise StatementError("Duplicate hostname and port for replica.")
    replica.node_id, replica.guard = node_id, guard


# ------------------------------------------------------------------------------------------------------------ dumping


def dump(core: SentinelCore) -> list[tuple[str, ...]]:
    """The whole state as statements, in an order that `load` understands."""
    ctx, options = core.ctx, core.ctx.options
    lines: list[tuple[str, ...]] = [("myid", ctx.my_id)]
    for name, wanted, default in (
        ("deny-scripts-reconfig", options.deny_scripts_reconfig, True),
        ("resolve-hostnames", options.resolve_hostnames, False),
        ("announce-hostnames", options.announce_hostnames, False),
    ):
        if wanted != default:
            lines.append((name, "yes" if wanted else "no"))
    for guard in ctx.guards.values():
        seed = guard.seed
        if seed.host == seed.ip:  # a name stays: it leads to the nodes even after all of them have moved
            seed = next((u.primary.address for u in guard.units.values() if not u.primary.sdown), seed)
        lines.append(
            (
                "monitor",
                guard.name,
                seed.host if ctx.reachable(seed.host) else seed.ip,
                str(seed.port),
                str(guard.settings.quorum),
            )
        )
        lines += _dump_settings(guard.name, guard.settings)
        for unit in guard.units.values():
            lines += _dump_shard(core, unit)
    for unit in ctx.units.values():
        if unit.guard is None:
            lines += _dump_plain(core, unit)
    lines.append(("current-epoch", str(ctx.current_epoch)))
    for name in ("announce-ip", "announce-port", "sentinel-user", "sentinel-pass"):
        value = getattr(options, name.replace("-", "_"))
        if value:
            lines.append((name, str(value)))
    return lines


def _host(ctx: Context, address: Address) -> str:
    """How an address is written: as it is announced, unless a name would not be looked up when the file is read."""
    told = ctx.announce(address)
    return told if ctx.reachable(told) or not address.ip else address.ip


def _dump_settings(name: str, settings: Settings) -> list[tuple[str, ...]]:
    values: list[tuple[str, str | int, str | int]] = [
        ("down-after-milliseconds", settings.down_after_ms, DEFAULT_DOWN_AFTER_MS),
        ("failover-timeout", settings.failover_timeout_ms, DEFAULT_FAILOVER_TIMEOUT_MS),
        ("parallel-syncs", settings.parallel_syncs, DEFAULT_PARALLEL_SYNCS),
        ("notification-script", settings.notification_script, ""),
        ("client-reconfig-script", settings.client_reconfig_script, ""),
        ("auth-pass", settings.auth_pass, ""),
        ("auth-user", settings.auth_user, ""),
        (REBOOT_PERIOD, settings.reboot_down_after_ms, 0),
        ("guard", settings.guard, GUARD_AUTO),
    ]
    lines: list[tuple[str, ...]] = [(key, name, str(value)) for key, value, default in values if value != default]
    return lines + [("rename-command", name, old, new) for old, new in settings.renamed.items()]


def _dump_plain(core: SentinelCore, unit: Unit) -> list[tuple[str, ...]]:
    ctx = core.ctx
    primary = core.failover.current_address(unit)
    quorum = str(unit.settings.quorum)
    lines: list[tuple[str, ...]] = [("monitor", unit.name, _host(ctx, primary), str(primary.port), quorum)]
    lines += _dump_settings(unit.name, unit.settings)
    lines += _dump_epochs(unit)
    for replica in unit.replicas.values():
        # A replica that is promoted already stands in the monitor line; the old primary is a replica instead.
        address = unit.primary.address if replica.address.same_place(primary) else replica.address
        if ctx.reachable(_host(ctx, address)):
            lines.append(("known-replica", unit.name, _host(ctx, address), str(address.port)))
    host, _, port = unit.lease_holder.rpartition(":")
    # Nearly always it is the primary of the monitor line; then the file holds nothing that stock does not know.
    if host and ctx.reachable(host) and not ctx.same_host(primary, host, _number(port)):
        lines.append(("known-holder", unit.name, host, port))
    return lines + _dump_sentinels(core, unit)


def _dump_epochs(unit: Unit) -> list[tuple[str, ...]]:
    return [
        ("config-epoch", unit.name, str(unit.config_epoch)),
        ("leader-epoch", unit.name, str(unit.last_vote_epoch)),
    ]


def _dump_sentinels(core: SentinelCore, unit: Unit) -> list[tuple[str, ...]]:
    return [
        ("known-sentinel", unit.name, _host(core.ctx, peer.address), str(peer.address.port), peer.run_id)
        for peer in unit.sentinels.values()
        if core.ctx.reachable(_host(core.ctx, peer.address))
    ]


def _dump_shard(core: SentinelCore, unit: Unit) -> list[tuple[str, ...]]:
    guard, promoted = unit.guard, unit.failover.promoted
    assert guard is not None, "a shard without a guard"
    unit_id = unit.name.partition("/")[2]
    primary: Instance = unit.primary
    if promoted is not None and core.failover.current_address(unit) is promoted.address:
        primary = promoted
    holder = unit.lease_holder or _NONE
    confirmed = not unit.unconfirmed and primary is unit.primary
    epoch = str(unit.cluster_epoch if confirmed else 0)
    lines: list[tuple[str, ...]] = [
        ("known-shard", guard.name, unit_id, unit.shard_id or _NONE, primary.node_id, epoch, holder)
    ]
    places: set[tuple[str, str]] = set()
    for member in sorted(unit.members(), key=lambda member: member is not primary):
        host, port = _host(core.ctx, member.address), str(member.address.port)
        # A node that was reset goes by another id at its old address: the cluster tells both for a while.
        if core.ctx.reachable(host) and (host, port) not in places:
            places.add((host, port))
            lines.append(("known-node", guard.name, unit_id, member.node_id, host, port))
    return lines + _dump_epochs(unit) + _dump_sentinels(core, unit)
