"""INFO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slotmesh.node.resp.values import Verbatim
from slotmesh.node.spec.registry import LOADING, STALE, command

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient


@command(
    "info",
    arity=-1,
    syntax="[section [section ...]]",
    flags=LOADING | STALE,
    group="server",
    since="1.0.0",
    complexity="O(N), N the commands and clients for the sections that list them, else O(1)",
    summary="Tells how the server is: all sections that matter by default, or those named.",
    categories=("dangerous",),
    tips=(b"nondeterministic_output", b"request_policy:all_shards", b"response_policy:special"),
)
def cmd_info(client: NodeClient, argv: list[bytes]) -> Any:
    text = client.server.info.text(word.decode("latin-1") for word in argv[1:])
    return Verbatim(text.encode("utf-8", "surrogateescape"))
