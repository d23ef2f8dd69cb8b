"""Reasons of a whole node for the slow path: the bits of `NodeState.gates`. Those of one client are in its module."""

from typing import Final

SERVER_LOADING: Final = 1 << 0
SERVER_PAUSED: Final = 1 << 1
SERVER_MEMORY: Final = 1 << 2  # the data use more than maxmemory
SERVER_MONITORS: Final = 1 << 3
SERVER_REPLICA: Final = 1 << 4  # this node is a replica
SERVER_WRITES_REFUSED: Final = 1 << 5  # a failed save, too few replicas, a lost lease
SERVER_TRACKING: Final = 1 << 6
SERVER_ASYNC_LOADING: Final = 1 << 7  # other data is loaded while the old one is served
SERVER_STALE: Final = 1 << 8  # a replica that lost its primary and may not serve what it has
SERVER_BUSY: Final = 1 << 9  # a script has exceeded its time limit and still runs
SERVER_SLOT_STATS: Final = 1 << 10  # what each slot costs is counted (`observe/slot_stats.py`)
SERVER_COMMAND_LOG: Final = 1 << 11  # commands of any size may be worth a log (`observe/command_log.py`)
SERVER_HOT_KEYS: Final = 1 << 12  # what keys cost is measured (`observe/hot_keys.py`)

#: The gates that commands which only read need not heed.
GATES_OF_WRITES: Final = SERVER_REPLICA | SERVER_WRITES_REFUSED
