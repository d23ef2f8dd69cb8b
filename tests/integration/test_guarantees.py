"""What the server promises about order, atomicity and delivery, put to many real clients at once."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from tests.support.linearizable import Operation, why_not_linearizable
from tests.support.processes import ServerHandle, start_node, wait_until
from tests.support.replication import OPTIONS, follow, wait_in_step

CLIENTS = 64
SUM_SCRIPT = "redis.call('INCRBY', KEYS[1], ARGV[1]) redis.call('DECRBY', KEYS[2], ARGV[1]) return 1"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHandle]:
    with start_node(tmp_path_factory.mktemp("node"), "--save", "") as handle:
        yield handle


def connect(node: ServerHandle) -> redis.Redis:
    return redis.Redis(host="127.0.0.1", port=node.port, socket_timeout=30)


def test_histories_of_many_clients_are_linearizable_per_key(node: ServerHandle) -> None:
    keys = [f"register:{number}" for number in range(4)]
    values = itertools.count(1)
    start_line = threading.Barrier(CLIENTS)

    def client(seed: int) -> list[tuple[str, Operation]]:
        rng = random.Random(seed)
        mine = []
        with connect(node) as one:
            start_line.wait(30)
            for _ in range(40):
                key, is_write, value = rng.choice(keys), rng.random() < 0.4, next(values)
                started = time.monotonic()
                answer = one.set(key, value) if is_write else one.get(key)
                ended = time.monotonic()
                seen = value if is_write else None if answer is None else int(answer)
                mine.append((key, Operation(started, ended, is_write, seen)))
        return mine

    with ThreadPoolExecutor(CLIENTS) as pool:
        history = [entry for mine in pool.map(client, range(CLIENTS)) for entry in mine]
    assert len(history) == CLIENTS * 40
    for key in keys:
        assert why_not_linearizable(operation for of, operation in history if of == key) == ""


def test_counters_of_many_clients_lose_nothing(node: ServerHandle) -> None:
    def client(_: int) -> None:
        with connect(node) as one:
            for _ in range(20):
                one.incr("n")

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    assert node.call("GET", "n") == b"%d" % (CLIENTS * 20)


def test_transactions_and_scripts_are_never_seen_by_halves(node: ServerHandle) -> None:
    node.call("MSET", "debit", "0", "credit", "0")
    done = threading.Event()

    def mover(seed: int) -> None:
        rng = random.Random(seed)
        with connect(node) as one:
            for _ in range(60):
                amount = rng.randrange(1, 100)
                if seed % 2:
                    one.eval(SUM_SCRIPT, 2, "debit", "credit", str(amount))
                else:
                    with one.pipeline(transaction=True) as transaction:
                        transaction.incrby("debit", amount).decrby("credit", amount).execute()

    def watcher() -> set[int]:
        sums = set()
        with connect(node) as one:
            while not done.is_set():
                sums.add(sum(int(part) for part in one.mget("debit", "credit")))
        return sums

    with ThreadPoolExecutor(20) as pool:
        watchers = [pool.submit(watcher) for _ in range(4)]
        list(pool.map(mover, range(16)))
        done.set()
        assert all(one.result(30) == {0} for one in watchers)
    assert int(node.call("GET", "debit")) > 0


CAP_SCRIPT = """
local taken = tonumber(redis.call('GET', KEYS[1]) or '0')
if taken >= tonumber(ARGV[1]) then return 0 end
return redis.call('INCR', KEYS[1])
"""


def test_script_that_counts_up_to_a_cap_never_exceeds_it(node: ServerHandle) -> None:
    def client(_: int) -> int:
        with connect(node) as one:
            script = one.register_script(CAP_SCRIPT)  # EVALSHA, and EVAL after NOSCRIPT
            return sum(bool(script(keys=["seats"], args=[100])) for _ in range(30))

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert sum(pool.map(client, range(CLIENTS))) == 100
    assert node.call("GET", "seats") == b"100"


def test_lock_of_redis_py_has_one_holder_at_a_time(node: ServerHandle) -> None:
    holders = 0

    def client(_: int) -> int:
        nonlocal holders
        most = 0
        with connect(node) as one:
            for _ in range(5):
                with one.lock("lock", timeout=20, sleep=0.001):
                    holders += 1
                    most = max(most, holders)
                    one.incr("guarded")
                    holders -= 1
        return most

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(client, range(8))) == 1
    assert node.call("GET", "guarded") == b"40"
    with connect(node) as one, connect(node) as other:
        mine = one.lock("lock", timeout=20)
        assert mine.acquire()
        theirs = other.lock("lock", timeout=20)
        theirs.local.token = b"another"
        with pytest.raises(redis.exceptions.LockNotOwnedError):
            theirs.release()
        assert mine.extend(5)
        mine.release()


def test_replies_of_a_pipeline_come_in_the_order_of_its_requests(node: ServerHandle) -> None:
    """Fast, failing, blocking and large replies on one connection, sent in pieces that respect no request."""
    node.call("RPUSH", "long", *[str(number) for number in range(2000)])
    requests, replies = b"", b""
    whole = b"*2000\r\n" + b"".join(b"$%d\r\n%d\r\n" % (len(str(n)), n) for n in range(2000))
    kinds: tuple[tuple[bytes, Callable[[int], bytes]], ...] = (
        (b"ECHO %d\r\n", lambda n: b"$%d\r\n%d\r\n" % (len(str(n)), n)),
        (b"LRANGE long 0 -1 %d\r\n", lambda n: b"-ERR wrong number of arguments for 'lrange' command\r\n"),
        (b"LRANGE long 0 %d\r\n", lambda n: whole),
        (b"BLPOP nosuch:%d 0.001\r\n", lambda n: b"*-1\r\n"),
    )
    rng = random.Random(5)
    for number in range(10_000, 10_300):
        request, reply = kinds[rng.choice((0, 0, 0, 1, 2, 3))]
        requests += request % number
        replies += reply(number)
    with socket.create_connection(("127.0.0.1", node.port), 30) as sock:

        def send() -> None:
            at = 0
            while at < len(requests):
                size = rng.randrange(1, 200)
                sock.sendall(requests[at : at + size])
                at += size

        sender = threading.Thread(target=send)
        sender.start()
        got = b""
        while len(got) < len(replies):
            chunk = sock.recv(65536)
            assert chunk, f"closed after {len(got)} of {len(replies)} bytes"
            got += chunk
        sender.join(30)
    assert got == replies


CONSUMER = """
import sys, redis
kind, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
one = redis.Redis(port=port)
if kind == "pubsub":
    channel = one.pubsub()
    channel.subscribe("jobs")
    take = lambda: next(m["data"] for m in channel.listen() if m["type"] == "message")
elif kind == "list":
    take = lambda: one.brpop("jobs", 0)[1]
else:
    take = lambda: one.xreadgroup("workers", name, {"log": ">"}, count=1, block=0)[0][1][0][1][b"job"]
print("ready", flush=True)
while True:
    print(take().decode(), flush=True)
"""


@contextlib.contextmanager
def consumer(kind: str, node: ServerHandle, name: str) -> Iterator[subprocess.Popen[str]]:
    """A worker that prints each job that it gets. At the end of the block it is killed, whatever it is doing."""
    command = [sys.executable, "-c", CONSUMER, kind, str(node.port), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert taken(process, 1) == ["ready"]
            yield process
        finally:
            process.kill()


def taken(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def test_published_messages_reach_a_subscriber_at_most_once(node: ServerHandle) -> None:
    with consumer("pubsub", node, "a") as first:
        wait_until(lambda: node.call("PUBSUB", "NUMSUB", "jobs")[1] == 1, 10, "the subscriber is there")
        assert node.call("PUBLISH", "jobs", "1") == 1
        assert taken(first, 1) == ["1"]
    wait_until(lambda: node.call("PUBSUB", "NUMSUB", "jobs")[1] == 0, 10, "the subscriber is gone")
    assert node.call("PUBLISH", "jobs", "2") == 0
    with consumer("pubsub", node, "b") as second:
        wait_until(lambda: node.call("PUBSUB", "NUMSUB", "jobs")[1] == 1, 10, "another one is there")
        assert node.call("PUBLISH", "jobs", "3") == 1
        assert taken(second, 1) == ["3"]  # neither again nor late: 1 and 2 are gone


def test_popped_jobs_are_delivered_at_most_once(node: ServerHandle) -> None:
    with consumer("list", node, "a") as first:
        node.call("LPUSH", "jobs", "1", "2", "3")
        assert taken(first, 3) == ["1", "2", "3"]
    # It was killed in the middle of job 3, which nobody will see again.
    wait_until(lambda: node.info("clients")["blocked_clients"] == "0", 10, "the worker is gone")
    node.call("LPUSH", "jobs", "4")
    with consumer("list", node, "b") as second:
        assert taken(second, 1) == ["4"]


def test_unacknowledged_stream_entries_are_delivered_again(node: ServerHandle) -> None:
    def pending() -> list[list[bytes | int]]:
        """Id, consumer and number of deliveries."""
        return [row[:2] + row[3:] for row in node.call("XPENDING", "log", "workers", "-", "+", "10")]

    node.call("XGROUP", "CREATE", "log", "workers", "$", "MKSTREAM")
    with consumer("stream", node, "a") as first:
        ids = [node.call("XADD", "log", "*", "job", str(number)) for number in range(3)]
        assert taken(first, 3) == ["0", "1", "2"]
        node.call("XACK", "log", "workers", ids[0])
    assert pending() == [[ids[1], b"a", 1], [ids[2], b"a", 1]]
    claimed = node.call("XAUTOCLAIM", "log", "workers", "b", "0", "0")
    assert [entry[0] for entry in claimed[1]] == ids[1:]
    assert pending() == [[ids[1], b"b", 2], [ids[2], b"b", 2]]


def test_two_workers_share_the_jobs_of_a_list_without_doubles(node: ServerHandle) -> None:
    jobs = [f"job{number}" for number in range(1000)]
    got: Counter[str] = Counter()
    with consumer("list", node, "a") as first, consumer("list", node, "b") as second:
        for at in range(0, len(jobs), 10):
            node.call("LPUSH", "jobs", *jobs[at : at + 10])
        wait_until(lambda: node.info("clients")["blocked_clients"] == "2", 30, "all jobs are taken, both workers wait")
        node.call("LPUSH", "jobs", "end", "end")  # serves both
        for worker in (first, second):
            assert worker.stdout is not None
            got.update(itertools.takewhile("end".__ne__, map(str.strip, worker.stdout)))
    assert got == Counter(jobs)


def test_scan_begun_on_a_primary_ends_on_the_replica_that_replaced_it(tmp_path: Path) -> None:
    with start_node(tmp_path / "p", *OPTIONS) as primary, start_node(tmp_path / "r", *OPTIONS) as replica:
        follow(replica, primary.port)
        keys = {b"key:%d" % number for number in range(20_000)}
        members = {b"member:%d" % number for number in range(5_000)}
        client = primary.client()
        with client.pipeline(transaction=False) as pipeline:
            for key in sorted(keys):
                pipeline.set(key, b"v")
            pipeline.sadd("set", *members)
            pipeline.execute()
        wait_in_step(primary, replica)
        found: set[bytes] = set()
        met: set[bytes] = set()
        cursor = place = b"0"
        for _ in range(40):
            cursor, names = primary.call("SCAN", cursor, "COUNT", "100")
            found |= set(names)
            place, names = primary.call("SSCAN", "set", place, "COUNT", "50")
            met |= set(names)
        assert 0 < len(found) < len(keys)
        assert 0 < len(met) < len(members)
        primary.kill9()
        replica.call("REPLICAOF", "NO", "ONE")
        while cursor != b"0":
            cursor, names = replica.call("SCAN", cursor, "COUNT", "100")
            found |= set(names)
        while place != b"0":
            place, names = replica.call("SSCAN", "set", place, "COUNT", "50")
            met |= set(names)
        assert found == keys | {b"set"}
        assert met == members
