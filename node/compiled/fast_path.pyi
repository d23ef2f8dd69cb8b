from slotmesh.node.clients.client import Client
from slotmesh.node.server import Server
from slotmesh.node.serving.fast_path import Finish, Kinds

class FastPath:
    def __init__(self, server: Server, kinds: type[Kinds], finish: Finish) -> None: ...
    def run(self, client: Client, commands: list[list[bytes]], position: int, until_ns: int) -> int: ...
