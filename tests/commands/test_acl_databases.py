"""Rights about databases (Valkey 9.1): which commands need which, what is told of a denial, and how rules are shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.inprocess import InProcessClient, InProcessNode
from tests.tables.support import OK, Table, error, number, play

DENIED = error("NOPERM No permissions to access database")
NIL = b"$-1\r\n"


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as node:
        yield node


def logged_in(node: InProcessNode, *rules: str) -> InProcessClient:
    """A client that is the user of these rules."""
    assert node.client().raw("ACL", "SETUSER", "u", "reset", "on", "nopass", "+@all", "~*", "&*", *rules) == OK
    client = node.client()
    assert client.raw("AUTH", "u", "x") == OK
    return client


#: As a user of databases 1 and 2, beginning in 0.
STEPS: Table = (
    ("PING", b"+PONG\r\n"),
    ("GET k", DENIED),
    ("SET k v", DENIED),
    ("DBSIZE", DENIED),
    ("KEYS *", DENIED),
    ("SCAN 0", DENIED),
    ("FLUSHDB", DENIED),
    ("EVAL return(1) 0", DENIED),
    ("PUBLISH c m", number(0)),
    ("SELECT 0", DENIED),
    ("SELECT 3", DENIED),
    ("SELECT x", error("ERR value is not an integer or out of range")),
    ("SELECT 1", OK),
    ("SET k v", OK),
    ("MOVE k 0", DENIED),
    ("MOVE k 2", number(1)),
    ("SET k w", OK),
    ("COPY k l", number(1)),
    ("COPY k l DB 3 REPLACE", DENIED),
    ("COPY k l REPLACE DB 0", DENIED),
    ("COPY k m DB 2", number(1)),
    ("SWAPDB 1 2", OK),
    ("SWAPDB 1 3", DENIED),
    ("SWAPDB 0 1", DENIED),
    ("FLUSHALL", DENIED),
    ("DBSIZE", number(2)),
    ("FLUSHDB", OK),
    ("SELECT 2", OK),
    ("MULTI", OK),
    ("GET k", b"+QUEUED\r\n"),
    ("SELECT 1", b"+QUEUED\r\n"),
    ("GET k", b"+QUEUED\r\n"),
    ("EXEC", b"*3\r\n$1\r\nw\r\n+OK\r\n" + NIL),
)


def test_every_command_needs_the_databases_that_it_works_on(node: InProcessNode) -> None:
    client = logged_in(node, "db=1,2")
    play(STEPS, lambda words: client.raw(*words), resp3=False)


def test_user_without_any_database_may_do_what_needs_none(node: InProcessNode) -> None:
    client = logged_in(node, "resetdbs")
    assert client.raw("SELECT", "0") == DENIED
    assert client.raw("GET", "k") == DENIED
    assert client.raw("SUBSCRIBE", "c").startswith(b"*3\r\n")


def test_transaction_is_judged_by_the_database_that_it_selects(node: InProcessNode) -> None:
    client = logged_in(node, "db=1")
    client.call("MULTI")
    assert client.raw("SELECT", "1") == b"+QUEUED\r\n"
    assert client.raw("SET", "k", "v") == b"+QUEUED\r\n"
    assert client.raw("EXEC") == b"*2\r\n+OK\r\n+OK\r\n"
    client.call("MULTI")
    assert client.raw("SELECT", "0") == DENIED
    assert client.raw("EXEC").startswith(b"-EXECABORT")
    assert client.raw("GET", "k") == b"$1\r\nv\r\n"


def test_rights_that_are_cut_between_queueing_and_exec_count(node: InProcessNode) -> None:
    client = logged_in(node, "db=0")
    client.call("MULTI")
    client.call("SET", "k", "v")
    node.client().call("ACL", "SETUSER", "u", "db=1")
    (reply,) = client.call("EXEC")
    assert str(reply).endswith("no permission to access the database")


def test_selectors_join_databases_to_other_rights(node: InProcessNode) -> None:
    node.client().call("SET", "k", "v")
    rules = ("reset", "on", "nopass", "(db=0 +get +select ~*)", "(db=1 +@all ~*)")
    assert node.client().raw("ACL", "SETUSER", "u", *rules) == OK
    client = node.client()
    client.call("AUTH", "u", "x")
    assert client.raw("GET", "k") == b"$1\r\nv\r\n"
    assert client.raw("SET", "k", "w") == error("NOPERM this user has no permissions to run the 'set' command")
    assert client.raw("SELECT", "1") == OK
    assert client.raw("SET", "k", "w") == OK
    assert client.raw("MOVE", "k", "0") == error("NOPERM this user has no permissions to run the 'move' command")


@pytest.mark.parametrize(
    ("level", "text"),
    [
        ("7.0", "The user executing the script can't access the database"),
        ("7.2", "ACL failure in script: No permissions to access database"),
    ],
)
def test_scripts_have_no_more_rights_than_their_caller(level: str, text: str) -> None:
    with InProcessNode("--compat-level", level) as node:
        client = logged_in(node, "db=1")
        client.call("SELECT", "1")
        reply = client.call("EVAL", "redis.call('select', 0) return redis.call('get', 'k')", "0")
        assert text in str(reply)
        assert client.call("EVAL", "return redis.call('set', 'k', 'v')", "0") == b"OK"
        assert client.call("EVAL", "return redis.acl_check_cmd('select', '0') and 1 or 2", "0") == 2
        assert client.call("EVAL", "return redis.acl_check_cmd('get', 'k') and 1 or 2", "0") == 1


def test_denials_are_logged_with_the_database(node: InProcessNode) -> None:
    client, admin = logged_in(node, "db=1"), node.client(resp3=True)
    client.call("GET", "k")
    client.call("SELECT", "5")
    entries: list[dict[bytes, Any]] = admin.call("ACL", "LOG")
    assert [(entry[b"reason"], entry[b"object"]) for entry in entries] == [(b"database", b"5"), (b"database", b"0")]


def test_rules_are_shown_where_they_limit(node: InProcessNode) -> None:
    admin = node.client(resp3=True)
    logged_in(node, "db=2,1", "(resetdbs +get)", "(alldbs +get)")
    about = admin.call("ACL", "GETUSER", "u")
    assert about[b"databases"] == b"db=1,2"
    assert [selector.get(b"databases") for selector in about[b"selectors"]] == [b"resetdbs", None]
    assert b"databases" not in admin.call("ACL", "GETUSER", "default")
    line = next(line for line in admin.call("ACL", "LIST") if line.startswith(b"user u "))
    assert b"~* &* db=1,2 +@all (resetchannels resetdbs -@all +get) (resetchannels -@all +get)" in line
    admin.call("ACL", "SETUSER", "u", "alldbs")
    assert b"databases" not in admin.call("ACL", "GETUSER", "u")


def test_dry_run_judges_by_the_selected_database(node: InProcessNode) -> None:
    admin = node.client()
    logged_in(node, "db=1")
    assert admin.call("ACL", "DRYRUN", "u", "GET", "k") == b"This user has no permissions to access the '0' database"
    assert admin.call("ACL", "DRYRUN", "u", "SELECT", "7") == b"This user has no permissions to access the '7' database"
    admin.call("SELECT", "1")
    assert admin.call("ACL", "DRYRUN", "u", "GET", "k") == b"OK"


def test_bad_rules_are_refused(node: InProcessNode) -> None:
    admin = node.client()
    assert admin.raw("ACL", "SETUSER", "u", "db=16") == error(
        "ERR Error in ACL SETUSER modifier 'db=16': The provided database ID is out of range or non-numeric"
    )
    assert admin.raw("ACL", "SETUSER", "u", "db=") == error("ERR Error in ACL SETUSER modifier 'db=': Syntax error")
