"""The verb ping: does this one process answer? The health check of containers, so it asks nothing else and is quick."""

from __future__ import annotations

import click

from slotmesh.tools.clusterctl.connect import Access, NodeLink, parse_address, words
from slotmesh.tools.clusterctl.errors import OperationFailed
from slotmesh.tools.clusterctl.output import Output
from slotmesh.tools.clusterctl.session import access_options, finish_with_exit_status, json_option, verb_name


@click.command()
@click.argument("address", metavar="HOST:PORT")
@access_options
@json_option
def ping(address: str, password: str | None, user: str | None, timeout_s: float, json_mode: bool) -> None:
    """Say whether a node or sentinel answers. Exit status 4 when it does not, 1 while it loads its data."""
    out = Output(verb_name(), json_mode)

    def body() -> None:
        with NodeLink(parse_address(address), Access(user, password, timeout_s)) as link:
            answer = words(link.call("PING"))
        if answer != "PONG":
            raise OperationFailed(f"{address} answers {answer!r}")
        out.say(f"{address} answers", "green")
        out.finish({"address": address, "answer": answer})

    finish_with_exit_status(out, body)
