"""CLIENT IMPORT-SOURCE: this connection brings the data of another server (`node/clients/import_mode.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError, ErrorReply
from slotmesh.node.clients.client import GATE_IMPORT
from slotmesh.node.commands.client import declare
from slotmesh.node.resp.values import OK
from slotmesh.node.spec.registry import LOADING, NOSCRIPT, STALE

if TYPE_CHECKING:
    from slotmesh.node.server import NodeClient

_NOT_IMPORTING: Final = ErrorReply("ERR Server is not in import mode")


@declare(
    "import-source",
    arity=3,
    syntax="<ON | OFF>",
    flags=NOSCRIPT | LOADING | STALE,
    since="8.1.0",
    complexity="O(1)",
    summary="Decides whether this connection finds expired keys, in import mode.",
)
def cmd_client_import_source(client: NodeClient, argv: list[bytes]) -> Any:
    if not client.server.config.import_mode:
        raise CommandError(_NOT_IMPORTING)
    word = argv[2].lower()
    if word not in (b"on", b"off"):
        raise CommandError(errors.SYNTAX)
    client.set_gate(GATE_IMPORT, word == b"on")
    return OK
