"""A node of the cluster as its guard sees it (`guard.GuardedNode`)."""

from __future__ import annotations

from slotmesh.cluster.effects import DeliverPublish
from slotmesh.cluster.guard import SENTINEL_CHANNEL
from slotmesh.cluster.heartbeat import broadcast, build_header
from slotmesh.cluster.messages import Publish
from slotmesh.cluster.view import ClusterView


class GuardedMember:
    """What the view knows, in the guard's words; node ids are the ids."""

    __slots__ = ("_view",)

    def __init__(self, view: ClusterView) -> None:
        self._view = view

    @property
    def now_ms(self) -> int:
        return self._view.now_ms

    @property
    def own_id(self) -> str:
        return self._view.myself.node_id

    @property
    def primary_id(self) -> str:
        me = self._view.myself
        if me.is_primary:
            return ""
        return me.primary.node_id if me.primary is not None else "?"

    @property
    def hands_over(self) -> bool:
        return self._view.paused_offset is not None

    @property
    def newest_epoch(self) -> int:
        return self._view.epochs.current_epoch

    def save(self) -> None:
        self._view.save(sync=True)

    def notice(self, text: str) -> None:
        self._view.notice("guarded", text)

    def publish(self, payload: bytes) -> None:
        """The sentinels listen to some nodes of the cluster: tell them here and over the bus."""
        view = self._view
        view.emit(DeliverPublish(SENTINEL_CHANNEL, payload, False))
        broadcast(view, Publish(build_header(view), SENTINEL_CHANNEL, payload))
