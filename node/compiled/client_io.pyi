from slotmesh.node.clients.client import Client
from slotmesh.node.compiled.fast_path import FastPath
from slotmesh.node.server import Server
from slotmesh.node.serving.client_io import Input
from slotmesh.node.serving.data_plane import DataPlane

class ClientIO:
    def __init__(
        self, server: Server, client: type[Client], path: FastPath, plane: DataPlane, input: Input
    ) -> None: ...
    def receive(
        self, events: list[tuple[int, int]], clients: dict[int, Client], turn_ns: int, share_ns: int
    ) -> list[tuple[int, int]]: ...
    def send(self, touched: list[Client]) -> list[Client]: ...
