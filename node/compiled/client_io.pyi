from slotmesh.node.clients.blocking import Blocking
from slotmesh.node.clients.client import Client
from slotmesh.node.compiled.fast_path import FastPath
from slotmesh.node.serving.client_io import Input
from slotmesh.node.serving.data_plane import DataPlane
from slotmesh.node.state import NodeState

class ClientIO:
    def __init__(
        self, state: NodeState, blocking: Blocking, client: type[Client], path: FastPath, plane: DataPlane, input: Input
    ) -> None: ...
    def receive(
        self, events: list[tuple[int, int]], clients: dict[int, Client], turn_ns: int, share_ns: int
    ) -> list[tuple[int, int]]: ...
    def send(self, touched: list[Client]) -> list[Client]: ...
