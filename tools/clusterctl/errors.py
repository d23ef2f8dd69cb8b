"""What can go wrong for an operator, as one exception type per exit status.

An operator's mistake or a broken cluster is never a traceback: every verb ends in one line that says what is wrong and,
where there is one, a second that says what to do. `--json` prints the same as an object. A traceback means a bug of
ours, and only then is one shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNHEALTHY = 3
EXIT_CANNOT_CONNECT = 4
EXIT_REFUSED = 5
EXIT_INTERRUPTED = 130

EXIT_CODE_HELP = """\b
Exit status:
  0    done, or nothing to do
  1    the operation failed on the way; the message says how far it came
  2    wrong usage (unknown option, bad value)
  3    the cluster is not healthy (check, status), or too unhealthy for the verb
  4    cannot connect, or the password is wrong
  5    refused to do something unsafe (data in the way, no --yes without a terminal)
  130  interrupted by Ctrl-C; what was begun has been finished cleanly
"""


class ClusterctlError(Exception):
    """Base of everything that ends a verb early. `hint` says what to do next."""

    exit_code = EXIT_FAILED
    kind = "failed"

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class OperationFailed(ClusterctlError):
    """A node refused a step, or a condition did not come true in time."""


class UsageMistake(ClusterctlError):
    """The options contradict each other or name something that does not exist."""

    exit_code = EXIT_USAGE
    kind = "usage"


class Unhealthy(ClusterctlError):
    """The cluster is in a state in which the verb would do harm or cannot work."""

    exit_code = EXIT_UNHEALTHY
    kind = "unhealthy"


class CannotConnect(ClusterctlError):
    """No connection, a connection that broke, a timeout, or a wrong password."""

    exit_code = EXIT_CANNOT_CONNECT
    kind = "cannot_connect"


class StillLoading(CannotConnect):
    """The node is alive and loads its data set; it will serve when it is done."""


class WrongPassword(CannotConnect):
    """The node wants a password, or another one, or does not know the user."""


class Refused(ClusterctlError):
    """Unsafe without an explicit word of the operator."""

    exit_code = EXIT_REFUSED
    kind = "refused"


class Interrupted(ClusterctlError):
    """Ctrl-C, after what was begun has been finished."""

    exit_code = EXIT_INTERRUPTED
    kind = "interrupted"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn what the system says about files into one line that names the file, or `path` where the system does not."""
    try:
        yield
    except OSError as error:
        place = error.filename if isinstance(error.filename, str) else path
        raise OperationFailed(f"{place}: {str(error.strerror).lower()}", "choose another place with --dir?") from error


class ServerError(OperationFailed):
    """A node answered a command with an error. `text` is the whole error as sent, code included."""

    kind = "server_error"

    def __init__(self, where: str, command: str, text: str) -> None:
        super().__init__(f"{where} refused {command}: {text}")
        self.text = text

    @property
    def code(self) -> str:
        """The first word of the error: ERR, MOVED, BUSYKEY, ..."""
        return self.text.split(" ", 1)[0]
