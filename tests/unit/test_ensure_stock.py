from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import Any

import pytest

from slotmesh.tools import ensure_stock


class Machine:
    """A made-up machine: which programs exist, who we are, which commands work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, programs: set[str], uid: int = 0, works: bool = True) -> None:
        self.programs = programs
        self.works = works
        self.commands: list[list[str]] = []
        monkeypatch.setattr(shutil, "which", lambda name: name if name in self.programs else None)
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        monkeypatch.setattr(ensure_stock, "_quiet", self.run)

    def run(self, command: Sequence[str], timeout_s: int) -> bool:
        self.commands.append(list(command))
        if self.works and "install" in command:
            self.programs.add("redis-server")
        return self.works


def test_main_server_present_is_silent(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    machine = Machine(monkeypatch, {"redis-server", "apt-get"})
    ensure_stock.main()
    assert machine.commands == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("programs", "uid", "reason"),
    [({"apt-get"}, 1000, "only root can install it"), (set(), 0, "no apt-get here")],
)
def test_main_not_installable_says_why_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, programs: set[str], uid: int, reason: str
) -> None:
    machine = Machine(monkeypatch, programs, uid)
    ensure_stock.main()
    assert machine.commands == []
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert reason in lines[0]
    assert "skipped" in lines[0]


def test_main_root_with_apt_installs_and_stops_the_services(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    machine = Machine(monkeypatch, {"apt-get", "systemctl"})
    ensure_stock.main()
    assert "install" in machine.commands[0]
    assert ["systemctl", "disable", "--now", "redis-server"] in machine.commands
    assert ["systemctl", "disable", "--now", "redis-sentinel"] in machine.commands
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_main_apt_failing_does_not_fail_the_run(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    machine = Machine(monkeypatch, {"apt-get"}, works=False)
    ensure_stock.main()
    assert any("update" in command for command in machine.commands)
    assert "skipped" in capsys.readouterr().out
