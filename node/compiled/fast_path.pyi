from slotmesh.node.clients.blocking import Blocking
from slotmesh.node.clients.client import Client
from slotmesh.node.observe.calls import CallReports
from slotmesh.node.serving.fast_path import Finish, Kinds, Offsets
from slotmesh.node.state import NodeState

class FastPath:
    def __init__(
        self,
        state: NodeState,
        blocking: Blocking,
        stream: Offsets,
        reports: CallReports,
        kinds: type[Kinds],
        finish: Finish,
    ) -> None: ...
    def run(self, client: Client, commands: list[list[bytes]], position: int, until_ns: int) -> int: ...
