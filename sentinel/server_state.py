"""What a sentinel's server side, its INFO and the commands about connections share: settings, sessions, totals."""

from __future__ import annotations

import trio
from attrs import Factory, define

from slotmesh.sentinel.access import Access
from slotmesh.sentinel.config import ServerOptions
from slotmesh.sentinel.driver import Driver
from slotmesh.sentinel.session import Session


@define(eq=False)
class ServerState:
    """State of the server side. `driver` is there while clients are served; who sets `stopping` ends the process."""

    options: ServerOptions
    access: Access
    started_ms: int  # monotonic
    driver: Driver | None = None
    sessions: dict[int, Session] = Factory(dict)
    # since the start
    total_connections: int = 0
    total_commands: int = 0
    rejected: int = 0
    stopping: trio.Event = Factory(trio.Event)
