from node.client import Client
from node.server import Server
from node.straight import Finish, Kinds

class StraightRoad:
    def __init__(self, server: Server, kinds: type[Kinds], finish: Finish) -> None: ...
    def run(self, client: Client, commands: list[list[bytes]], position: int, until_ns: int) -> int: ...
