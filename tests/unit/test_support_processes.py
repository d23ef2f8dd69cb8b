from pathlib import Path

import pytest

from tests.support import processes


class _Clock:
    """A time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_wait_until_condition_never_true_names_what_and_last_value(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock()
    monkeypatch.setattr(processes, "time", clock)
    looks: list[float] = []

    def look() -> bool:
        looks.append(clock.now)
        return False

    with pytest.raises(AssertionError, match=r"the moon.*last seen: False"):
        processes.wait_until(look, 1.0, "the moon", poll_s=0.25)
    assert looks == [0, 0.25, 0.5, 0.75, 1.0, 1.25]


def test_free_ports_many_are_distinct() -> None:
    ports = processes.free_ports(20, cluster=True)
    assert len(set(ports)) == 20


@pytest.mark.stock
@pytest.mark.skipif(not processes.have_stock(), reason="stock redis-server not on PATH")
def test_start_stock_server_kill_and_restart_keeps_the_port(tmp_path: Path) -> None:
    with processes.start_stock_server(tmp_path / "a") as server:
        assert server.call("SET", "k", "v") == b"OK"
        first_pid = server.pid
        server.kill9()
        assert not server.running
        server.restart()
        assert server.pid != first_pid
        assert server.call("GET", "k") is None
    assert not server.running


@pytest.mark.stock
@pytest.mark.skipif(not processes.have_stock(), reason="stock redis-server not on PATH")
def test_start_stock_cluster_all_nodes_agree(tmp_path: Path) -> None:
    with processes.start_stock_cluster(tmp_path) as cluster:
        assert len(cluster.nodes) == 6
        client = cluster.client()
        assert client.set("foo", "bar")
        assert client.get("foo") == b"bar"
        client.close()
