"""The command line `clusterctl`: one group, one module per family of verbs."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

import click

from slotmesh.tools.clusterctl.check_fix import check, fix
from slotmesh.tools.clusterctl.create import create
from slotmesh.tools.clusterctl.errors import EXIT_CODE_HELP, EXIT_INTERRUPTED
from slotmesh.tools.clusterctl.failover import failover
from slotmesh.tools.clusterctl.local_verbs import down, logs, ps
from slotmesh.tools.clusterctl.look import call, info, nodes, slots, status
from slotmesh.tools.clusterctl.nodes_verbs import add_node, del_node
from slotmesh.tools.clusterctl.ping import ping
from slotmesh.tools.clusterctl.slots_verbs import rebalance, reshard
from slotmesh.tools.clusterctl.up import up

FAMILIES: tuple[tuple[str, tuple[click.Command, ...]], ...] = (
    ("A cluster on this machine", (up, down, ps, logs)),
    ("Looking", (status, check, ping, info, nodes, slots, call)),
    ("Changing", (create, add_node, del_node, failover, reshard, rebalance, fix)),
)  # fmt: skip


class VerbGroup(click.Group):
    """Lists the verbs by family, in the order in which one meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [command.name or "" for _, commands in FAMILIES for command in commands]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for family, commands in FAMILIES:
            with formatter.section(family):
                formatter.write_dl([(command.name or "", command.get_short_help_str(80)) for command in commands])


@click.version_option(version("slotmesh"), prog_name="clusterctl")
@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODE_HELP)
def cli() -> None:
    """Create, look at, change and repair a cluster of slotmesh or stock Redis nodes.

    Every verb takes --json and --help. Verbs that talk to a cluster find it through --node HOST:PORT, the variable
    CLUSTERCTL_NODE, or the local cluster of `clusterctl up`. TLS is not supported yet.
    """


for _family, _commands in FAMILIES:
    for _command in _commands:
        cli.add_command(_command)


def main() -> None:
    """Console entry point."""
    try:
        cli(prog_name="clusterctl")
    except BrokenPipeError:
        # The reader (head, less) has gone; point stdout elsewhere, or the interpreter complains while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
