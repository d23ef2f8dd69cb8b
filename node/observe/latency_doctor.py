"""LATENCY DOCTOR: what the recorded spikes may come from and what to do about them, in plain words."""

from __future__ import annotations

from typing import Final

from slotmesh.node.base.latency import LatencyMonitor, summarize

_DISK: Final = (
    "The disk was slow to take what we wrote. Look for other programs that use the same disk, prefer a local disk, "
    "and one without moving parts."
)
_LARGE: Final = "Removing large values takes long. Delete them with UNLINK, or keep smaller ones."
_ADVICE: Final = {
    "command": (
        "Look into SLOWLOG GET for the commands that take long; run O(N) commands over less data, or with SCAN.",
        _LARGE,
    ),
    "fast-command": (
        "Even commands that do little took long, so the processor was busy elsewhere.",
        "Look at the load of the machine and, in a virtual one, at its neighbours (redis-cli --intrinsic-latency 100).",
    ),
    "fork": ("Forking for a snapshot took long: it grows with the memory of the process. Prefer more, smaller nodes.",),
    "expire-cycle": ("Many keys expire at the same moment. Spread their times to live by a random share.", _LARGE),
    "eviction-del": (_LARGE,),
    "eviction-cycle": (
        "Much had to be evicted at once. Change maxmemory in small steps, and avoid very large values.",
    ),
    "aof-write-pending-fsync": (_DISK,),
    "aof-write-active-child": (_DISK, "Consider no-appendfsync-on-rewrite, which trades safety during rewrites."),
    "aof-write-alone": (_DISK,),
    "aof-write": (_DISK,),
    "aof-rotate": (_DISK,),
    "aof-fsync-always": (_DISK, "appendfsync always waits for the disk; everysec loses at most a second of writes."),
    "aof-fstat": (_DISK,),
    "aof-rename": (_DISK,),
    "aof-rewrite-diff-write": (_DISK,),
    "rdb-unlink-temp-file": (_DISK,),
}


def report(monitor: LatencyMonitor, now_s: int, slower_than_us: int) -> str:
    """The report for an operator; `slower_than_us` is slowlog-log-slower-than."""
    if not monitor.events:
        if not monitor.threshold_ms:
            return (
                "Latency monitoring is disabled in this instance. Switch it on with "
                "CONFIG SET latency-monitor-threshold <milliseconds> and come back when there was load.\n"
            )
        return f"No latency spike of {monitor.threshold_ms} ms or more was seen so far.\n"
    lines = ["These latency spikes were seen in this instance:", ""]
    advice: dict[str, None] = {}
    for number, (event, series) in enumerate(monitor.events.items(), 1):
        seen = summarize(series, now_s)
        lines.append(
            f"{number}. {event}: {seen.count} latency spikes (average {seen.mean_ms}ms, mean deviation "
            f"{seen.deviation_ms}ms, period {seen.period_s / seen.count:.2f} sec). Worst all time event "
            f"{series.worst_ms}ms."
        )
        advice.update(dict.fromkeys(_ADVICE.get(event, ())))
    if "command" in monitor.events and not 0 <= slower_than_us // 1000 <= max(monitor.threshold_ms, 1):
        wanted = monitor.threshold_ms * 1000
        advice[f"Let the slow log see these commands: CONFIG SET slowlog-log-slower-than {wanted}."] = None
    if advice:
        lines += ["", "What may help:", "", *(f"- {text}" for text in advice)]
    return "\n".join(lines) + "\n"
