"""Import mode (Valkey 8.1): this primary takes in the data of another server that still runs, by a tool.

The other server decides what expires, and says so by DEL in its stream. If this one did so as well, a key could be gone
here while its next INCR is on the way. So while `import-mode` is on, nothing is removed because its time has come, nor
to make room; for most clients such a key is hidden all the same. The tool, which says CLIENT IMPORT-SOURCE ON, finds
it.

What is the primary's to decide is not ours: on a replica the mode has no effect.
"""

from __future__ import annotations

from typing import Protocol

from slotmesh.node.clients.client import Client
from slotmesh.node.keyspace.database import HIDE_FROM_READS
from slotmesh.node.state import NodeState


class Role(Protocol):
    """What this node is to others."""

    @property
    def is_replica(self) -> bool:
        """Whether it follows a primary."""

    def refresh_expiry_mode(self) -> None:
        """To be called when the mode has changed."""


class Importing:
    """The import mode of one node."""

    def __init__(self, state: NodeState, role: Role) -> None:
        self._state = state
        self._role = role
        state.config.on_change("import-mode", lambda _: role.refresh_expiry_mode())

    @property
    def is_on(self) -> bool:
        """Whether it has an effect."""
        return self._state.config.import_mode and not self._role.is_replica

    def sees_expired(self, client: Client) -> bool:
        """Whether keys past their expiry are there for the commands of this client, which has `GATE_IMPORT`."""
        return self.is_on and self._state.keyspace.expiry_mode == HIDE_FROM_READS
