from node.client import Client
from node.compiled.road import StraightRoad
from node.data_plane import DataPlane
from node.input import Input
from node.server import Server

class Turn:
    def __init__(
        self, server: Server, client: type[Client], road: StraightRoad, plane: DataPlane, input: Input
    ) -> None: ...
    def receive(
        self, events: list[tuple[int, int]], clients: dict[int, Client], turn_ns: int, share_ns: int
    ) -> list[tuple[int, int]]: ...
    def send(self, touched: list[Client]) -> list[Client]: ...
