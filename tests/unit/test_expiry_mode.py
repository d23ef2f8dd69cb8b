"""What commands do with keys past their expiry has one owner, whose scopes restore themselves."""

from __future__ import annotations

import re
from pathlib import Path

from slotmesh.node.keyspace.database import DELETE, HIDE, IGNORE
from slotmesh.node.keyspace.keyspace import Keyspace

NODE = Path(__file__).resolve().parents[2] / "node"


def test_scopes_nest_and_restore_the_mode_for_clients() -> None:
    keyspace = Keyspace()
    with keyspace.expiry_ignored:
        with keyspace.expiry_ignored:
            assert keyspace.expiry_mode == IGNORE
        assert keyspace.expiry_mode == IGNORE
    assert keyspace.expiry_mode == DELETE


def test_role_that_changes_inside_of_a_scope_holds_after_it() -> None:
    keyspace = Keyspace()
    with keyspace.expiry_ignored:
        keyspace.expiry_ignored.otherwise(HIDE)
        assert keyspace.expiry_mode == IGNORE
    assert keyspace.expiry_mode == HIDE


def test_nobody_else_writes_the_mode() -> None:
    writers = {
        str(path.relative_to(NODE))
        for path in NODE.rglob("*.py")
        if re.search(r"\bexpiry_mode\s*=[^=]", path.read_text())
    }
    assert writers == {"keyspace/keyspace.py"}
