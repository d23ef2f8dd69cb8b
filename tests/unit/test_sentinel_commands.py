"""SENTINEL and its subcommands: replies, error texts, and what they change. Stock's replies are compared in
tests/oracle.
"""

from __future__ import annotations

import pytest

from slotmesh.node.resp.values import NULL_ARRAY, OK, Status
from slotmesh.sentinel.effects import Emit, ErrorReply, Reply
from slotmesh.sentinel.present import info_section
from tests.support.sentinel_bench import MY_ID, SentinelBench, info

CONFIG = """\
sentinel monitor m 10.0.0.1 6379 2
sentinel monitor n 10.0.0.9 6379 1
sentinel known-replica m 10.0.0.2 6380
sentinel known-sentinel m 10.0.1.2 26001 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
"""


@pytest.fixture
def bench() -> SentinelBench:
    return SentinelBench(CONFIG)


NO_SUCH = ErrorReply("ERR No such master with that name")
TABLE: list[tuple[str, Reply]] = [
    ("PING", Status(b"PONG")),
    ("PING hello", b"hello"),
    ("ROLE", [b"sentinel", [b"m", b"n"]]),
    ("SENTINEL", ErrorReply("ERR wrong number of arguments for 'sentinel' command")),
    ("SENTINEL NONSENSE", ErrorReply("ERR unknown subcommand 'NONSENSE'. Try SENTINEL HELP.")),
    ("SENTINEL MYID", MY_ID.encode()),
    ("SENTINEL MASTER", ErrorReply("ERR wrong number of arguments for 'sentinel|master' command")),
    ("SENTINEL MASTER zz", NO_SUCH),
    ("SENTINEL REPLICAS zz", NO_SUCH),
    ("SENTINEL SENTINELS zz", NO_SUCH),
    ("SENTINEL GET-MASTER-ADDR-BY-NAME m", [b"10.0.0.1", b"6379"]),
    ("SENTINEL GET-PRIMARY-ADDR-BY-NAME m", [b"10.0.0.1", b"6379"]),
    ("SENTINEL GET-MASTER-ADDR-BY-NAME zz", NULL_ARRAY),
    ("SENTINEL IS-PRIMARY-DOWN-BY-ADDR 10.0.0.1 6379 0 *", [0, b"*", 0]),
    ("SENTINEL IS-MASTER-DOWN-BY-ADDR 10.9.9.9 1 0 *", [0, b"*", 0]),
    (
        "SENTINEL IS-MASTER-DOWN-BY-ADDR 10.0.0.1 x 0 *",
        ErrorReply("ERR value is not an integer or out of range"),
    ),
    ("SENTINEL CKQUORUM zz", NO_SUCH),
    ("SENTINEL CKQUORUM m", Status(b"OK 2 usable Sentinels. Quorum and failover authorization can be reached")),
    ("SENTINEL FAILOVER m", ErrorReply("NOGOODSLAVE No suitable replica to promote")),
    ("SENTINEL FAILOVER zz", NO_SUCH),
    ("SENTINEL PENDING-SCRIPTS", []),
    ("SENTINEL FLUSHCONFIG", OK),
    ("SENTINEL RESET zz*", 0),
    ("SENTINEL RESET *", 2),
    ("SENTINEL REMOVE zz", NO_SUCH),
    ("SENTINEL INFO-CACHE zz", []),
    ("SENTINEL INFO-CACHE n", [b"n", [[0, None]]]),
    ("SENTINEL MONITOR m 10.0.0.3 1 1", ErrorReply("ERR Duplicate master name.")),
    ("SENTINEL MONITOR x 10.0.0.3 1 0", ErrorReply("ERR Quorum must be 1 or greater.")),
    ("SENTINEL MONITOR x 10.0.0.3 y 1", ErrorReply("ERR Invalid port")),
    ("SENTINEL MONITOR x 10.0.0.3 1 y", ErrorReply("ERR Invalid quorum")),
    ("SENTINEL MONITOR x name.invalid 1 1", ErrorReply("ERR Invalid IP address or hostname specified")),
    ("SENTINEL SET m quorum 0", ErrorReply("ERR Invalid argument '0' for SENTINEL SET 'quorum'")),
    ("SENTINEL SET m x y", ErrorReply("ERR Unknown option or number of arguments for SENTINEL SET 'x'")),
    ("SENTINEL SET zz quorum 1", NO_SUCH),
    ("SENTINEL CONFIG GET announce-*", {b"announce-hostnames": b"no", b"announce-ip": b"", b"announce-port": b"0"}),
    ("SENTINEL CONFIG SET x y", ErrorReply("ERR Invalid argument 'x' to SENTINEL CONFIG SET")),
    (
        "SENTINEL CONFIG SET announce-port 99999",
        ErrorReply("ERR Invalid value '99999' to SENTINEL CONFIG SET 'announce-port'"),
    ),
    (
        "SENTINEL CONFIG X",
        ErrorReply("ERR Only SENTINEL CONFIG GET <option> / SET <option> <value> are supported."),
    ),
    ("SENTINEL DEBUG info-period 0", ErrorReply("ERR Invalid argument '0' for SENTINEL DEBUG 'info-period'")),
    ("SENTINEL SIMULATE-FAILURE help", [b"crash-after-election", b"crash-after-promotion"]),
    ("SENTINEL SIMULATE-FAILURE x", ErrorReply("ERR Unknown failure simulation specified")),
    ("PUBLISH other x", ErrorReply("ERR Only HELLO messages are accepted by Sentinel instances.")),
    ("PUBLISH __sentinel__:hello garbage", 1),
    ("GET key", ErrorReply("ERR unknown command 'GET', with args beginning with: 'key' ")),
]


@pytest.mark.parametrize(("command", "reply"), TABLE, ids=[row[0] for row in TABLE])
def test_command_gives_its_reply(bench: SentinelBench, command: str, reply: Reply) -> None:
    assert bench.call(*command.split()) == reply


def test_every_subcommand_of_the_table_is_in_the_help(bench: SentinelBench) -> None:
    from slotmesh.sentinel.commands import SUBCOMMANDS

    lines = [line.text.decode() for line in bench.call("SENTINEL", "HELP")]  # type: ignore[union-attr]
    for name in SUBCOMMANDS:
        shown = "REPLICAS" if name == "slaves" else name.upper()
        assert any(line.startswith(shown) for line in lines), name


PRIMARY_FIELDS = """
    name ip port runid flags link-pending-commands link-refcount last-ping-sent last-ok-ping-reply last-ping-reply
    down-after-milliseconds info-refresh role-reported role-reported-time config-epoch num-slaves num-other-sentinels
    quorum failover-timeout parallel-syncs
"""


def test_fields_of_a_primary_are_stocks(bench: SentinelBench) -> None:
    fields = bench.call("SENTINEL", "MASTER", "m")
    assert isinstance(fields, dict)
    assert [name.decode() for name in fields] == PRIMARY_FIELDS.split()
    assert fields[b"flags"] == b"master,disconnected"
    assert (fields[b"num-slaves"], fields[b"num-other-sentinels"]) == (b"1", b"1")


def test_ckquorum_counts_only_sentinels_that_are_up(bench: SentinelBench) -> None:
    bench.core.ctx.units["m"].sentinels["a" * 40].sdown = True
    assert bench.call("SENTINEL", "CKQUORUM", "m") == ErrorReply(
        "NOQUORUM 1 usable Sentinels. Not enough available Sentinels to reach the specified quorum for this master. "
        "Not enough available Sentinels to reach the majority and authorize a failover"
    )
    bench.core.ctx.units["m"].settings.quorum = 1
    assert bench.call("SENTINEL", "CKQUORUM", "m") == ErrorReply(
        "NOQUORUM 1 usable Sentinels. Not enough available Sentinels to reach the majority and authorize a failover"
    )


def test_set_changes_announces_and_saves_all_options_up_to_the_first_bad_one(bench: SentinelBench) -> None:
    reply = bench.call("SENTINEL", "SET", "m", "down-after-milliseconds", "1234", "parallel-syncs", "x", "quorum", "5")
    assert reply == ErrorReply("ERR Invalid argument 'x' for SENTINEL SET 'parallel-syncs'")
    settings = bench.core.ctx.units["m"].settings
    assert (settings.down_after_ms, settings.quorum) == (1234, 2)
    assert bench.events() == ["+set"]
    assert "sentinel down-after-milliseconds m 1234" in bench.saved()


def test_password_is_set_without_being_told(bench: SentinelBench) -> None:
    bench.call("SENTINEL", "SET", "m", "auth-pass", "geheim")
    messages = [effect.message for effect in bench.batch if isinstance(effect, Emit)]
    assert messages == ["master m 10.0.0.1 6379 auth-pass ******"]


def test_credentials_are_used_on_new_connections(bench: SentinelBench) -> None:
    bench.call("SENTINEL", "SET", "m", "auth-user", "me", "auth-pass", "geheim")
    bench.advance(10)
    bench.accept(6380)
    assert bench.sent()[0] == (b"AUTH", b"me", b"geheim")


def test_scripts_can_be_changed_only_when_the_file_permits_it(bench: SentinelBench) -> None:
    reply = bench.call("SENTINEL", "SET", "m", "notification-script", "/ok/x")
    assert isinstance(reply, ErrorReply)
    assert "is denied for security reasons" in reply.text
    free = SentinelBench(CONFIG + "sentinel deny-scripts-reconfig no\n")
    assert free.call("SENTINEL", "SET", "m", "notification-script", "/ok/x") == OK
    assert free.call("SENTINEL", "SET", "m", "notification-script", "/missing") == ErrorReply(
        "ERR Notification script seems non existing or non executable"
    )
    assert free.call("SENTINEL", "SET", "m", "notification-script", "") == OK
    assert free.core.ctx.units["m"].settings.notification_script == ""


def test_monitor_and_remove_change_the_file(bench: SentinelBench) -> None:
    assert bench.call("SENTINEL", "MONITOR", "x", "10.0.0.7", "6379", "3") == OK
    assert bench.events() == ["+monitor"]
    assert "sentinel monitor x 10.0.0.7 6379 3" in bench.saved()
    assert bench.call("SENTINEL", "REMOVE", "x") == OK
    assert bench.events() == ["-monitor"]
    assert "monitor x" not in bench.saved()


def test_reset_forgets_replicas_and_sentinels(bench: SentinelBench) -> None:
    assert bench.call("SENTINEL", "RESET", "m") == 1
    unit = bench.core.ctx.units["m"]
    assert not unit.replicas
    assert not unit.sentinels
    assert bench.events() == ["+reset-master"]


def test_debug_shows_and_changes_the_periods(bench: SentinelBench) -> None:
    shown = bench.call("SENTINEL", "DEBUG")
    assert isinstance(shown, dict)
    assert (shown[b"INFO-PERIOD"], shown[b"SCRIPT-RETRY-DELAY"], len(shown)) == (b"10000", b"30000", 13)
    assert bench.call("SENTINEL", "DEBUG", "info-period", "5000", "PING-PERIOD", "500") == OK
    assert (bench.core.ctx.timing.info_period, bench.core.ctx.timing.ping_period) == (5000, 500)
    assert bench.call("SENTINEL", "DEBUG", "x") == ErrorReply(
        "ERR Unknown option or number of arguments for SENTINEL DEBUG 'x'"
    )


def test_info_cache_has_the_last_info_of_all_members(bench: SentinelBench) -> None:
    bench.accept(6380)
    bench.answer(6380, {"PING": b"PONG", "INFO": info("slave")})
    bench.advance(300)
    reply = bench.call("SENTINEL", "INFO-CACHE", "m")
    assert reply == [b"m", [[0, None], [300, info("slave")]]]


def test_unannounced_replica_is_not_shown(bench: SentinelBench) -> None:
    bench.accept(6380)
    bench.answer(6380, {"PING": b"PONG", "INFO": info("slave", replica_announced=0)})
    assert bench.call("SENTINEL", "REPLICAS", "m") == []


def test_info_section_lists_units_with_their_status(bench: SentinelBench) -> None:
    unit = bench.core.ctx.units["m"]
    unit.primary.sdown = unit.odown = True
    text = info_section(bench.core.ctx)
    assert "sentinel_masters:2\r\nsentinel_tilt:0\r\nsentinel_tilt_since_seconds:-1\r\n" in text
    assert "master0:name=m,status=odown,address=10.0.0.1:6379,slaves=1,sentinels=2\r\n" in text
    assert "master1:name=n,status=ok,address=10.0.0.9:6379,slaves=0,sentinels=1\r\n" in text


def test_announced_address_and_names_are_used() -> None:
    bench = SentinelBench(
        "sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\nsentinel monitor m db.example 6379 1\n"
        "sentinel announce-ip 1.2.3.4\nsentinel announce-port 99\n"
    )
    assert bench.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m") == [b"db.example", b"6379"]
    bench.accept(6379)
    bench.answer(6379, {"PING": b"PONG", "INFO": info()})
    assert bench.core.ctx.units["m"].primary.address.ip == "10.0.0.1", "learned by connecting"
    hellos = [argv[2] for argv in bench.sent(bench.advance(2_100)) if argv[0] == b"PUBLISH"]
    assert hellos[0].startswith(b"1.2.3.4,99,")
    assert b",m,db.example,6379,0" in hellos[0]
    bench.call("SENTINEL", "CONFIG", "SET", "announce-hostnames", "no")
    assert bench.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m") == [b"10.0.0.1", b"6379"]
