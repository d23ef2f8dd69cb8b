"""Browsers that were made to speak to us.

A web page can have a browser send a POST to any address that the browser reaches. Lines of such a request that are no
commands would get errors, and lines that are would run. So `POST` and `Host:`, one of which every HTTP request has,
end the connection, as in stock since 3.2.7.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from slotmesh.node.clients.client import Client

log = logging.getLogger("node")

#: In place of a command, in lower case.
HTTP_WORDS: Final = frozenset((b"post", b"host:"))
#: An attack is logged no more often.
LOG_EVERY_MS: Final = 60_000


class HttpGuard:
    """Turns such clients away, and tells the operator."""

    def __init__(self) -> None:
        self._logged_ms = 0

    def turn_away(self, client: Client) -> None:
        """Close the connection of `client`. It gets no reply any more, nor does what it sent behind this run."""
        now_ms = client.server.state.clock.now_ms
        if abs(now_ms - self._logged_ms) > LOG_EVERY_MS:
            self._logged_ms = now_ms
            log.warning(
                "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Redis. "
                "This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your Redis "
                "instance. Connection%s aborted.",
                "" if client.addr.startswith("/") else f" from {client.addr}",
            )
        client.server.data_plane.drop(client)
