"""Make the stock Redis binaries available for the tests that compare with them, if that is easily done.

Run by `make test` before pytest. Where redis-server is missing, and this is a Debian-like machine and we are root, it
is installed; otherwise one line says that those tests will be skipped. It never fails the run: the stock binaries are a
yardstick, not a dependency. The package starts a server on 6379 by itself; one that we installed is stopped and
disabled again, as it would sit on a port that belongs to the user.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

PROGRAM = "redis-server"
PACKAGES = ("redis-server", "redis-tools", "redis-sentinel")
SERVICES = ("redis-server", "redis-sentinel")
APT_TIMEOUT_S = 300


def main() -> None:
    """Install the stock binaries or say why not."""
    if shutil.which(PROGRAM):
        return
    obstacle = _why_not_installable()
    if obstacle is None:
        print(f"stock redis is missing: installing {', '.join(PACKAGES)} for the comparison tests", flush=True)
        obstacle = _install()
    if obstacle is not None:
        print(f"stock redis-server is not on PATH ({obstacle}): tests that compare with it will be skipped", flush=True)


def _why_not_installable() -> str | None:
    if shutil.which("apt-get") is None:
        return "no apt-get here"
    return None if os.geteuid() == 0 else "only root can install it"


def _install() -> str | None:
    """What went wrong, or None."""
    installed = _apt("install") or (_apt("update") and _apt("install"))
    if not installed or shutil.which(PROGRAM) is None:
        return "apt-get could not install it"
    _leave_services_stopped()
    return None


def _apt(*verb: str) -> bool:
    packages = PACKAGES if verb == ("install",) else ()
    return _quiet(["apt-get", "-qq", "-y", "--no-install-recommends", *verb, *packages], APT_TIMEOUT_S)


def _leave_services_stopped() -> None:
    """Undo the automatic start, with whichever service manager there is."""
    for service in SERVICES:
        if shutil.which("systemctl") and _quiet(["systemctl", "disable", "--now", service], 60):
            continue
        if shutil.which("service"):
            _quiet(["service", service, "stop"], 60)


def _quiet(command: Sequence[str], timeout_s: int) -> bool:
    """Whether the command succeeded; its output is of no interest."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


if __name__ == "__main__":
    main()
