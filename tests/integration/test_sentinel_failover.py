"""Our sentinels over stock redis-server processes: crashes, pauses, partitions, restarts, scripts, passwords."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import redis
from redis.sentinel import MasterNotFoundError, Sentinel

from tests.support.processes import (
    OUR_SENTINEL,
    PROJECT_ROOT,
    ServerHandle,
    free_ports,
    have_stock,
    raw_call,
    start_sentinel,
    start_stock_server,
    wait_until,
)

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="needs redis-server")]

NAME = "mymaster"
DOWN_AFTER_MS = 3000


@attrs.define
class World:
    """A primary with replicas, and sentinels that watch it."""

    servers: list[ServerHandle]
    sentinels: list[ServerHandle]

    @property
    def primary(self) -> ServerHandle:
        return self.servers[0]

    def address(self, sentinel: int = 0) -> int:
        """The port of the primary as a sentinel tells it."""
        return int(self.sentinels[sentinel].call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)[1])

    def wait_switched(self, deadline_s: float = 20) -> ServerHandle:
        """Until all running sentinels tell another primary; that server."""
        old = self.primary.port
        running = [index for index, one in enumerate(self.sentinels) if one.running]
        wait_until(lambda: all(self.address(index) != old for index in running), deadline_s, "a new primary")
        return next(server for server in self.servers if server.port == self.address(running[0]))

    def wait_ready(self) -> None:
        others, replicas = len(self.sentinels) - 1, len(self.servers) - 1
        for sentinel in self.sentinels:
            wait_until(
                lambda one=sentinel: (
                    facts(one)["num-other-sentinels"] == str(others)  # type: ignore[misc]
                    and facts(one)["num-slaves"] == str(replicas)
                    and all(fields(row)["master-link-status"] == "ok" for row in one.call("SENTINEL", "REPLICAS", NAME))
                ),
                30,
                f"{sentinel.address} knows {others} sentinels and {replicas} replicas",
            )

    def client(self) -> Sentinel:
        addresses = [("127.0.0.1", one.port) for one in self.sentinels]
        return Sentinel(addresses, socket_timeout=2)


def fields(flat: Any) -> dict[str, str]:
    """A field list of SENTINEL as a dict."""
    pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
    return {name.decode(): value.decode() for name, value in pairs}


def facts(sentinel: ServerHandle) -> dict[str, str]:
    return fields(sentinel.call("SENTINEL", "MASTER", NAME))


@contextlib.contextmanager
def world(
    tmp_path: Path, *, replicas: int = 2, sentinels: int = 3, quorum: int = 2, lines: tuple[str, ...] = (), **extra: Any
) -> Iterator[World]:
    options = (*extra.get("options", ()), "--repl-diskless-sync-delay", "0")
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(start_stock_server(tmp_path / "primary", *options))
        servers = [primary]
        for number in range(replicas):
            replica_of = ("--replicaof", "127.0.0.1", str(primary.port))
            server = start_stock_server(tmp_path / f"replica{number}", *options, *replica_of)
            servers.append(stack.enter_context(server))
        config = [
            f"sentinel monitor {NAME} 127.0.0.1 {primary.port} {quorum}",
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {NAME} 10000",
            *lines,
        ]
        handles = []
        for number in range(sentinels):
            handle = start_sentinel(OUR_SENTINEL, tmp_path / f"sentinel{number}", config)
            handles.append(stack.enter_context(handle))
            handle.call("SENTINEL", "DEBUG", "publish-period", "300", "tilt-period", "1000")
        made = World(servers, handles)
        made.wait_ready()
        yield made


def test_killed_primary_is_replaced_and_clients_of_redis_py_keep_writing(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        listener = made.sentinels[1].client().pubsub(ignore_subscribe_messages=True)
        listener.psubscribe("*")
        client = made.client().master_for(NAME, socket_timeout=2)
        client.set("before", "1")
        made.primary.client().wait(2, 5000)
        old = made.primary.port
        made.primary.kill9()
        started = time.monotonic()
        promoted = made.wait_switched()
        print(f"all sentinels tell the new primary after {time.monotonic() - started:.3f} s")

        def write() -> bool:
            with contextlib.suppress(
                redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, MasterNotFoundError
            ):
                return bool(client.set("after", "2"))
            return False

        wait_until(write, 10, "the client writes again")
        print(f"redis-py writes again after {time.monotonic() - started:.3f} s")
        assert promoted.call("GET", "before") == b"1"
        assert promoted.call("ROLE")[0] == b"master"

        def switch() -> bytes | None:
            message = listener.get_message(timeout=0.1)
            return message["data"] if message is not None and message["channel"] == b"+switch-master" else None

        told = wait_until(switch, 10, "+switch-master")
        assert told == f"{NAME} 127.0.0.1 {old} 127.0.0.1 {promoted.port}".encode()
        listener.close()

        made.primary.restart()
        wait_until(lambda: made.primary.call("ROLE")[0] == b"slave", 30, "the old primary is a replica")
        wait_until(lambda: made.primary.info("replication")["master_link_status"] == "up", 20, "it replicates")
        assert made.primary.call("GET", "after") == b"2"
        others = [server for server in made.servers if server is not promoted]
        assert all(server.info("replication")["master_port"] == str(promoted.port) for server in others)


def test_stopped_primary_is_replaced_after_down_after_and_a_short_stop_changes_nothing(tmp_path: Path) -> None:
    with world(tmp_path, replicas=1) as made:
        made.primary.pause()
        time_out = time.monotonic() + DOWN_AFTER_MS / 3000
        wait_until(lambda: time.monotonic() > time_out, 10, "a third of down-after has passed")
        made.primary.resume()
        settled = time.monotonic() + DOWN_AFTER_MS / 1000 + 1
        wait_until(lambda: time.monotonic() > settled, 20, "down-after has passed since")
        assert made.address() == made.primary.port
        assert "+sdown master" not in made.sentinels[0].log()

        made.primary.pause()
        started = time.monotonic()
        promoted = made.wait_switched()
        print(f"replaced after {time.monotonic() - started:.3f} s of silence, down-after {DOWN_AFTER_MS} ms")
        assert time.monotonic() - started > DOWN_AFTER_MS / 1000 - 1.2, "a ping may be a period old when it stops"
        made.primary.resume()
        wait_until(lambda: made.primary.call("ROLE")[0] == b"slave", 30, "the old primary is a replica")
        assert promoted.call("ROLE")[0] == b"master"


def test_lone_sentinel_of_three_sees_sdown_only(tmp_path: Path) -> None:
    with world(tmp_path, replicas=1) as made:
        assert made.sentinels[0].call("SENTINEL", "CKQUORUM", NAME).startswith(b"OK 3 usable Sentinels.")
        for sentinel in made.sentinels[1:]:
            sentinel.pause()
        made.primary.kill9()
        alone = made.sentinels[0]
        wait_until(lambda: "s_down" in facts(alone)["flags"], 20, "SDOWN")
        wait_until(
            lambda: all("s_down" in fields(row)["flags"] for row in alone.call("SENTINEL", "SENTINELS", NAME)),
            20,
            "the others are down for it",
        )
        assert "o_down" not in facts(alone)["flags"]
        with pytest.raises(redis.ResponseError, match="NOQUORUM 1 usable Sentinels"):
            alone.call("SENTINEL", "CKQUORUM", NAME)
        assert made.address() == made.primary.port
        for sentinel in made.sentinels[1:]:
            sentinel.resume()
        made.sentinels = [alone]
        made.wait_switched(60)


def test_ordered_failover_switches_and_keeps_the_old_primary_as_replica(tmp_path: Path) -> None:
    with world(tmp_path, replicas=1) as made:
        assert made.sentinels[0].call("SENTINEL", "FAILOVER", NAME) == b"OK"
        promoted = made.wait_switched()
        wait_until(lambda: made.primary.call("ROLE")[0] == b"slave", 30, "the old primary follows")
        assert promoted.call("ROLE")[0] == b"master"


def test_restarted_sentinel_remembers_and_learns_what_it_missed(tmp_path: Path) -> None:
    with world(tmp_path, replicas=1) as made:
        late = made.sentinels[2]
        my_id = late.call("SENTINEL", "MYID")
        late.kill9()
        made.primary.kill9()
        made.sentinels = made.sentinels[:2]
        promoted = made.wait_switched()
        late.restart()
        assert late.call("SENTINEL", "MYID") == my_id
        wait_until(lambda: facts(late)["port"] == str(promoted.port), 10, "it learns the new primary")
        assert facts(late)["num-other-sentinels"] == "2", "the others were in its file"
        assert f"sentinel monitor {NAME} 127.0.0.1 {promoted.port} 2" in (late.directory / "sentinel.conf").read_text()


def test_stopped_sentinel_is_in_tilt_afterwards(tmp_path: Path) -> None:
    with world(tmp_path, replicas=0, sentinels=1) as made:
        (sentinel,) = made.sentinels
        sentinel.call("SENTINEL", "DEBUG", "tilt-trigger", "500")
        sentinel.pause()
        resume_at = time.monotonic() + 1.5
        wait_until(lambda: time.monotonic() > resume_at, 5, "a pause longer than the trigger")
        sentinel.resume()
        wait_until(lambda: "+tilt #tilt mode entered" in sentinel.log(), 10, "+tilt")
        wait_until(lambda: "-tilt #tilt mode exited" in sentinel.log(), 20, "-tilt")


def test_passwords_of_servers_and_sentinels_are_used(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(start_stock_server(tmp_path / "primary"))
        replica = stack.enter_context(start_stock_server(tmp_path / "replica"))
        replica.call("REPLICAOF", "127.0.0.1", primary.port)
        for server in (primary, replica):
            server.call("CONFIG", "SET", "masterauth", "geheim", "requirepass", "geheim")
        config = [
            "requirepass hush",
            f"sentinel monitor {NAME} 127.0.0.1 {primary.port} 2",
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}",
            f"sentinel auth-pass {NAME} geheim",
        ]
        ports = [stack.enter_context(_sentinel_process(tmp_path / f"sentinel{number}", config)) for number in range(2)]
        with redis.Redis(port=ports[0]) as stranger:
            wait_until(lambda: _refused(stranger), 20, "a stranger is refused")
        clients = [stack.enter_context(redis.Redis(port=port, password="hush")) for port in ports]

        def ready(client: redis.Redis) -> bool:
            known = fields(raw_call(client, "SENTINEL", "MASTER", NAME))
            return known["num-other-sentinels"] == "1" and known["num-slaves"] == "1"

        wait_until(lambda: all(ready(client) for client in clients), 30, "they know each other and the replica")
        primary.kill9()
        admin = stack.enter_context(redis.Redis(port=replica.port, password="geheim"))
        wait_until(lambda: admin.execute_command("ROLE")[0] == b"master", 20, "the replica is promoted")


def _refused(client: redis.Redis) -> bool:
    try:
        raw_call(client, "SENTINEL", "MYID")
    except redis.AuthenticationError:
        return True
    return False


@contextlib.contextmanager
def _sentinel_process(directory: Path, lines: list[str]) -> Iterator[int]:
    """A sentinel that answers nobody without a password; its port."""
    directory.mkdir()
    (port,) = free_ports(1)
    config = directory / "sentinel.conf"
    config.write_text("\n".join([f"port {port}", "bind 127.0.0.1", *lines]) + "\n")
    with (directory / "sentinel.log").open("wb") as log:
        process = subprocess.Popen([*OUR_SENTINEL, str(config)], cwd=PROJECT_ROOT, stdout=log, stderr=log)
        try:
            yield port
        finally:
            process.kill()
            process.wait(10)


def test_scripts_are_run_with_the_arguments_of_stock(tmp_path: Path) -> None:
    scripts = {}
    for kind in ("notify", "reconfig"):
        path = tmp_path / f"{kind}.sh"
        path.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/{kind}.out\n')
        path.chmod(0o755)
        scripts[kind] = path
    lines = (
        f"sentinel notification-script {NAME} {scripts['notify']}",
        f"sentinel client-reconfig-script {NAME} {scripts['reconfig']}",
    )
    with world(tmp_path, replicas=1, sentinels=1, quorum=1, lines=lines) as made:
        made.primary.kill9()
        promoted = made.wait_switched()
        ends = f"127.0.0.1 {made.primary.port} 127.0.0.1 {promoted.port}"
        wanted = f"{NAME} leader start {ends}\n"
        wait_until(lambda: (tmp_path / "reconfig.out").read_text() == wanted, 10, "the reconfiguration script")
        wait_until(
            lambda: f"+switch-master {NAME} {ends}\n" in (tmp_path / "notify.out").read_text(), 10, "a notification"
        )
        wait_until(lambda: made.sentinels[0].call("SENTINEL", "PENDING-SCRIPTS") == [], 10, "no script is left")


def test_names_are_resolved_and_announced(tmp_path: Path) -> None:
    lines = ("sentinel resolve-hostnames yes", "sentinel announce-hostnames yes")
    with start_stock_server(tmp_path / "primary") as primary:
        config = [*lines, f"sentinel monitor {NAME} localhost {primary.port} 1"]
        with start_sentinel(OUR_SENTINEL, tmp_path / "sentinel", config) as sentinel:
            wait_until(lambda: facts(sentinel)["flags"] == "master", 10, "connected")
            assert sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME) == [b"localhost", b"%d" % primary.port]
            sentinel.call("SENTINEL", "CONFIG", "SET", "announce-hostnames", "no")
            assert sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)[0] == b"127.0.0.1"
