"""How instances, INFO and timing look to clients: stock's field names, flags and order."""

from __future__ import annotations

from attrs import fields as attrs_fields

from slotmesh.sentinel.effects import Reply
from slotmesh.sentinel.instance import PRIMARY, REPLICA, SENTINEL, STATE_WORDS, Instance, Unit, wire_role
from slotmesh.sentinel.state import Context, Timing


def text(value: str | int) -> bytes:
    """A value as the bulk string that clients get."""
    return str(value).encode("utf-8", "surrogateescape")


def flags_of(instance: Instance) -> str:
    """The comma-joined flags of SENTINEL MASTER and its like."""
    unit = instance.unit
    is_primary = unit is not None and instance is unit.primary
    replica = instance.replica
    words = [
        (instance.sdown, "s_down"),
        (is_primary and unit is not None and unit.odown, "o_down"),
        (True, wire_role(instance.role)),
        (not instance.link.complete, "disconnected"),
        (instance.role == SENTINEL and instance.peer.primary_down, "master_down"),
        (is_primary and unit is not None and unit.failover.active, "failover_in_progress"),
        (replica.promoted, "promoted"),
        (replica.reconf == "sent", "reconf_sent"),
        (replica.reconf == "inprog", "reconf_inprog"),
        (replica.reconf == "done", "reconf_done"),
        (is_primary and unit is not None and unit.failover.forced, "force_failover"),
    ]
    return ",".join(word for applies, word in words if applies)


def instance_map(ctx: Context, instance: Instance) -> dict[bytes, Reply]:
    """One instance as the field map of SENTINEL MASTER, REPLICAS and SENTINELS."""
    now, link, unit = ctx.now_ms, instance.link, instance.unit
    rows: list[tuple[str, str | int]] = [
        ("name", instance.name),
        ("ip", ctx.announce(instance.address)),
        ("port", instance.address.port),
        ("runid", instance.run_id),
        ("flags", flags_of(instance)),
        ("link-pending-commands", len(link.commands.pending)),
        ("link-refcount", link.users),
    ]
    if instance.role == PRIMARY and unit is not None and unit.failover.active:
        rows.append(("failover-state", STATE_WORDS[unit.failover.state]))
    rows += [
        ("last-ping-sent", now - link.act_ping_ms if link.act_ping_ms else 0),
        ("last-ok-ping-reply", now - link.last_avail_ms),
        ("last-ping-reply", now - link.last_pong_ms),
    ]
    if instance.sdown:
        rows.append(("s-down-time", now - instance.sdown_since_ms))
    if instance.role == PRIMARY and unit is not None and unit.odown:
        rows.append(("o-down-time", now - unit.odown_since_ms))
    rows.append(("down-after-milliseconds", instance.settings.down_after_ms))
    if instance.role != SENTINEL:
        rows += [
            ("info-refresh", now - instance.info_heard_ms if instance.info_heard_ms else 0),
            ("role-reported", wire_role(instance.role_reported)),
            ("role-reported-time", now - instance.role_reported_ms),
        ]
    if instance.role == PRIMARY and unit is not None:
        rows += _primary_rows(unit)
    elif instance.role == REPLICA:
        rows += _replica_rows(instance)
    elif instance.role == SENTINEL:
        rows += _sentinel_rows(instance, now)
    return {name.encode(): text(value) for name, value in rows}


def _primary_rows(unit: Unit) -> list[tuple[str, str | int]]:
    settings = unit.settings
    rows: list[tuple[str, str | int]] = [
        ("config-epoch", unit.config_epoch),
        ("num-slaves", len(unit.replicas)),
        ("num-other-sentinels", len(unit.sentinels)),
        ("quorum", settings.quorum),
        ("failover-timeout", settings.failover_timeout_ms),
        ("parallel-syncs", settings.parallel_syncs),
    ]
    if settings.notification_script:
        rows.append(("notification-script", settings.notification_script))
    if settings.client_reconfig_script:
        rows.append(("client-reconfig-script", settings.client_reconfig_script))
    return rows


def _replica_rows(instance: Instance) -> list[tuple[str, str | int]]:
    state = instance.replica
    return [
        ("master-link-down-time", state.primary_link_down_ms),
        ("master-link-status", "ok" if state.primary_link_up else "err"),
        ("master-host", state.primary_host or "?"),
        ("master-port", state.primary_port),
        ("slave-priority", state.priority),
        ("slave-repl-offset", state.offset),
        ("replica-announced", int(state.announced)),
    ]


def _sentinel_rows(instance: Instance, now_ms: int) -> list[tuple[str, str | int]]:
    state = instance.peer
    return [
        ("last-hello-message", now_ms - state.hello_heard_ms),
        ("voted-leader", state.voted_for or "?"),
        ("voted-leader-epoch", state.vote_epoch),
    ]


def info_section(ctx: Context) -> str:
    """The `# Sentinel` section of INFO."""
    since = (ctx.now_ms - ctx.tilt_start_ms) // 1000 if ctx.tilt else -1
    failure_flags = int(ctx.crash_after_election) + 2 * int(ctx.crash_after_promotion)
    lines = [
        "# Sentinel",
        f"sentinel_masters:{len(ctx.units)}",
        f"sentinel_tilt:{int(ctx.tilt)}",
        f"sentinel_tilt_since_seconds:{since}",
        f"sentinel_running_scripts:{ctx.scripts.running}",
        f"sentinel_scripts_queue_length:{len(ctx.scripts.jobs)}",
        f"sentinel_simulate_failure_flags:{failure_flags}",
    ]
    for number, unit in enumerate(ctx.units.values()):
        status = "odown" if unit.odown else "sdown" if unit.primary.sdown else "ok"
        address = f"{ctx.announce(unit.primary.address)}:{unit.primary.address.port}"
        lines.append(
            f"master{number}:name={unit.name},status={status},address={address},"
            f"slaves={len(unit.replicas)},sentinels={unit.voters}"
        )
    return "".join(line + "\r\n" for line in lines)


def timing_map(timing: Timing) -> dict[bytes, Reply]:
    """SENTINEL DEBUG without arguments."""
    names = [field.name for field in attrs_fields(Timing)]
    return {name.upper().replace("_", "-").encode(): text(getattr(timing, name)) for name in names}
