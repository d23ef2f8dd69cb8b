from __future__ import annotations

import pytest

from slotmesh.sentinel import statements
from slotmesh.sentinel.config import SIGNATURE, ConfigFileError, ConfigText, option_lines, parse_config
from tests.support.sentinel_bench import MY_ID, SentinelBench

STOCK_FILE = """\
# Example sentinel.conf
protected-mode no
port 26379
daemonize no
pidfile /var/run/redis-sentinel.pid
logfile ""
dir /tmp
sentinel monitor mymaster 127.0.0.1 6379 2
sentinel down-after-milliseconds mymaster 30000
acllog-max-len 128
sentinel parallel-syncs mymaster 1
sentinel failover-timeout mymaster 180000
sentinel deny-scripts-reconfig yes
SENTINEL resolve-hostnames no
SENTINEL announce-hostnames no
SENTINEL master-reboot-down-after-period mymaster 0
"""


def test_config_as_shipped_by_stock_is_accepted() -> None:
    config = parse_config(STOCK_FILE)
    assert config.options.port == 26379
    assert config.options.dir == "/tmp"
    bench = SentinelBench(STOCK_FILE)
    unit = bench.core.ctx.units["mymaster"]
    assert (unit.primary.address.host, unit.primary.address.port, unit.settings.quorum) == ("127.0.0.1", 6379, 2)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("no-such-directive 1", "Bad directive or wrong number of arguments"),
        ("port", "Bad directive or wrong number of arguments"),
        ("port 1 2", "Bad directive or wrong number of arguments"),
        ("port x", "argument couldn't be parsed into an integer"),
        ("sentinel", "Bad directive or wrong number of arguments"),
        ('dir "unbalanced', "Unbalanced quotes in configuration line"),
        ("loadmodule /x.so", "Modules are not supported"),
        ("tls-port 1", "TLS is not supported by the sentinel"),
    ],
)
def test_config_line_that_is_wrong_is_named_with_its_number(line: str, problem: str) -> None:
    with pytest.raises(ConfigFileError) as failure:
        parse_config(f"port 26379\n# comment\n{line}\n")
    text = str(failure.value)
    assert "*** FATAL CONFIG FILE ERROR" in text
    assert f"at line 3\n>>> '{line}'\n{problem}" in text


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("sentinel no-such m 1", "Unrecognized sentinel configuration statement."),
        ("sentinel monitor m 127.0.0.1 6379", "Unrecognized sentinel configuration statement."),
        ("sentinel monitor n 127.0.0.1 6379 0", "Quorum must be 1 or greater."),
        ("sentinel monitor m 127.0.0.1 6379 1", "Duplicate master name."),
        ("sentinel monitor n 127.0.0.1 70000 1", "Invalid port number."),
        ("sentinel monitor n host.invalid 6379 1", "Can't resolve instance hostname."),
        ("sentinel down-after-milliseconds n 10", "No such master with specified name."),
        ("sentinel down-after-milliseconds m 0", "negative or zero time parameter."),
        ("sentinel failover-timeout m -1", "negative or zero time parameter."),
        ("sentinel master-reboot-down-after-period m -1", "negative time parameter."),
        ("sentinel notification-script m /missing", "Notification script seems non existing or non executable."),
        ("sentinel client-reconfig-script m /missing", "Client reconfiguration script seems non existing or non "),
        ("sentinel myid abc", "Malformed Sentinel id in myid option."),
        ("sentinel resolve-hostnames maybe", "Please specify yes or no for the resolve-hostnames option."),
        ("sentinel deny-scripts-reconfig maybe", "Please specify yes or no for the deny-scripts-reconfig options."),
        ("sentinel known-replica m 127.0.0.1 70000", "Invalid port number."),
        ("sentinel known-slave m 127.0.0.1 -1", "Invalid port number."),
        (f"sentinel known-replica m 127.0.0.1 {'9' * 5000}", "Invalid port number."),
        (f"sentinel known-replica m {'x' * 64} 1", "Can't resolve instance hostname."),
        (f"sentinel known-sentinel m 127.0.0.1 70000 {'a' * 40}", "Invalid port number."),
        (f"sentinel known-sentinel m {'x' * 64} 1 {'a' * 40}", "Can't resolve instance hostname."),
        (f"sentinel current-epoch {'9' * 5000}", "Epoch out of range."),
        (f"sentinel config-epoch m {2**64 - 1}", "Epoch out of range."),
        ("sentinel leader-epoch m -1", "Epoch out of range."),
        ("sentinel known-replica m 127.0.0.1 6380\nsentinel known-replica m 127.0.0.1 6380", "Duplicate hostname and"),
        ("sentinel rename-command m A B\nsentinel rename-command m a C", "Same command renamed multiple times"),
    ],
)
def test_statement_that_is_wrong_is_explained(line: str, problem: str) -> None:
    with pytest.raises(ConfigFileError) as failure:
        SentinelBench(f"sentinel monitor m 127.0.0.1 6379 2\n{line}\n")
    assert problem in str(failure.value)
    assert f">>> '{line.splitlines()[-1]}'" in str(failure.value)


def test_newer_name_of_the_reboot_period_is_read_and_written_as_all_servers_know_it() -> None:
    file = STOCK_FILE.replace("SENTINEL master-reboot", "sentinel primary-reboot").replace(
        "mymaster 0", "mymaster 7000"
    )
    bench = SentinelBench(file)
    assert bench.core.ctx.units["mymaster"].settings.reboot_down_after_ms == 7000
    written = ConfigText(file.splitlines()).rewrite(statements.dump(bench.core))
    assert [line for line in written.splitlines() if "reboot" in line] == [
        "sentinel master-reboot-down-after-period mymaster 7000"
    ]


def test_included_files_are_read_in_place_and_in_turn() -> None:
    files = {"a.conf": "port 1\ninclude b*.conf\n", "b*.conf": "sentinel monitor m 10.0.0.1 1 1\nport 2"}
    config = parse_config("port 7\ninclude a.conf\nsentinel auth-pass m x\n", read=files.__getitem__)
    assert config.options.port == 2
    assert [statement.words[0] for statement in config.statements] == ["monitor", "auth-pass"]
    assert config.lines == ["port 7", "include a.conf", "sentinel auth-pass m x"]


def test_included_monitor_line_yields_to_what_the_file_itself_has_learnt() -> None:
    own = "include a.conf\nsentinel monitor m 10.0.0.2 6379 1\n"
    (statement,) = parse_config(own, read=lambda _: "sentinel monitor m 10.0.0.1 6379 1\n").statements
    assert statement.words == ("monitor", "m", "10.0.0.2", "6379", "1")


def test_file_that_includes_itself_is_refused() -> None:
    with pytest.raises(ConfigFileError, match="include nested more than 32 levels deep"):
        parse_config("include a.conf", read=lambda _: "include a.conf")


def test_statements_before_their_monitor_line_are_applied_after_it() -> None:
    bench = SentinelBench("sentinel down-after-milliseconds m 1234\nsentinel monitor m 127.0.0.1 6379 2\n")
    assert bench.core.ctx.units["m"].settings.down_after_ms == 1234


def test_option_lines_quote_what_needs_it_and_drop_a_bare_sentinel() -> None:
    lines = option_lines(
        ["--port", "7", "--sentinel", "--sentinel", "monitor", "m", "1.2.3.4", "5", "2", "--dir", "a b"]
    )
    assert lines == ["port 7", "sentinel monitor m 1.2.3.4 5 2", 'dir "a b"']
    with pytest.raises(ConfigFileError, match="neither a config file nor an option"):
        option_lines(["what"])


def test_command_line_option_replaces_the_one_in_the_file() -> None:
    config = parse_config("port 1\ndir /tmp\n", ["port 2"])
    assert config.options.port == 2
    assert "port 1" not in config.lines


def test_rewrite_keeps_comments_and_order_reuses_lines_and_drops_superfluous_ones() -> None:
    text = ConfigText(
        ["# mine", "port 1", "sentinel monitor m 1.1.1.1 1 2", "", "sentinel known-slave m 1.1.1.1 2", "dir /tmp"]
    )
    state = [("myid", "x"), ("monitor", "m", "1.1.1.1", "9", "2"), ("known-replica", "m", "1.1.1.1", "3")]
    first = text.rewrite(state)
    assert first.splitlines() == [
        "# mine",
        "port 1",
        "sentinel monitor m 1.1.1.1 9 2",
        "",
        "sentinel known-replica m 1.1.1.1 3",
        "dir /tmp",
        "",
        SIGNATURE,
        "sentinel myid x",
    ]
    assert "known-replica" not in text.rewrite(state[:2])
    assert text.rewrite(state).count(SIGNATURE) == 1


def test_rewrite_quotes_values_that_need_it() -> None:
    text = ConfigText([]).rewrite([("auth-pass", "m", 'a "b" c')])
    assert text.splitlines()[-1] == 'sentinel auth-pass m "a \\"b\\" c"'
    assert parse_config(text).statements[0].words == ("auth-pass", "m", 'a "b" c')


FULL = """\
sentinel monitor m 10.0.0.1 6379 2
sentinel monitor shop 10.0.0.9 7000 2
sentinel down-after-milliseconds m 1000
sentinel failover-timeout m 2000
sentinel parallel-syncs m 3
sentinel notification-script m /ok/notify
sentinel client-reconfig-script m /ok/reconfig
sentinel auth-pass m secret
sentinel auth-user m someone
sentinel rename-command m CONFIG hidden
sentinel config-epoch m 7
sentinel leader-epoch m 8
sentinel known-replica m 10.0.0.2 6379
sentinel known-sentinel m 10.0.1.2 26379 1111111111111111111111111111111111111111
sentinel down-after-milliseconds shop 4000
sentinel known-shard shop aabbccdd aabbccdd00 node1 5 node2
sentinel known-node shop aabbccdd node1 10.0.0.9 7000
sentinel known-node shop aabbccdd node2 10.0.0.10 7000
sentinel config-epoch shop/aabbccdd 4
sentinel known-sentinel shop/aabbccdd 10.0.1.2 26379 1111111111111111111111111111111111111111
sentinel current-epoch 9
sentinel announce-ip 1.2.3.4
sentinel announce-port 99
sentinel sentinel-pass hush
"""


def test_state_written_to_the_file_is_read_back_the_same() -> None:
    first = SentinelBench(FULL)
    first.core.ctx.persist()
    written = first.core.take_effects()
    text = first.saved(written)
    second = SentinelBench(text)
    second.core.ctx.persist()
    assert second.saved(second.core.take_effects()) == text
    ctx = second.core.ctx
    assert ctx.current_epoch == 9
    unit, shard = ctx.units["m"], ctx.units["shop/aabbccdd"]
    assert (unit.config_epoch, unit.last_vote_epoch, unit.settings.renamed) == (7, 8, {"CONFIG": "hidden"})
    assert (shard.primary.node_id, shard.lease_holder, shard.cluster_epoch) == ("node1", "node2", 5)
    assert shard.settings.down_after_ms == 4000
    assert ctx.peer_links["1" * 40].users == 2, "two units share the link to one sentinel"
    assert "shop" in ctx.guards
    assert "shop" not in ctx.units


def test_sentinel_without_an_id_keeps_the_one_it_is_given() -> None:
    bench = SentinelBench("sentinel monitor m 10.0.0.1 6379 2\n")
    bench.call("SENTINEL", "FLUSHCONFIG")
    assert f"sentinel myid {MY_ID}" in bench.saved()
