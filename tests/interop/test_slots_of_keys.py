"""Loaded keys of slots that nodes.conf does not give a node: ownerless slots are taken, those of others are marked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import ServerHandle, have_stock, start_node, start_stock_server, wait_until

OTHER = "a" * 40
NODES = [
    start_node,
    pytest.param(start_stock_server, marks=pytest.mark.skipif(not have_stock(), reason="no redis-server")),
]


def _stored(node: ServerHandle) -> list[str]:
    return (node.directory / "nodes.conf").read_text().splitlines()


@pytest.mark.parametrize("start", NODES)
def test_slots_of_loaded_keys_are_taken_or_marked_as_importing(
    tmp_path: Path, start: Callable[..., ServerHandle]
) -> None:
    with start(tmp_path, cluster=True) as node:
        node.call("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        wait_until(lambda: node.call("SET", "a", "1"), 20, "the cluster is up")  # slot 15495
        node.call("SAVE")
        node.stop()
        (tmp_path / "nodes.conf").unlink()
        node.restart()
        assert [line.split()[8:] for line in _stored(node) if "myself" in line] == [["15495"]]
        node.stop()

        me = next(line for line in _stored(node) if "myself" in line)
        other = f"{OTHER} 127.0.0.1:1@10001 master - 0 0 1 connected 0-16383"
        without_slots = " ".join(me.split()[:8])
        (tmp_path / "nodes.conf").write_text(f"{without_slots}\n{other}\nvars currentEpoch 1 lastVoteEpoch 0\n")
        for path in tmp_path.glob("nodes.conf?*"):
            path.unlink()  # our record beside it, which is of the slots before
        node.restart()
        assert [line.split()[8:] for line in _stored(node) if "myself" in line] == [[f"[15495-<-{OTHER}]"]]
        assert node.call("DBSIZE") == 1
