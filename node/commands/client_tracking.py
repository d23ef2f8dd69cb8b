"""CLIENT TRACKING, CACHING, GETREDIR, TRACKINGINFO: switches of server-assisted caching
(`node/clients/tracking.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slotmesh.node.base import errors
from slotmesh.node.base.errors import CommandError
from slotmesh.node.commands.client import declare
from slotmesh.node.resp.values import OK, OrderedSet
from slotmesh.node.spec.arguments import integer

if TYPE_CHECKING:
    from slotmesh.node.clients.tracking import TrackingState
    from slotmesh.node.server import NodeClient


class _Options:
    """The parsed options of CLIENT TRACKING."""

    __slots__ = ("broadcast", "noloop", "optin", "optout", "prefixes", "redirect")

    def __init__(self, client: NodeClient, argv: list[bytes]) -> None:
        self.redirect = 0
        self.broadcast = self.optin = self.optout = self.noloop = False
        self.prefixes: list[bytes] = []
        i = 3
        while i < len(argv):
            word = argv[i].lower()
            if word == b"redirect" and i + 1 < len(argv):
                i += 1
                self._set_redirect(client, argv[i])
            elif word == b"prefix" and i + 1 < len(argv):
                i += 1
                self.prefixes.append(argv[i])
            elif word == b"bcast":
                self.broadcast = True
            elif word == b"optin":
                self.optin = True
            elif word == b"optout":
                self.optout = True
            elif word == b"noloop":
                self.noloop = True
            else:
                raise CommandError(errors.SYNTAX)
            i += 1

    def _set_redirect(self, client: NodeClient, word: bytes) -> None:
        if self.redirect:
            raise CommandError("ERR A client can only redirect to a single other client")
        self.redirect = integer(word)
        if self.redirect not in client.server.clients:
            raise CommandError("ERR The client ID you want redirect to does not exist")

    def check(self, client: NodeClient) -> None:
        """Whether they fit each other and what the client has switched on. Raises CommandError."""
        state: TrackingState | None = client.tracking
        if self.prefixes and not self.broadcast:
            raise CommandError("ERR PREFIX option requires BCAST mode to be enabled")
        if state is not None and state.broadcast != self.broadcast:
            raise CommandError(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then "
                "re-enabling it with a different mode."
            )
        if self.broadcast and (self.optin or self.optout):
            raise CommandError("ERR OPTIN and OPTOUT are not compatible with BCAST")
        if self.optin and self.optout:
            raise CommandError("ERR You can't specify both OPTIN mode and OPTOUT mode")
        if state is not None and ((self.optin and state.optout) or (self.optout and state.optin)):
            raise CommandError(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then "
                "re-enabling it with a different mode."
            )
        if self.broadcast:
            client.server.tracking.check_prefixes(client, self.prefixes)


@declare(
    "tracking",
    arity=-3,
    syntax=("<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]"),
    since="6.0.0",
    complexity="O(P), P the prefixes named",
    summary="Switches the tracking of keys for caching on the client's side.",
)
def cmd_client_tracking(client: NodeClient, argv: list[bytes]) -> Any:
    options = _Options(client, argv)
    switch = argv[2].lower()
    if switch == b"off":
        client.server.tracking.turn_off(client)
    elif switch == b"on":
        options.check(client)
        client.server.tracking.turn_on(
            client,
            redirect=options.redirect,
            broadcast=options.broadcast,
            optin=options.optin,
            optout=options.optout,
            noloop=options.noloop,
            prefixes=options.prefixes,
        )
        client.server.client_eviction.named(len(options.prefixes))
    else:
        raise CommandError(errors.SYNTAX)
    return OK


@declare(
    "caching",
    arity=3,
    syntax="<YES | NO>",
    since="6.0.0",
    complexity="O(1)",
    summary="Decides whether the keys of the next command are tracked.",
)
def cmd_client_caching(client: NodeClient, argv: list[bytes]) -> Any:
    state: TrackingState | None = client.tracking
    if state is None:
        raise CommandError(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode "
            "enabled"
        )
    word = argv[2].lower()
    if word not in (b"yes", b"no"):
        raise CommandError(errors.SYNTAX)
    if word == b"yes" and not state.optin:
        raise CommandError("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
    if word == b"no" and not state.optout:
        raise CommandError("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
    state.caching = True
    return OK


@declare(
    "getredir",
    arity=2,
    since="6.0.0",
    complexity="O(1)",
    summary="Returns the id of the client that gets this connection's invalidation messages.",
)
def cmd_client_getredir(client: NodeClient, argv: list[bytes]) -> Any:
    return client.tracking.redirect if client.tracking is not None else -1


@declare(
    "trackinginfo",
    arity=2,
    since="6.2.0",
    complexity="O(P), P the prefixes of this connection",
    summary="Describes the tracking of this connection.",
)
def cmd_client_trackinginfo(client: NodeClient, argv: list[bytes]) -> Any:
    state: TrackingState | None = client.tracking
    if state is None:
        return {b"flags": OrderedSet([b"off"]), b"redirect": -1, b"prefixes": []}
    flags = (
        (b"on", True),
        (b"bcast", state.broadcast),
        (b"optin", state.optin),
        (b"caching-yes", state.optin and state.caching),
        (b"optout", state.optout),
        (b"caching-no", state.optout and state.caching),
        (b"noloop", state.noloop),
        (b"broken_redirect", state.broken_redirect),
    )
    return {
        b"flags": OrderedSet([word for word, on in flags if on]),
        b"redirect": state.redirect,
        b"prefixes": sorted(state.prefixes),
    }
