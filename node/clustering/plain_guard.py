"""A node without a cluster under the guard of our sentinels (docs/adr/0053).

The rules are those of the nodes of a cluster (`cluster/guard.py`); this module lets the guard see its node, keeps what
has to survive a restart (`guard_file.py`), and ties the node's writes to the leases from the first guard on. Ids: this
process is its run id, others are `host:port`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from slotmesh.cluster.bus import BusClock
from slotmesh.cluster.guard import SENTINEL_CHANNEL, Fence, Guard, GuardReply
from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clustering.guard_file import GuardFile, SavedGuard
from slotmesh.node.clustering.lease import LEASE_MARGIN_MS, Lease
from slotmesh.node.config.configuration import Config

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("node")


def _host_id(host: str, port: int) -> str:
    """By which an heir is named."""
    return f"{host}:{port}"


class Primary(Protocol):
    """Where the primary of a replica listens."""

    host: str
    port: int


class PlannedFailover(Protocol):
    """FAILOVER, as long as it is under way."""

    @property
    def is_under_way(self) -> bool: ...


class Roles(Protocol):
    """The part of `Replication` that a guard has to do with. A primary has no `link`."""

    @property
    def link(self) -> Primary | None: ...

    @property
    def failover(self) -> PlannedFailover: ...

    def become_primary(self) -> None: ...


class PlainGuard:
    """The guard of one node without a cluster, and what it sees of it (`cluster.guard.GuardedNode`)."""

    def __init__(
        self,
        path: str,
        run_id: str,
        roles: Roles,
        publish: Callable[[bytes, bytes], object],
        tie_writes: Callable[[Lease | None], None],
    ) -> None:
        """Guarded as the file at `path` says. Raises GuardFileError.

        `tie_writes`: what writes depend on from now on, None for nothing; also called when it gives another answer.
        """
        self._run_id = run_id
        self._roles = roles
        self._publish = publish
        self._tie_writes = tie_writes
        self._clock = BusClock()
        self._file = GuardFile(path)
        self._allowed = True
        self.guard = Guard(self)
        self.lease = Lease(self.guard, lambda: self.now_ms, lambda: roles.link is not None, self._follow, self._refusal)
        self._was_primary = not self.primary_id
        saved = self._file.load()
        self.guard.restore(saved.name, saved.voters, saved.fence_epoch)
        self._follow()
        if saved.name:
            log.info("Guarded by the sentinels of %r before this start: no writes without their leases", saved.name)

    def wire(self, config: Config, provide: Callable[[str, Callable[[], Mapping[str, Any]]], None]) -> None:
        """Follow `sentinel-guard` from now on, and show in INFO, by `provide`, how the leases stand."""
        provide("cluster", self.fields)
        config.on_change("sentinel-guard", self.allow)
        self.allow(config.sentinel_guard)

    # -- what the guard sees and asks ------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        return self._clock.now_ms()

    @property
    def own_id(self) -> str:
        return self._run_id

    @property
    def primary_id(self) -> str:
        link = self._roles.link
        return "" if link is None else _host_id(link.host, link.port)

    @property
    def hands_over(self) -> bool:
        return self._roles.failover.is_under_way

    @property
    def newest_epoch(self) -> int:
        return self.guard.fence_epoch

    def save(self) -> None:
        guard = self.guard
        self._file.save(SavedGuard(guard.name, guard.voters, guard.fence_epoch))

    def notice(self, text: str) -> None:
        log.info("%s", text)

    def publish(self, payload: bytes) -> None:
        self._publish(SENTINEL_CHANNEL, payload)

    # -- orders of the sentinels -----------------------------------------------------------------------------

    def on_guard(
        self, name: str, sentinel_id: str, lease_ms: int, voters: int, echo_ms: int, *, watch: bool = False
    ) -> GuardReply:
        """A guard ping. Raises ClusterRefusal, CommandError where this node may not or cannot be guarded.

        A node that cannot remember its guard has none: after a restart it would take writes beside its successor.
        """
        if not self._allowed:
            raise CommandError("ERR This node is not to be guarded: sentinel-guard is no")
        was_armed = self.guard.is_armed
        try:
            reply = self.guard.on_guard(name, sentinel_id, lease_ms, voters, echo_ms, watch=watch)
        except OSError as error:
            if not was_armed:
                self.guard.disarm()
            raise self._not_saved(error) from error
        if not was_armed and self.guard.is_armed:
            self._follow()
        return reply

    def release_guard(self, name: str) -> bool:
        """The sentinels of `name` no longer guard this node; true when they did. Raises CommandError."""
        try:
            released = self.guard.release(name)
        except OSError as error:
            raise self._not_saved(error) from error
        finally:
            self._follow()
        return released

    def take_over(self, fence: Fence) -> None:
        """An order to be the primary, which a node that is one has obeyed already. Raises ClusterRefusal, CommandError.

        It may then write as soon as it is leased.
        """
        if self.hands_over:
            raise CommandError("ERR CLUSTER FAILOVER not allowed while failing over.")
        try:
            self.guard.obey(fence)
        except OSError as error:
            raise self._not_saved(error) from error
        self._roles.become_primary()

    @staticmethod
    def _not_saved(error: OSError) -> CommandError:
        log.warning("The guard file cannot be written: %s", error)
        return CommandError(f"ERR The guard cannot be saved: {error.strerror}")

    # -- the node --------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Have writes tied to leases exactly as long as the node is guarded."""
        self._tie_writes(self.lease if self.guard.is_armed else None)

    def allow(self, wanted: bool) -> None:
        """Whether this node may be guarded (`sentinel-guard`); if not, it is free from now on."""
        self._allowed = wanted
        if not wanted and self.guard.is_armed:
            with contextlib.suppress(CommandError):  # it is free; the log says that this is not on disk
                self.release_guard(self.guard.name)

    def name_heir(self, host: str, port: int) -> None:
        """Our writers are paused: this replica is to be leased in our place (docs/adr/0052)."""
        self.guard.name_heir(_host_id(host, port))

    def end_hand_over(self) -> None:
        """The planned failover came to nothing."""
        self.guard.end_hand_over()

    def _refusal(self) -> ErrorReply:
        guard = self.guard
        return errors.lost_leases(guard.name, guard.lease_count(self.now_ms + LEASE_MARGIN_MS), guard.leases_needed)

    def fields(self) -> dict[str, int | str]:
        """What INFO says: nothing unless sentinels guard this node."""
        if not self.guard.is_armed:
            return {}
        return {"guarded_by": self.guard.name, **self.lease.fields()}

    def look_at_role(self) -> None:
        """A new primary that nobody leases calls the sentinels: their next ping may be a second away."""
        was_primary, self._was_primary = self._was_primary, not self.primary_id
        if self._was_primary and not was_primary and self.lease.fenced():
            self.guard.call_sentinels()
