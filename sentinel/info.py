"""The facts a sentinel reads from a server's INFO."""

from __future__ import annotations

from attrs import frozen

from slotmesh.cluster.numbers import INT64_MAX, to_int64
from slotmesh.sentinel.instance import DEFAULT_PRIORITY, PRIMARY, REPLICA

OUR_SERVER_NAME = "slotmesh"
MAX_REPLICAS = 256
"""Replicas of one primary that are watched: each costs two connections and a line of the file."""

_RUN_ID_LENGTH = 40
_MAX_SECONDS = INT64_MAX // 1000


@frozen
class InfoFacts:
    """What matters to a sentinel; absent fields have the value that means "nothing known"."""

    run_id: str
    role: str  # PRIMARY, REPLICA or ""
    replicas: tuple[tuple[str, int], ...]
    primary_host: str
    primary_port: int
    primary_link_up: bool
    primary_link_down_ms: int
    never_linked: bool  # as a replica, it has had no link to its primary since it started
    priority: int | None
    offset: int | None
    announced: bool | None
    cluster_enabled: bool
    ours: bool
    guarded: bool  # a node of ours that a majority of sentinels has guarded
    leased: bool  # such a node that is a primary with the leases it needs
    uptime_ms: int  # 0: it does not say


def parse_info(text: bytes) -> InfoFacts:
    """Read INFO. Never raises: a line that cannot be understood says nothing."""
    fields: dict[str, str] = {}
    replicas: list[tuple[str, int]] = []
    for line in text.decode("utf-8", "surrogateescape").split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon or name.startswith("#"):
            continue
        if name.startswith("slave") and name[5:].isdigit():
            replica = _parse_replica(value)
            if replica is not None and len(replicas) < MAX_REPLICAS:
                replicas.append(replica)
        else:
            fields[name] = value
    down_s = _number(fields.get("master_link_down_since_seconds")) or 0
    announced = _number(fields.get("replica_announced"))
    return InfoFacts(
        run_id=fields.get("run_id", "")[:_RUN_ID_LENGTH],
        role={"master": PRIMARY, "slave": REPLICA}.get(fields.get("role", ""), ""),
        replicas=tuple(replicas),
        primary_host=fields.get("master_host", ""),
        primary_port=_number(fields.get("master_port")) or 0,
        primary_link_up=fields.get("master_link_status", "").lower() == "up",
        primary_link_down_ms=min(max(down_s, 0), _MAX_SECONDS) * 1000,
        never_linked=down_s < 0,
        priority=_number(fields.get("slave_priority", str(DEFAULT_PRIORITY))),
        offset=_number(fields.get("slave_repl_offset")),
        announced=None if announced is None else announced != 0,
        cluster_enabled=fields.get("cluster_enabled") == "1",
        ours=fields.get("server_name") == OUR_SERVER_NAME,
        guarded="cluster_guard_leases" in fields,
        leased=fields.get("cluster_guard_fenced") == "0" and fields.get("role") == "master",
        uptime_ms=min(max(_number(fields.get("uptime_in_seconds")) or 0, 0), _MAX_SECONDS) * 1000,
    )


def _parse_replica(value: str) -> tuple[str, int] | None:
    """`ip=10.0.0.1,port=6380,...`, or the oldest form `10.0.0.1,6380,online`."""
    parts = value.split(",")
    if "ip=" in value:
        pairs = dict(part.partition("=")[::2] for part in parts)
        host, port = pairs.get("ip", ""), pairs.get("port")
    else:
        host, port = parts[0], parts[1] if len(parts) > 1 else None
    number = _number(port)
    return (host, number) if host and number is not None and 0 < number < 65536 else None


def _number(text: str | None) -> int | None:
    return to_int64(text.encode("utf-8", "surrogateescape")) if text is not None else None
