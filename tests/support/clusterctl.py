"""Running the real clusterctl as a subprocess."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs

from tests.support.processes import PROJECT_ROOT

COMMAND = (sys.executable, "-m", "slotmesh.tools.clusterctl")


@attrs.frozen
class Outcome:
    """What one run ended with."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The single object on standard output."""
        value = json.loads(self.stdout)
        assert isinstance(value, dict)
        return value

    def ok(self) -> Outcome:
        """Itself, after asserting success."""
        assert self.code == 0, f"status {self.code}\n{self.stdout}\n{self.stderr}"
        return self


def environment(home: Path) -> dict[str, str]:
    """Ours, minus what would leak in from the developer's shell; journals go under `home`."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CLUSTERCTL_", "REDISCLI_", "SLOTMESH_"))}
    return {**clean, "SLOTMESH_HOME": str(home), "PYTHONPATH": str(PROJECT_ROOT)}


def start(home: Path, *args: object) -> subprocess.Popen[str]:
    """clusterctl in the background, without a terminal, run in `home`."""
    home.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [*COMMAND, *map(str, args)],
        cwd=home,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(home: Path, *args: object, timeout_s: float = 240.0) -> Outcome:
    """clusterctl to its end. No run may ever show a traceback."""
    with start(home, *args) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            raise AssertionError(f"clusterctl {args} did not end:\n{stdout}\n{stderr}") from None
    assert "Traceback" not in stderr + stdout, stderr
    return Outcome(process.returncode, stdout, stderr)
