"""Replication between stock redis-server and our node, in both directions and in chains."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import datasets
from tests.support.processes import ServerHandle, start_node, start_stock_server, wait_until
from tests.support.replication import (
    OPTIONS,
    CuttableLink,
    assert_equal_data,
    follow,
    offset,
    run_pipeline,
    wait_in_step,
    wait_linked,
    write_random,
)

pytestmark = pytest.mark.stock

Start = Callable[..., ServerHandle]

PAIRS = [
    pytest.param(start_node, start_stock_server, id="stock follows us"),
    pytest.param(start_stock_server, start_node, id="we follow stock"),
    pytest.param(start_node, start_node, id="we follow us"),
]
WITH_STOCK = PAIRS[:2]
#: How a replica loads is its own business: stock's ways need one test, ours all.
LOADING = [
    pytest.param(start_node, start_stock_server, "disabled", id="stock follows us"),
    pytest.param(start_stock_server, start_node, "disabled", id="we follow stock by file"),
    pytest.param(start_stock_server, start_node, "on-empty-db", id="we follow stock directly"),
    pytest.param(start_node, start_node, "swapdb", id="we follow us by swapping"),
]


def full_and_partial(primary: ServerHandle) -> tuple[int, int]:
    stats = primary.info("stats")
    return int(stats["sync_full"]), int(stats["sync_partial_ok"])


@pytest.mark.parametrize(("start_primary", "start_replica"), PAIRS)
@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_full_sync_of_every_type_gives_equal_content(
    tmp_path: Path, start_primary: Start, start_replica: Start, diskless: str
) -> None:
    options = (*OPTIONS, "--repl-diskless-sync", diskless)
    with start_primary(tmp_path / "p", *options) as primary, start_replica(tmp_path / "r", *options) as replica:
        datasets.fill(primary)
        replica.call("SET", "to be overwritten", "x")
        follow(replica, primary.port)
        assert datasets.everything(replica) == datasets.everything(primary)
        assert_equal_data(primary, replica)


@pytest.mark.parametrize(("start_primary", "start_replica"), PAIRS)
def test_stream_of_random_writes_keeps_data_equal(tmp_path: Path, start_primary: Start, start_replica: Start) -> None:
    with start_primary(tmp_path / "p", *OPTIONS) as primary, start_replica(tmp_path / "r", *OPTIONS) as replica:
        follow(replica, primary.port)
        write_random(primary, seed=1, count=6000)
        wait_in_step(primary, replica)
        assert_equal_data(primary, replica)


@pytest.mark.parametrize(("start_primary", "start_replica", "load_way"), LOADING)
def test_writes_during_the_full_sync_arrive(
    tmp_path: Path, start_primary: Start, start_replica: Start, load_way: str
) -> None:
    with (
        start_primary(tmp_path / "p", *OPTIONS) as primary,
        start_replica(tmp_path / "r", *OPTIONS, "--repl-diskless-load", load_way) as replica,
    ):
        primary.call("DEBUG", "POPULATE", 30_000, "base", 100)
        stop = threading.Event()

        def write_on() -> None:
            seed = 0
            while not stop.is_set():
                write_random(primary, seed, 200)
                seed += 1

        writer = threading.Thread(target=write_on)
        writer.start()
        try:
            follow(replica, primary.port)
        finally:
            stop.set()
            writer.join()
        wait_in_step(primary, replica)
        assert_equal_data(primary, replica)


@pytest.mark.parametrize(("start_primary", "start_replica"), PAIRS)
def test_cut_link_is_resumed_without_a_full_sync(tmp_path: Path, start_primary: Start, start_replica: Start) -> None:
    with (
        start_primary(tmp_path / "p", *OPTIONS) as primary,
        start_replica(tmp_path / "r", *OPTIONS) as replica,
        CuttableLink(primary.port) as link,
    ):
        follow(replica, link.port)
        for seed in range(5):
            write_random(primary, seed, 300)
            link.cut(reopen=False)
            write_random(primary, seed + 100, 300)
            link.reopen()
            wait_in_step(primary, replica)
        assert_equal_data(primary, replica)
        full, partial = full_and_partial(primary)
        assert full == 1
        assert partial >= 5


@pytest.mark.parametrize(("start_primary", "start_replica"), PAIRS)
def test_link_cut_at_any_moment_under_load_loses_nothing(
    tmp_path: Path, start_primary: Start, start_replica: Start
) -> None:
    """Cuts fall into the middle of commands and transactions: nothing may be applied twice or halfway."""
    with (
        start_primary(tmp_path / "p", *OPTIONS) as primary,
        start_replica(tmp_path / "r", *OPTIONS) as replica,
        CuttableLink(primary.port) as link,
    ):
        follow(replica, link.port)
        for number in range(60):
            batch: list[tuple[str | int, ...]] = [("INCRBY", f"n{i}", number) for i in range(200)]
            batch.append(("APPEND", "log", f"{number} " * 50))
            run_pipeline(primary, batch, transaction=bool(number % 2))
            if not number % 4:
                link.cut()
        wait_in_step(primary, replica)
        assert_equal_data(primary, replica)
        assert full_and_partial(primary)[0] == 1


@pytest.mark.parametrize(("start_primary", "start_replica"), WITH_STOCK)
def test_link_cut_for_longer_than_the_backlog_needs_a_full_sync(
    tmp_path: Path, start_primary: Start, start_replica: Start
) -> None:
    with (
        start_primary(tmp_path / "p", *OPTIONS, "--repl-backlog-size", "16kb") as primary,
        start_replica(tmp_path / "r", *OPTIONS) as replica,
        CuttableLink(primary.port) as link,
    ):
        follow(replica, link.port)
        link.cut(reopen=False)
        run_pipeline(primary, [("SET", f"k{i}", "x" * 500) for i in range(200)])
        link.reopen()
        wait_in_step(primary, replica)
        assert_equal_data(primary, replica)
        assert full_and_partial(primary) == (2, 0)


CHAINS = [
    pytest.param(start_stock_server, start_node, start_stock_server, id="stock-ours-stock"),
    pytest.param(start_node, start_stock_server, start_node, id="ours-stock-ours"),
    pytest.param(start_node, start_node, start_node, id="ours-ours-ours"),
]


@pytest.mark.parametrize(("start_top", "start_middle", "start_bottom"), CHAINS)
def test_chain_passes_the_same_stream_to_the_end(
    tmp_path: Path, start_top: Start, start_middle: Start, start_bottom: Start
) -> None:
    with (
        start_top(tmp_path / "t", *OPTIONS) as top,
        start_middle(tmp_path / "m", *OPTIONS) as middle,
        start_bottom(tmp_path / "b", *OPTIONS) as bottom,
        CuttableLink(top.port) as link,
    ):
        datasets.fill(top)
        follow(middle, link.port)
        follow(bottom, middle.port)
        write_random(top, 1, 1000)
        link.cut()
        write_random(top, 2, 1000)
        wait_in_step(top, middle, bottom)
        assert_equal_data(top, middle, bottom)
        assert full_and_partial(middle)[0] == 1, "the end of the chain needed a full sync only once"


@pytest.mark.parametrize(("start_top", "start_middle", "start_bottom"), CHAINS)
def test_promoted_replica_takes_its_brothers_and_its_old_primary_over_partially(
    tmp_path: Path, start_top: Start, start_middle: Start, start_bottom: Start
) -> None:
    quiet = "--repl-ping-replica-period", "3600"
    with (
        start_top(tmp_path / "t", *OPTIONS, *quiet) as old,
        start_middle(tmp_path / "m", *OPTIONS) as new,
        start_bottom(tmp_path / "b", *OPTIONS) as brother,
    ):
        datasets.fill(old)
        follow(new, old.port)
        follow(brother, old.port)
        write_random(old, 1, 500, volatile=False)
        wait_in_step(old, new, brother)
        new.call("REPLICAOF", "NO", "ONE")
        write_random(new, 2, 500, volatile=False)
        follow(brother, new.port)
        follow(old, new.port)
        write_random(new, 3, 500)
        wait_in_step(old, new, brother)
        assert_equal_data(old, new, brother)
        assert full_and_partial(new) == (0, 2)


@pytest.mark.parametrize(("start_primary", "start_replica"), WITH_STOCK)
def test_keys_expire_on_the_replica_by_the_word_of_the_primary(
    tmp_path: Path, start_primary: Start, start_replica: Start
) -> None:
    with start_primary(tmp_path / "p", *OPTIONS) as primary, start_replica(tmp_path / "r", *OPTIONS) as replica:
        follow(replica, primary.port)
        primary.call("DEBUG", "SET-ACTIVE-EXPIRE", 0)
        primary.call("SET", "soon", "v", "PX", 50)
        primary.call("SET", "later", "v", "PX", 3_600_000)
        wait_in_step(primary, replica)
        wait_until(lambda: replica.call("GET", "soon") is None, 5, "the key is hidden on the replica")
        assert replica.call("EXISTS", "soon") == 0
        assert replica.call("DBSIZE") == 2, "hidden, but still there"
        assert primary.call("GET", "soon") is None
        wait_until(lambda: replica.call("DBSIZE") == 1, 5, "the primary's DEL arrived")
        assert 3_500_000 < replica.call("PTTL", "later") <= 3_600_000


@pytest.mark.parametrize(("start_primary", "start_replica"), WITH_STOCK)
def test_wait_counts_replicas_and_gives_up_on_a_stopped_one(
    tmp_path: Path, start_primary: Start, start_replica: Start
) -> None:
    with start_primary(tmp_path / "p", *OPTIONS) as primary, start_replica(tmp_path / "r", *OPTIONS) as replica:
        assert primary.call("WAIT", 1, 50) == 0
        follow(replica, primary.port)
        client = primary.client()
        with client.client() as connection:
            connection.set("a", "1")
            assert connection.execute_command("WAIT", 1, 5000) == 1
            assert connection.execute_command("WAIT", 2, 100) == 1
            replica.pause()
            connection.set("a", "2")
            assert connection.execute_command("WAIT", 1, 100) == 0
            with connection.pipeline(transaction=True) as pipe:
                pipe.set("a", "3")
                pipe.execute_command("WAIT", 1, 0)
                assert pipe.execute() == [True, 0], "in MULTI it answers at once"
            replica.resume()
            assert connection.execute_command("WAIT", 1, 5000) == 1


@pytest.mark.parametrize(("start_primary", "start_replica"), WITH_STOCK)
def test_killed_replica_catches_up_after_its_restart(
    tmp_path: Path, start_primary: Start, start_replica: Start
) -> None:
    with start_primary(tmp_path / "p", *OPTIONS) as primary, start_replica(tmp_path / "r", *OPTIONS) as replica:
        follow(replica, primary.port)
        write_random(primary, 1, 500)
        wait_in_step(primary, replica)
        assert replica.call("SAVE") == b"OK"
        write_random(primary, 2, 500)
        replica.kill9()
        write_random(primary, 3, 500)
        replica.restart("--replicaof", f"127.0.0.1 {primary.port}")
        wait_linked(replica)
        wait_in_step(primary, replica)
        assert_equal_data(primary, replica)
        assert full_and_partial(primary) == (1, 1), "the saved file told where to resume"


@pytest.mark.parametrize(("start_primary", "start_replica"), WITH_STOCK)
def test_restarted_primary_lets_its_replica_resume(tmp_path: Path, start_primary: Start, start_replica: Start) -> None:
    options = (*OPTIONS, "--save", "3600 1")
    with start_primary(tmp_path / "p", *options) as primary, start_replica(tmp_path / "r", *OPTIONS) as replica:
        follow(replica, primary.port)
        write_random(primary, 1, 500)
        wait_in_step(primary, replica)
        primary.stop()
        primary.restart()
        wait_linked(replica)
        primary.call("SET", "after", "restart")
        wait_in_step(primary, replica)
        assert_equal_data(primary, replica)
        assert full_and_partial(primary) == (0, 1)


def test_failover_command_swaps_roles_with_a_stock_replica_and_back(tmp_path: Path) -> None:
    with start_node(tmp_path / "p", *OPTIONS) as ours, start_stock_server(tmp_path / "r", *OPTIONS) as stock:
        datasets.fill(ours)
        follow(stock, ours.port)
        write_random(ours, 1, 500)
        for old, new in ((ours, stock), (stock, ours)):
            assert old.call("FAILOVER", "TO", "127.0.0.1", new.port, "TIMEOUT", 10_000) == b"OK"
            wait_until(lambda new=new: new.call("ROLE")[0] == b"master", 15, "the replica was promoted")  # type: ignore[misc]
            wait_linked(old)
            write_random(new, 2, 300)
            wait_in_step(ours, stock)
            assert_equal_data(ours, stock)
        assert int(ours.info("stats")["sync_full"]) == 1
        assert int(stock.info("stats")["sync_full"]) == 0


def test_redis_cli_rdb_dump_of_us_is_a_sound_file(tmp_path: Path) -> None:
    with start_node(tmp_path / "p", *OPTIONS) as node:
        datasets.fill(node)
        target = tmp_path / "copy.rdb"
        done = subprocess.run(
            ["redis-cli", "-p", str(node.port), "--rdb", str(target)], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stdout + done.stderr
        check = subprocess.run(["redis-check-rdb", str(target)], capture_output=True, text=True, timeout=30)
        assert "RDB looks OK" in check.stdout, check.stdout
        with start_stock_server(tmp_path / "s", *OPTIONS, "--dbfilename", "copy.rdb", port=None) as empty:
            empty.kill9()
            target.rename(tmp_path / "s" / "copy.rdb")
            empty.restart()
            assert_equal_data(node, empty)


def test_redis_cli_replica_mode_prints_our_stream(tmp_path: Path) -> None:
    with start_node(tmp_path / "p", *OPTIONS) as node:
        node.call("SET", "before", "1")
        process = subprocess.Popen(["redis-cli", "-p", str(node.port), "--replica"], stdout=subprocess.PIPE, bufsize=0)
        try:
            wait_until(lambda: node.info("replication").get("slave0", "").count("state=online"), 10, "it is online")
            node.call("SET", "seen", "by the replica")
            assert process.stdout is not None
            received = b""
            while b"by the replica" not in received:
                received += process.stdout.read(4096)
            assert b'"SET","seen","by the replica"' in received
        finally:
            process.kill()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()


def test_two_replicas_share_one_snapshot(tmp_path: Path) -> None:
    with (
        start_node(tmp_path / "p", *OPTIONS, "--repl-diskless-sync-delay", "1") as primary,
        start_stock_server(tmp_path / "a", *OPTIONS) as first,
        start_node(tmp_path / "b", *OPTIONS) as second,
    ):
        datasets.fill(primary)
        for replica in (first, second):
            replica.call("REPLICAOF", "127.0.0.1", primary.port)
        for replica in (first, second):
            wait_linked(replica)
        write_random(primary, 1, 500)
        wait_in_step(primary, first, second)
        assert_equal_data(primary, first, second)
        assert primary.info("stats")["total_forks"] == "1"
        assert offset(primary) == offset(first)
