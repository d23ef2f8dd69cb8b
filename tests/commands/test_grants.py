"""What a limited user is granted on the fast path is never more than the full rules allow, and never stale."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotmesh.node.acl.check import ALLOWED, judge
from slotmesh.node.acl.grants import grants_of
from slotmesh.node.acl.rules import RuleError, User
from slotmesh.node.clients.client import GATE_ACL, GATE_MULTI, GATE_READONLY
from slotmesh.node.serving.fast_path import gates_are_open
from slotmesh.node.spec import registry
from tests.support.inprocess import InProcessNode

RULES = (
    b"+@all",
    b"-@all",
    b"+@read",
    b"-@write",
    b"+get",
    b"+set",
    b"-get",
    b"+select|0",
    b"+publish",
    b"~*",
    b"~app:*",
    b"%R~app:*",
    b"%W~log:*",
    b"~a?c*",
    b"~exact",
    b"~[ab]*",
    b"allkeys",
    b"resetkeys",
    b"&*",
    b"&news",
    b"resetchannels",
    b"db=0",
    b"alldbs",
    b"(+get ~other:*)",
    b"(+@all ~*)",
    b"clearselectors",
)
REQUESTS = (
    [b"GET", b"app:1"],
    [b"GET", b"other:1"],
    [b"GET", b"exact"],
    [b"GET", b"abc"],
    [b"SET", b"app:1", b"v"],
    [b"SET", b"log:1", b"v"],
    [b"SET", b"log:1", b"v", b"GET"],
    [b"MGET", b"app:1", b"log:1"],
    [b"PUBLISH", b"news", b"m"],
    [b"PUBLISH", b"olds", b"m"],
    [b"SPUBLISH", b"news", b"m"],
    [b"PING"],
    [b"SELECT", b"1"],
    [b"FLUSHALL"],
    [b"DBSIZE"],
    [b"SORT", b"app:1", b"GET", b"other:*"],
)


@pytest.fixture(scope="module")
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as node:
        yield node


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(RULES), max_size=8), st.integers(0, 1))
def test_granted_command_is_one_that_the_full_rules_allow(
    node: InProcessNode, rules: list[bytes], database: int
) -> None:
    user = User(b"u")
    for rule in rules:
        with suppress(RuleError):  # a pattern behind "all"
            user.apply(rule, node.server.acl.catalogue)
    client = node.client().served
    client.set_gate(GATE_ACL, True)
    client.grants = grants_of(user, registry.every_spec())
    for argv in REQUESTS:
        spec = registry.find(argv)
        if spec.on_fast_path and gates_are_open(client, spec, argv):
            assert judge(user, spec, argv, database)[0] == ALLOWED, argv
    client.sock.close()  # type: ignore[union-attr]


def test_common_limits_are_granted_and_no_other_gate_is_passed(node: InProcessNode) -> None:
    client = node.client().served
    get, put = registry.LOOKUP[b"get"], registry.LOOKUP[b"set"]
    assert gates_are_open(client, get, [b"GET", b"k"])
    node.server.acl.set_user(b"web", [b"on", b"nopass", b"~app:*", b"~web:*", b"+@read", b"+ping"])
    assert node.server.acl.log_in(client, b"web", b"", b"AUTH")
    assert client.gates == GATE_ACL
    assert gates_are_open(client, get, [b"GET", b"app:1"])
    assert gates_are_open(client, get, [b"GET", b"web:1"])
    assert not gates_are_open(client, get, [b"GET", b"other"])
    assert not gates_are_open(client, put, [b"SET", b"app:1", b"v"])
    client.set_gate(GATE_READONLY, True)
    assert gates_are_open(client, get, [b"GET", b"app:1"])
    client.set_gate(GATE_MULTI, True)
    assert not gates_are_open(client, get, [b"GET", b"app:1"])


def test_changed_rights_hold_at_once_and_denials_are_logged() -> None:
    with InProcessNode() as node:
        admin, client = node.client(), node.client()
        admin.call("ACL", "SETUSER", "web", "on", "nopass", "~app:*", "+get", "+set")
        assert client.call("AUTH", "web", "") == b"OK"
        assert client.call("SET", "app:1", "v") == b"OK"
        assert (
            client.raw("GET", "other")
            == b"-NOPERM this user has no permissions to access one of the keys used as arguments\r\n"
        )
        admin.call("ACL", "SETUSER", "web", "-set", "resetkeys", "~other*")
        assert client.raw("SET", "other", "v").startswith(b"-NOPERM this user has no permissions to run the 'set'")
        assert client.raw("GET", "app:1").startswith(b"-NOPERM")
        assert client.raw("GET", "other") == b"$-1\r\n"
        admin.call("ACL", "SETUSER", "web", "allkeys", "+@all", "allchannels")
        assert client.call("SET", "third", "v") == b"OK"
        assert len(admin.call("ACL", "LOG")) == 3
