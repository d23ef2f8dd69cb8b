"""What most parts of a node look at: its settings, clock, data, counters and gates.

A part is given this and the few others that it works with, by name. What it needs of one that comes later in the order
of the rooms, it takes as a function or as a small protocol of its own.
"""

from __future__ import annotations

import logging
import random
import secrets
import time
from typing import Final

from slotmesh.cluster.faults import Complaints
from slotmesh.node.base.clock import Clock
from slotmesh.node.base.fibers import Fibers
from slotmesh.node.base.gates import SERVER_ASYNC_LOADING, SERVER_LOADING
from slotmesh.node.base.latency import LatencyMonitor
from slotmesh.node.base.stats import Stats
from slotmesh.node.config.configuration import Config
from slotmesh.node.keyspace.keyspace import Keyspace
from slotmesh.node.keyspace.propagation import Propagation

#: More than any limit: for those of the limits below that nobody wants to hear of.
NEVER: Final = 1 << 62


class NodeState:
    """The state of one node that no single part owns."""

    __slots__ = (
        "clock",
        "complaints",
        "config",
        "fibers",
        "gates",
        "keyspace",
        "latency",
        "out_of_memory",
        "propagation",
        "readable",
        "reply_limit",
        "request_limit",
        "rng",
        "run_id",
        "served",
        "slow_nanos",
        "started_ms",
        "stats",
    )

    def __init__(self, config: Config, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self.started_ms = clock.now_ms
        self.run_id = secrets.token_hex(20)
        self.rng = random.Random(secrets.randbits(64))
        self.keyspace = Keyspace(config.databases, clustered=config.cluster_enabled)
        self.keyspace.now_ms = clock.now_ms
        self.stats = Stats()
        self.latency = LatencyMonitor()
        self.complaints = Complaints(logging.getLogger("node"), time.monotonic)
        self.fibers = Fibers(self.complaints.fault)
        self.propagation = Propagation()
        #: Reasons for the slow path (`base/gates.py`); zero on a node about which there is nothing special.
        self.gates = 0
        #: What is worth a report (`observe/command_log.py`): calls, requests and replies of at least this much.
        self.slow_nanos = self.request_limit = self.reply_limit = NEVER
        #: What the last look at `maxmemory` found. Scripts ask no more often than their caller was asked.
        self.out_of_memory = False
        #: For each slot, whether commands on it may take the fast path, and whether those of READONLY clients may that
        #: only read; None outside a cluster.
        self.served: bytearray | None = None
        self.readable: bytearray | None = None

    def set_gate(self, gate: int, on: bool) -> None:
        """Raise or lower one of the gates."""
        self.gates = self.gates | gate if on else self.gates & ~gate

    @property
    def is_loading(self) -> bool:
        """Whether the data set is being loaded."""
        return bool(self.gates & (SERVER_LOADING | SERVER_ASYNC_LOADING))

    def refresh_clock(self) -> None:
        """Read the time outside a pass of the data plane."""
        self.clock.refresh()
        self.keyspace.now_ms = self.clock.now_ms
