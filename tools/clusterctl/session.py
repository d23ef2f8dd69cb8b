"""What every verb that talks to a cluster has in common: its options, its seeds, its way to end.

`@cluster_verb` turns a function `(session, **options)` into a click command with the common options. The wrapper is the
single place where an error becomes one line (or one JSON object) and an exit status. Seeds are, in this order: --node,
the variable CLUSTERCTL_NODE, the nodes of the local cluster that `clusterctl up` made in --dir, and 127.0.0.1:7001.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from slotmesh.cluster.plan import Address, PlanError
from slotmesh.tools.clusterctl.connect import Access, parse_address
from slotmesh.tools.clusterctl.errors import EXIT_INTERRUPTED, ClusterctlError, Refused, UsageMistake
from slotmesh.tools.clusterctl.output import Output
from slotmesh.tools.clusterctl.view import ClusterView

DEFAULT_DIRECTORY = Path(".cluster")
STATE_FILE = "cluster.json"
DEFAULT_SEED = Address("127.0.0.1", 7001)

F = TypeVar("F", bound=Callable[..., Any])


@attrs.define
class Session:
    """One run of one verb."""

    access: Access
    seeds: Sequence[Address]
    directory: Path
    out: Output

    def load(self) -> ClusterView:
        """A fresh snapshot of the cluster."""
        return ClusterView.load(self.seeds, self.access)

    @property
    def plan_directory(self) -> Path:
        """Where journals live: with the local cluster if that is the one talked to, else in the home directory."""
        if (self.directory / STATE_FILE).exists() and set(self.seeds) & set(seeds_of_state(self.directory)):
            return self.directory / "plans"
        return Path(os.environ.get("SLOTMESH_HOME") or Path.home() / ".slotmesh") / "plans"

    def confirm(self, question: str, yes: bool) -> None:
        """Ask before something happens. Without a terminal nobody can answer, so --yes is needed."""
        if yes:
            return
        if not sys.stdin.isatty() or self.out.json_mode:
            look_first = ", or look first with --dry-run" if _has_option("dry_run") else ""
            raise Refused(f"{question} Nobody can be asked here.", f"repeat with --yes{look_first}")
        if not click.confirm(question, default=False):
            raise Refused("nothing has been changed")


def seeds_of_state(directory: Path) -> list[Address]:
    """Node addresses of the local cluster in `directory`; empty when there is none."""
    path = directory / STATE_FILE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return [Address(entry["host"], entry["port"]) for entry in state["processes"] if entry["kind"] == "node"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageMistake(f"the state file {path} cannot be read: {error}", "remove it, or name --dir") from error


def json_option(function: F) -> F:
    return click.option("--json", "json_mode", is_flag=True, help="Print one JSON object on standard output.")(function)


def directory_option(function: F) -> F:
    return click.option(
        "--dir",
        "directory",
        type=click.Path(file_okay=False, path_type=Path),
        default=DEFAULT_DIRECTORY,
        show_default=True,
        help="State directory of the local cluster.",
    )(function)


def access_options(function: F) -> F:
    for option in (
        click.option("--timeout", "timeout_s", type=click.FloatRange(0.1), default=5.0, show_default=True,
                     help="Seconds to wait for a connection or a reply."),
        click.option("--user", help="ACL user name."),
        click.option("--ask-password", is_flag=True, expose_value=False, is_eager=True, callback=_ask_password,
                     help="Ask for the password."),
        click.option("--password-file", type=click.Path(dir_okay=False, path_type=Path), expose_value=False,
                     is_eager=True, callback=_read_password, help="File whose first line is the password."),
        click.option("-a", "--password", envvar="REDISCLI_AUTH", show_envvar=True, callback=_take_password,
                     help="Password of all nodes; everybody on this machine can see it in the list of processes."),
    ):  # fmt: skip
        function = option(function)
    return function


_PASSWORD_KEY = "clusterctl.password"


def _ask_password(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        context.meta[_PASSWORD_KEY] = click.prompt("Password", hide_input=True, err=True)


def _read_password(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = str(error.strerror).lower() if isinstance(error, OSError) else "not text in UTF-8"
        raise click.BadParameter(f"{path} cannot be read: {reason}", context, parameter) from error
    if not lines or not lines[0]:
        raise click.BadParameter(f"the first line of {path} is empty", context, parameter)
    context.meta[_PASSWORD_KEY] = lines[0]


def _take_password(context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    """The one password, from wherever it was given: the explicit ways win over the environment."""
    other: str | None = context.meta.get(_PASSWORD_KEY)
    if other is None:
        return given
    if context.get_parameter_source("password") is click.core.ParameterSource.COMMANDLINE:
        raise click.BadParameter("the password is given twice", context, parameter)
    return other


def yes_option(function: F) -> F:
    return click.option("--yes", "-y", is_flag=True, help="Do not ask.")(function)


def dry_run_option(function: F) -> F:
    return click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")(function)


def finish_with_exit_status(out: Output, body: Callable[[], None]) -> None:
    """Run a verb; end the process with the status of what it raises."""
    try:
        body()
    except PlanError as error:
        mistake = UsageMistake(str(error))
        out.fail(mistake)
        sys.exit(mistake.exit_code)
    except ClusterctlError as error:
        out.fail(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        out.say("interrupted", "red")
        sys.exit(EXIT_INTERRUPTED)


def verb_name() -> str:
    return click.get_current_context().info_name or ""


def _has_option(parameter: str) -> bool:
    """Whether the verb that runs has such an option."""
    context = click.get_current_context(silent=True)
    return context is not None and any(one.name == parameter for one in context.command.params)


def _is_given(parameter: str) -> bool:
    """Whether the operator has written the option down (and it is not just the default)."""
    return click.get_current_context().get_parameter_source(parameter) is click.core.ParameterSource.COMMANDLINE


def cluster_verb(function: Callable[..., None]) -> Callable[..., None]:
    """Add the common options of verbs that talk to a running cluster, and pass a `Session` first."""

    @functools.wraps(function)
    def wrapper(
        nodes: Sequence[str],
        password: str | None,
        user: str | None,
        timeout_s: float,
        directory: Path,
        json_mode: bool,
        **options: Any,
    ) -> None:
        out = Output(verb_name(), json_mode)

        def body() -> None:
            access = Access(user, password, timeout_s)
            if not nodes and _is_given("directory") and not (directory / STATE_FILE).exists():
                raise UsageMistake(f"there is no local cluster in {directory}", "`clusterctl up --dir` makes one")
            function(Session(access, find_seeds(nodes, directory), directory, out), **options)

        finish_with_exit_status(out, body)

    with_options = json_option(directory_option(access_options(wrapper)))
    return click.option(
        "--node",
        "-n",
        "nodes",
        multiple=True,
        metavar="HOST:PORT",
        help="A node of the cluster; may be repeated. Default: CLUSTERCTL_NODE, the local cluster, 127.0.0.1:7001.",
    )(with_options)


def find_seeds(nodes: Sequence[str], directory: Path, environment: Mapping[str, str] = os.environ) -> list[Address]:
    """The addresses to try, best first."""
    named = list(nodes) or environment.get("CLUSTERCTL_NODE", "").replace(",", " ").split()
    if named:
        return [parse_address(text) for text in named]
    return seeds_of_state(directory) or [DEFAULT_SEED]
