"""Configuration, INFO, clients, users and fingerprints: names, defaults, forms and rights as on a stock server."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import (
    OUR_NODE,
    PROJECT_ROOT,
    STOCK_SERVER,
    have_stock,
    start_node,
    start_server,
    start_stock_server,
)
from tests.support.twins import Twins, parse, running_twins

pytestmark = [pytest.mark.stock, pytest.mark.skipif(not have_stock(), reason="no stock redis-server on PATH")]

#: Parameters whose values must differ between two servers.
OWN_PLACE = {"port", "dir", "pidfile", "logfile"}
#: INFO fields that only we have: they say who this is.
OURS = {"server_name", "slotmesh_version", "python_version", "hot_path"}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    with running_twins(tmp_path_factory.mktemp("facts"), "--enable-debug-command", "yes") as both:
        yield both


def both_parsed(twins: Twins, *args: str) -> tuple[Any, Any]:
    """The parsed replies: stock's, ours."""
    return parse(twins.stock.call(args)), parse(twins.ours.call(args))


# -- configuration ---------------------------------------------------------------------------------------------


def test_config_get_gives_all_names_and_defaults_of_stock(twins: Twins) -> None:
    stock, ours = (
        dict(zip(reply[::2], reply[1::2], strict=True)) for reply in both_parsed(twins, "CONFIG", "GET", "*")
    )
    assert ours.keys() == stock.keys()
    assert len(stock) == 192
    for name in stock:
        if name.decode() not in OWN_PLACE:
            assert ours[name] == stock[name], name


@pytest.mark.parametrize(
    "argv",
    [
        ["--nosuch", "1"],
        ["--port", "x"],
        ["--port"],
        ["--port", "1", "2"],
        ["--maxmemory", "1x"],
        ["--maxmemory-policy", "nosuch"],
        ["--save", "1"],
        ["--rename-command", "nosuch", "x"],
        ["--cluster-enabled", "yes", "--replicaof", "1.2.3.4", "5"],
        ["--unixsocketperm", "9"],
        ["--client-output-buffer-limit", "nosuch 1 2 3"],
        ["--port", "0", "--hz"],
    ],
    ids=" ".join,
)
def test_start_is_refused_with_the_words_of_stock(tmp_path: Path, argv: list[str]) -> None:
    stock = subprocess.run([STOCK_SERVER, *argv], cwd=tmp_path, capture_output=True, timeout=20, check=False)
    ours = subprocess.run(
        [sys.executable, "-m", "slotmesh.node", *argv],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert (ours.returncode, stock.returncode) == (1, 1)
    assert ours.stderr.decode().rstrip() == stock.stderr.decode().rstrip()


def test_rewritten_file_starts_both_servers_alike(tmp_path: Path) -> None:
    options = ["--maxmemory", "100mb", "--save", "10 1 20 2", "--slave-priority", "7", "--masterauth", "a b"]
    config_file = tmp_path / "rewritten.conf"
    config_file.write_text("# kept\ntimeout 5\n")
    with start_server((*OUR_NODE, str(config_file)), tmp_path / "first", *options) as node:
        node.call("ACL", "SETUSER", "bob", "on", ">x", "~a*", "+get")
        node.call("CONFIG", "SET", "hz", "50")
        assert node.call("CONFIG", "REWRITE") == b"OK"
    assert config_file.read_text().startswith("# kept\ntimeout 5\n")
    shown = []
    for name, launcher in (("stock", (STOCK_SERVER,)), ("ours", OUR_NODE)):
        with start_server((*launcher, str(config_file)), tmp_path / name) as server:
            names = ("maxmemory", "replica-priority", "masterauth", "hz", "timeout")
            shown.append(([server.call("CONFIG", "GET", name) for name in names], server.call("ACL", "LIST")))
    assert shown[0] == shown[1]
    assert b"maxmemory" in shown[0][0][0]


# -- INFO and clients ------------------------------------------------------------------------------------------


def _sections(text: bytes) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    title = ""
    for line in text.decode().splitlines():
        if line.startswith("# "):
            title = line[2:]
            sections[title] = []
        elif line:
            sections[title].append(line.partition(":")[0])
    return sections


def test_info_has_every_field_of_stock_in_its_order(twins: Twins) -> None:
    twins.both("SET", "info-key", "x")
    stock, ours = (_sections(text) for text in both_parsed(twins, "INFO", "everything"))
    assert list(ours) == list(stock)
    for title in stock:
        if title in ("Commandstats", "Latencystats", "Errorstats"):
            continue  # they tell what was done
        assert [field for field in ours[title] if field not in OURS] == stock[title], title


@pytest.mark.parametrize("wanted", ["", "default", "all", "everything", "server", "CPU", "nosuch", "commandstats"])
def test_info_picks_the_sections_of_stock(twins: Twins, wanted: str) -> None:
    stock, ours = both_parsed(twins, *("INFO", wanted)[: 2 if wanted else 1])
    assert re.findall(rb"# \w+", ours) == re.findall(rb"# \w+", stock)


def test_client_list_has_the_fields_of_stock(twins: Twins) -> None:
    twins.both("CLIENT", "SETNAME", "me")
    stock, ours = both_parsed(twins, "CLIENT", "LIST")
    assert re.findall(rb"([a-z-]+)=", ours) == re.findall(rb"([a-z-]+)=", stock)
    for field in (
        rb"name",
        rb"flags",
        rb"db",
        rb"multi",
        rb"qbuf",
        rb"argv-mem",
        rb"events",
        rb"cmd",
        rb"user",
        rb"redir",
    ):
        pattern = rb"(?<![a-z-])" + field + rb"=(\S*)"
        assert re.findall(pattern, ours) == re.findall(pattern, stock), field


# -- users -----------------------------------------------------------------------------------------------------

_COMMANDS = ("get", "set", "del", "config|get", "client|id", "hgetall", "publish", "debug", "select", "exec")
_CATEGORIES = ("read", "write", "keyspace", "string", "hash", "fast", "slow", "admin", "dangerous", "connection")
_REQUESTS = (
    "get a1",
    "set a1 v",
    "set b1 v",
    "set a1 v get",
    "getdel a1",
    "copy a1 b1",
    "sort a1 store b1",
    "mset a1 1 b1 2",
    "config get x",
    "client id",
    "client list",
    "publish c1 m",
    "publish d m",
    "subscribe c1 d",
    "psubscribe c*",
    "select 0",
    "select 1",
    "hgetall a1",
    "ping",
    "auth x",
    "bitfield a1 get u8 0",
    "bitfield a1 set u8 0 1",
    "zunionstore a1 1 b1",
)


def _random_rules(rng: random.Random) -> list[str]:
    rules = []
    for _ in range(rng.randrange(1, 9)):
        sign = rng.choice("+-")
        rules.append(
            rng.choice(
                [
                    sign + rng.choice(_COMMANDS),
                    f"{sign}@{rng.choice(_CATEGORIES)}",
                    sign + "@all",
                    "+select|0",
                    rng.choice(["~a*", "%R~a*", "%W~b*", "%RW~c*", "resetkeys"]),
                    rng.choice(["&c*", "&d", "resetchannels"]),
                    f"(+{rng.choice(_COMMANDS)} ~{rng.choice('ab')}* &c*)",
                ]
            )
        )
    return rules


@pytest.mark.parametrize("seed", range(40))
def test_rights_of_random_users_are_judged_alike(twins: Twins, seed: int) -> None:
    rules = _random_rules(random.Random(seed))
    twins.ask("ACL", "SETUSER", "u", "reset", *rules)
    for request in _REQUESTS:
        twins.ask("ACL", "DRYRUN", "u", *request.split())
    described = parse(twins.ours.call(["ACL", "LIST"]))
    mine = next(line for line in described if line.startswith(b"user u ")).decode().split(" ")[2:]
    known = {name.decode() for name in parse(twins.stock.call(["COMMAND", "LIST"]))}
    mine = [
        rule for rule in mine if rule[0] not in "+-" or rule[1] == "@" or rule[1:].rstrip(")") in known | {"select|0"}
    ]
    twins.ask("ACL", "SETUSER", "u", "reset", *mine)  # stock reads our description
    for request in _REQUESTS:
        twins.ask("ACL", "DRYRUN", "u", *request.split())


def test_categories_hold_the_same_commands(twins: Twins) -> None:
    known = {name.decode() for name in parse(twins.ours.call(["COMMAND", "LIST"]))}
    for category in parse(twins.stock.call(["ACL", "CAT"])):
        stock, ours = both_parsed(twins, "ACL", "CAT", category.decode())
        shared = {name.decode() for name in stock} & known
        newer = {name.decode() for name in ours} - {name.decode() for name in stock}
        assert shared <= {name.decode() for name in ours}, category
        assert not any(name in stock for name in newer)


def test_acl_file_of_each_is_read_by_the_other(tmp_path: Path) -> None:
    users = [
        "user default on nopass ~* &* +@all",
        "user bob on #" + "a" * 64 + " ~x* resetchannels &c -@all +get +@hash",
    ]
    lines = []
    for number, start in enumerate((start_node, start_stock_server, start_node)):
        path = tmp_path / f"{number}.acl"
        path.write_text("\n".join(users) + "\n")
        with start(tmp_path / str(number), "--aclfile", str(path)) as server:
            assert server.call("ACL", "SETUSER", f"extra{number}", "on", "~k", "+set") == b"OK"
            assert server.call("ACL", "SAVE") == b"OK"
        users = path.read_text().splitlines()
        lines.append(users)
    assert len(lines[-1]) == 5
    assert set(lines[0]) <= set(lines[1]) <= set(lines[2])


# -- fingerprints ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_digest_of_the_same_data_is_the_same(twins: Twins, seed: int) -> None:
    rng = random.Random(seed)
    twins.both("FLUSHALL")
    for _ in range(60):
        key, word, score = (
            f"k{rng.randrange(12)}",
            f"w{rng.randrange(9)}",
            rng.choice(["1", "2.5", "-inf", "1e300", "0.1"]),
        )
        twins.both(
            *rng.choice(
                [
                    ("SET", key, word),
                    ("INCR", key),
                    ("APPEND", key, word),
                    ("RPUSH", key, word, word),
                    ("SADD", key, word, "x"),
                    ("ZADD", key, score, word),
                    ("HSET", key, word, word),
                    ("XADD", key, f"{rng.randrange(1, 1 << 40)}-{rng.randrange(9)}", word, word),
                    ("EXPIRE", key, 1000),
                    ("SELECT", rng.randrange(3)),
                ]
            )
        )
    twins.ask("DEBUG", "DIGEST")
    twins.both("SELECT", 0)
    for number in range(12):
        twins.ask("DEBUG", "DIGEST-VALUE", f"k{number}", "nosuch")


def test_pubsub_help_and_the_like_have_the_shape_of_stock(twins: Twins) -> None:
    for container in ("ACL", "CLIENT", "CONFIG", "COMMAND", "LATENCY", "MEMORY", "MODULE", "PUBSUB", "SLOWLOG"):
        stock, ours = both_parsed(twins, container, "HELP")
        assert ours[0] == stock[0]
        assert ours[-2] == b"HELP"
        syntax = [{line.split()[0] for line in reply[1:] if not line.startswith(b" ")} for reply in (stock, ours)]
        assert syntax[0] - {b"CACHING"} <= syntax[1] | {b"CACHING"}, container
