"""Numbers of databases that no int64 can hold: an error for the caller, whoever looks at the number first."""

from __future__ import annotations

import pytest

from tests.support.inprocess import InProcessNode

ABSURD = b"9" * 5000


@pytest.mark.parametrize(
    "command", [[b"SELECT", ABSURD], [b"MOVE", b"k", ABSURD], [b"COPY", b"k", b"l", b"DB", ABSURD]]
)
@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("queued", [False, True])
def test_absurd_database_is_an_error_of_the_caller(command: list[bytes], limited: bool, queued: bool) -> None:
    with InProcessNode() as node:
        client = node.client()
        client.call("ACL", "SETUSER", "limited", "on", ">p", "+@all", "~*", "db=0,1")
        client.call("SET", "k", "v")
        if limited:
            client.call("AUTH", "limited", "p")
        if queued:
            client.call("MULTI")
            assert client.call(*command) == b"QUEUED"
            (reply,) = client.call("EXEC")
        else:
            reply = client.call(*command)
        assert b"out of range" in str(reply).encode() or b"not an integer" in str(reply).encode()
        assert client.call("PING") == b"PONG"


def test_acl_rule_with_an_absurd_database_is_refused() -> None:
    with InProcessNode() as node:
        reply = node.client().raw("ACL", "SETUSER", "u", b"db=" + ABSURD)
        assert reply.startswith(b"-ERR Error in ACL SETUSER modifier"), reply[:80]
