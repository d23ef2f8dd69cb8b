"""The commands that change what an operator configures: SENTINEL MONITOR, SET, CONFIG and DEBUG with arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from slotmesh.cluster.numbers import to_int64
from slotmesh.node.base.glob import match
from slotmesh.node.resp.values import OK
from slotmesh.sentinel.command_support import CommandFailure, number, unit_of, word
from slotmesh.sentinel.effects import WARNING, Reply
from slotmesh.sentinel.instance import GUARD_NO, GUARD_WORDS, Instance, Settings, Unit
from slotmesh.sentinel.present import text
from slotmesh.sentinel.state import Timing, touch_all

if TYPE_CHECKING:
    from slotmesh.sentinel.core import SentinelCore

_SCRIPTS_DENIED = (
    "ERR Reconfiguration of scripts path is denied for security reasons. Check the deny-scripts-reconfig "
    "configuration directive in your Sentinel configuration"
)


def monitor(core: SentinelCore, args: list[bytes]) -> Reply:
    """SENTINEL MONITOR name ip port quorum."""
    name, host = word(args[0]), word(args[1])
    quorum, port = number(args[3], "Invalid quorum"), number(args[2], "Invalid port")
    if quorum <= 0:
        raise CommandFailure("ERR Quorum must be 1 or greater.")
    if not core.ctx.ip_of(host):
        raise CommandFailure("ERR Invalid IP address or hostname specified")
    if not 0 <= port <= 65535:
        raise CommandFailure("ERR Invalid port number.")
    if name in core.ctx.units or name in core.ctx.guards:
        raise CommandFailure("ERR Duplicate master name.")
    timing = core.ctx.timing
    settings = Settings(quorum, timing.default_down_after, timing.default_failover_timeout)
    unit = core.roster.add_unit(name, core.ctx.address(host, port), settings)
    core.ctx.persist()
    core.ctx.emit(WARNING, "+monitor", unit, f" quorum {quorum}")
    return OK


# ---------------------------------------------------------------------------------------------------------------- SET


def set_options(core: SentinelCore, args: list[bytes]) -> Reply:
    """SENTINEL SET name option value [option value ...]. A guarded cluster is set by its own name, for all shards."""
    settings, subjects = _target(core, args[0])
    position = 1
    changed = False
    try:
        while position < len(args):
            option = word(args[position]).lower()
            taken = 3 if option == "rename-command" else 2
            values = args[position + 1 : position + taken]
            if option not in _SETTERS or len(values) < taken - 1:
                shown = word(args[position])
                raise CommandFailure(f"ERR Unknown option or number of arguments for SENTINEL SET '{shown}'")
            _SETTERS[option](core, settings, option, values)
            changed = True
            shown_values = ["******"] if option == "auth-pass" else [word(value) for value in values]
            for subject in subjects[:1]:
                core.ctx.emit(WARNING, "+set", subject, " " + " ".join([word(args[position]), *shown_values]))
            if option == "guard" and settings.guard == GUARD_NO:
                core.leases.release(subjects[0])
            if option in ("auth-pass", "auth-user"):
                _drop_connections(core, subjects)
            position += taken
    finally:
        if changed:
            core.ctx.persist()
            touch_all(core.ctx)
    return OK


def _target(core: SentinelCore, name: bytes) -> tuple[Settings, list[Unit]]:
    guard = core.ctx.guards.get(word(name))
    if guard is not None:
        return guard.settings, list(guard.units.values())
    unit = unit_of(core, name)
    if unit.guard is not None:
        raise CommandFailure(f"ERR '{unit.name}' is a shard of the guarded cluster '{unit.guard.name}': set that")
    return unit.settings, [unit]


def _drop_connections(core: SentinelCore, units: list[Unit]) -> None:
    """New credentials: the servers are connected to anew."""
    for unit in units:
        for member in unit.members():
            core.links.close(member.link)
            member.link.retry_at_ms = 0


def _bad(option: str, value: bytes) -> CommandFailure:
    return CommandFailure(f"ERR Invalid argument '{word(value)}' for SENTINEL SET '{option}'")


def _set_number(core: SentinelCore, settings: Settings, option: str, values: list[bytes]) -> None:
    field, least = _NUMBERS[option]
    value = to_int64(values[0])
    if value is None or value < least:
        raise _bad(option, values[0])
    setattr(settings, field, value)


def _set_guard(core: SentinelCore, settings: Settings, option: str, values: list[bytes]) -> None:
    if any(guard.settings is settings for guard in core.ctx.guards.values()):
        raise CommandFailure("ERR A cluster is always guarded")
    value = word(values[0]).lower()
    if value not in GUARD_WORDS:
        raise _bad(option, values[0])
    settings.guard = value


def _set_script(core: SentinelCore, settings: Settings, option: str, values: list[bytes]) -> None:
    if core.ctx.options.deny_scripts_reconfig:
        raise CommandFailure(_SCRIPTS_DENIED)
    path = word(values[0])
    if path and not core.executable(path):
        what = "Notification" if option.startswith("n") else "Client reconfiguration"
        raise CommandFailure(f"ERR {what} script seems non existing or non executable")
    setattr(settings, option.replace("-", "_"), path)


def _set_credential(core: SentinelCore, settings: Settings, option: str, values: list[bytes]) -> None:
    setattr(settings, option.replace("-", "_"), word(values[0]))


def _set_renamed(core: SentinelCore, settings: Settings, option: str, values: list[bytes]) -> None:
    for value in values:
        if not value:
            raise _bad(option, value)
    old, new = word(values[0]).upper(), word(values[1])
    settings.renamed.pop(old, None)
    if old != new.upper():
        settings.renamed[old] = new


_NUMBERS = {
    "down-after-milliseconds": ("down_after_ms", 1),
    "failover-timeout": ("failover_timeout_ms", 1),
    "parallel-syncs": ("parallel_syncs", 1),
    "quorum": ("quorum", 1),
    "master-reboot-down-after-period": ("reboot_down_after_ms", 0),
}
_SETTERS: dict[str, Callable[[SentinelCore, Settings, str, list[bytes]], None]] = {
    **dict.fromkeys(_NUMBERS, _set_number),
    "notification-script": _set_script,
    "client-reconfig-script": _set_script,
    "guard": _set_guard,
    "auth-pass": _set_credential,
    "auth-user": _set_credential,
    "rename-command": _set_renamed,
}


# ------------------------------------------------------------------------------------------------------------- CONFIG

_CONFIG_NAMES = (
    "resolve-hostnames",
    "announce-hostnames",
    "announce-ip",
    "announce-port",
    "sentinel-user",
    "sentinel-pass",
)


def config(core: SentinelCore, args: list[bytes]) -> Reply:
    """SENTINEL CONFIG GET pattern | SET name value."""
    action = word(args[0]).lower()
    if action == "set" and len(args) == 3:
        return _config_set(core, word(args[1]), args[2])
    if action == "get" and len(args) == 2:
        return _config_get(core, args[1])
    raise CommandFailure("ERR Only SENTINEL CONFIG GET <option> / SET <option> <value> are supported.")


def _config_get(core: SentinelCore, pattern: bytes) -> Reply:
    found: dict[bytes, Reply] = {}
    for name in _CONFIG_NAMES:
        if match(pattern, name.encode(), True):
            value = getattr(core.ctx.options, name.replace("-", "_"))
            found[name.encode()] = text(("yes" if value else "no") if isinstance(value, bool) else value)
    return found


def _config_set(core: SentinelCore, shown: str, raw: bytes) -> Reply:
    name, value, options = shown.lower(), word(raw), core.ctx.options
    bad = CommandFailure(f"ERR Invalid value '{value}' to SENTINEL CONFIG SET '{shown}'")
    if name in ("resolve-hostnames", "announce-hostnames"):
        if value.lower() not in ("yes", "no"):
            raise bad
        if name == "resolve-hostnames" and value.lower() == "no":
            _check_names_are_known(core)
        setattr(options, name.replace("-", "_"), value.lower() == "yes")
    elif name == "announce-ip":
        options.announce_ip = value
    elif name == "announce-port":
        port = to_int64(raw)
        if port is None or not 0 <= port <= 65535:
            raise bad
        options.announce_port = port
    elif name in ("sentinel-user", "sentinel-pass"):
        setattr(options, name.replace("-", "_"), value)
        _drop_sentinels(core)
    else:
        raise CommandFailure(f"ERR Invalid argument '{shown}' to SENTINEL CONFIG SET")
    core.ctx.persist()
    return OK


def _check_names_are_known(core: SentinelCore) -> None:
    """Without resolve-hostnames the file can hold no name of a primary: its address has to be known by now. Stock
    writes the name, and cannot read its file again."""
    ctx = core.ctx
    primaries = [unit.primary.address for unit in ctx.units.values()] + [guard.seed for guard in ctx.guards.values()]
    for address in primaries:
        if not address.ip:
            raise CommandFailure(f"ERR The address of '{address.host}' is not known yet: monitor it by its IP first")


def _drop_sentinels(core: SentinelCore) -> None:
    peers: list[Instance] = [peer for unit in core.ctx.units.values() for peer in unit.sentinels.values()]
    for peer in peers:
        core.links.close(peer.link)
        peer.link.retry_at_ms = 0
        core.ctx.touch(peer)


# -------------------------------------------------------------------------------------------------------------- DEBUG


def set_timing(core: SentinelCore, args: list[bytes]) -> Reply:
    """SENTINEL DEBUG name ms [name ms ...]."""
    known = {name.replace("_", "-") for name in Timing.__annotations__}
    position = 0
    while position < len(args):
        option = word(args[position])
        if option.lower() not in known or position + 1 >= len(args):
            raise CommandFailure(f"ERR Unknown option or number of arguments for SENTINEL DEBUG '{option}'")
        value = to_int64(args[position + 1])
        if value is None or value <= 0:
            shown = word(args[position + 1])
            raise CommandFailure(f"ERR Invalid argument '{shown}' for SENTINEL DEBUG '{option}'")
        setattr(core.ctx.timing, option.lower().replace("-", "_"), value)
        position += 2
    touch_all(core.ctx)
    return OK
