"""SENTINEL HELP."""

from __future__ import annotations

_ENTRIES: tuple[tuple[str, str], ...] = (
    ("CKQUORUM <master-name>", "Can quorum and majority be reached with the sentinels that are up?"),
    ("CONFIG SET <param> <value>", "Change a setting of this sentinel."),
    ("CONFIG GET <param>", "Settings of this sentinel whose names match the pattern."),
    ("DEBUG [<param> <value> ...]", "Show the internal periods in milliseconds, or change some of them."),
    ("FAILOVER <master-name>", "Fail over now, without asking other sentinels."),
    ("FLUSHCONFIG", "Write configuration and state to the config file."),
    ("GET-MASTER-ADDR-BY-NAME <master-name>", "Address and port of the current primary."),
    ("GIVE-BACK-VOTE <epoch> <runid>", "Told by other sentinels: that attempt at a failover is over."),
    (
        "INFO-CACHE <master-name> [<master-name> ...]",
        "The last INFO replies of a primary and its replicas, with their age.",
    ),
    ("IS-MASTER-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>", "Asked by other sentinels: is it down, and a vote."),
    ("MASTER <master-name>", "State of a monitored primary."),
    ("MASTERS", "State of all monitored primaries; each shard of a guarded cluster is one."),
    ("MONITOR <name> <ip> <port> <quorum>", "Start to monitor a primary, or to guard the cluster of a node."),
    ("MYID", "The id of this sentinel."),
    ("PENDING-SCRIPTS", "Scripts that run or wait to run."),
    ("REMOVE <master-name>", "Stop to monitor a primary, or to guard a cluster."),
    ("REPLICAS <master-name>", "State of the replicas of a primary."),
    ("RESET <pattern>", "Forget replicas, sentinels and failovers of the primaries whose names match."),
    ("SENTINELS <master-name>", "State of the other sentinels that monitor a primary."),
    ("SET <master-name> <option> <value> [<option> <value> ...]", "Change settings of a monitored primary."),
    ("SIMULATE-FAILURE [CRASH-AFTER-ELECTION] [CRASH-AFTER-PROMOTION] [HELP]", "Crash at that point of a failover."),
    ("HELP", "Print this help."),
)


def _lines() -> list[str]:
    head = "SENTINEL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    return [head, *(line for syntax, what in _ENTRIES for line in (syntax, f"    {what}"))]


SENTINEL_HELP: tuple[str, ...] = tuple(_lines())
SUMMARIES: dict[str, str] = {syntax.split()[0].lower(): what for syntax, what in _ENTRIES}
"""Subcommand -> what it does, for COMMAND DOCS."""

SUMMARIES["slaves"] = SUMMARIES["replicas"]
