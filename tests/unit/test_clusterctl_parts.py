"""The small parts of clusterctl: addresses, packing, configuration files, journals, JSON, exit statuses."""

from __future__ import annotations

import io
import json
import socket
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import hiredis
import pytest
import redis
from click.testing import CliRunner

from slotmesh.cluster.plan import Address, Move, split_into_stages
from slotmesh.cluster.slot_set import SlotSet
from slotmesh.tools.clusterctl.__main__ import FAMILIES, cli
from slotmesh.tools.clusterctl.agreement import poll_until, slot_map_of
from slotmesh.tools.clusterctl.connect import Access, NodeLink, error_text, for_each, pack, parse_address, words
from slotmesh.tools.clusterctl.errors import CannotConnect, OperationFailed, Refused, StillLoading, UsageMistake
from slotmesh.tools.clusterctl.journal import Journal, unfinished_plans
from slotmesh.tools.clusterctl.local import LocalCluster, lay_out, port_is_free, who_listens
from slotmesh.tools.clusterctl.local_config import node_config, quote, sentinel_config
from slotmesh.tools.clusterctl.look import jsonable, render
from slotmesh.tools.clusterctl.output import Output
from slotmesh.tools.clusterctl.session import Session, access_options, find_seeds
from slotmesh.tools.clusterctl.slots_verbs import parse_slot_ranges


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:7001", Address("127.0.0.1", 7001)),
        ("7001", Address("127.0.0.1", 7001)),
        ("node-a.example:7001@17001", Address("node-a.example", 7001)),
        ("[::1]:7001", Address("::1", 7001)),
    ],
)
def test_parse_address_accepted_forms(text: str, expected: Address) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "host", "host:", ":7001x", "host:0", "host:65536", "host:-1"])
def test_parse_address_nonsense_is_a_usage_mistake(text: str) -> None:
    with pytest.raises(UsageMistake):
        parse_address(text)


def test_pack_command_is_what_a_server_parses() -> None:
    reader = hiredis.Reader()
    reader.feed(pack(("SET", b"k\r\n\x00", 12)) + pack(("PING",)))
    assert reader.gets() == [b"SET", b"k\r\n\x00", b"12"]
    assert reader.gets() == [b"PING"]


def test_words_undecodable_bytes_stay_visible() -> None:
    assert words(b"a\xffb") == "a\\xffb"


def test_error_text_code_cut_off_by_the_client_is_put_back() -> None:
    assert error_text(redis.exceptions.MovedError("3999 127.0.0.1:6381")) == "MOVED 3999 127.0.0.1:6381"
    assert error_text(redis.ResponseError("BUSYKEY Target key name already exists.")).startswith("BUSYKEY ")


def test_node_link_nobody_listening_says_connection_refused() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        link = NodeLink(Address("127.0.0.1", port), Access())
        with pytest.raises(CannotConnect, match=f"127.0.0.1:{port}: connection refused"):
            link.call("PING")


def test_node_link_silent_server_times_out() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        link = NodeLink(Address("127.0.0.1", silent.getsockname()[1]), Access(timeout_s=0.05))
        with pytest.raises(CannotConnect, match="does not answer in time"):
            link.call("PING")


def test_for_each_keeps_order_and_raises_the_first_error() -> None:
    assert for_each([3, 1, 2], lambda number: number * 2) == [6, 2, 4]
    with pytest.raises(ValueError, match="'one'"):
        for_each(["3", "one", "two"], int)


def test_poll_until_never_true_says_what_is_missing() -> None:
    with pytest.raises(OperationFailed, match="the moon"):
        poll_until(lambda: "the moon", 0.01)


def test_poll_until_node_that_loads_its_data_is_waited_for_beyond_the_deadline() -> None:
    answers = iter([StillLoading("h:1 loads"), StillLoading("h:1 loads"), StillLoading("h:1 loads"), None])

    def done() -> str | None:
        if (answer := next(answers)) is not None:
            raise answer
        return None

    poll_until(done, 0.0)


def test_node_link_host_without_address_is_named() -> None:
    link = NodeLink(Address("no-such-host.invalid", 7001), Access())
    with pytest.raises(CannotConnect, match=r"the host name no-such-host\.invalid cannot be resolved: "):
        link.call("PING")


def test_slot_map_of_leaves_out_nodes_without_slots() -> None:
    assert slot_map_of({"b": SlotSet([1]), "a": SlotSet([0]), "c": SlotSet()}) == (("a", 1), ("b", 2))


@pytest.mark.parametrize("value", ["", "plain", "two words", 'quo"te', "back\\slash", "ctrl\x01", "ümläut", "#hash"])
def test_quote_any_value_survives_the_config_format(value: str) -> None:
    quoted = quote(value)
    if quoted.startswith('"'):
        raw = quoted[1:-1].encode("ascii").decode("unicode_escape").encode("latin-1")
        assert raw.decode() == value
    else:
        assert quoted == value
        assert " " not in value


def small(directory: Path) -> LocalCluster:
    return lay_out(directory, 3, 1, 3, 7001, 26379, ["node"], ["sentinel"])


def test_lay_out_defaults_are_seven_thousand_one_to_six(tmp_path: Path) -> None:
    cluster = small(tmp_path / "c")
    assert [node.address.port for node in cluster.nodes] == [7001, 7002, 7003, 7004, 7005, 7006]
    assert cluster.nodes[0].ports == [7001, 17001]
    assert [sentinel.address.port for sentinel in cluster.sentinels] == [26379, 26380, 26381]
    config = sentinel_config(cluster, cluster.sentinels[0], None)
    assert "sentinel monitor mesh 127.0.0.1 7001 2\n" in config
    assert "sentinel down-after-milliseconds mesh 1000\n" in config


@pytest.mark.parametrize(("port", "sentinel_port"), [(7001, 7003), (7001, 17003), (55531, 26379)])
def test_lay_out_overlapping_or_too_high_ports_are_refused(tmp_path: Path, port: int, sentinel_port: int) -> None:
    with pytest.raises(UsageMistake):
        lay_out(tmp_path, 3, 1, 3, port, sentinel_port, ["n"], ["s"])


def test_local_cluster_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    cluster = small(tmp_path / "c")
    cluster.formed = True
    cluster.save()
    assert LocalCluster.load(tmp_path / "c") == cluster
    assert LocalCluster.load(tmp_path / "none") is None
    (tmp_path / "c" / "cluster.json").write_text("{")
    with pytest.raises(UsageMistake, match="cannot be read"):
        LocalCluster.load(tmp_path / "c")
    (tmp_path / "c" / "cluster.json").write_text('{"version": 99}')
    with pytest.raises(UsageMistake, match="format 99"):
        LocalCluster.load(tmp_path / "c")


def test_node_config_password_and_extra_lines_come_last(tmp_path: Path) -> None:
    text = node_config(small(tmp_path).nodes[0], "two words", ["maxmemory 100mb"])
    assert 'requirepass "two words"\nmasterauth "two words"\nmaxmemory 100mb\n' in text
    assert "cluster-enabled yes\n" in text


def test_local_process_foreign_pid_is_not_taken_for_ours(tmp_path: Path) -> None:
    process = small(tmp_path).nodes[0]
    process.home.mkdir(parents=True)
    assert process.pid() is None
    process.pid_path.write_text("1\n")
    assert process.pid() is None
    process.pid_path.write_text("garbage")
    assert process.pid() is None


def test_port_is_free_and_who_listens_name_the_holder() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert not port_is_free(port)
        found = who_listens(port)
        assert found is not None
        assert "python" in found[1]
    assert who_listens(port) is None


MOVES = [Move("a", "b", SlotSet.from_range(0, 9)), Move("c", "b", SlotSet([100]))]


def test_journal_abandoned_plan_is_found_and_a_held_one_is_running(tmp_path: Path) -> None:
    with Journal(tmp_path, "reshard", MOVES) as journal:
        assert unfinished_plans(tmp_path, ["a", "b", "c"]) == ([], [journal.plan])
    assert unfinished_plans(tmp_path, ["a", "b", "c", "d"]) == ([journal.plan], [])
    assert unfinished_plans(tmp_path, ["a", "b"]) == ([], [])


def test_journal_done_leaves_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path, "reshard", MOVES) as journal:
        journal.done()
    assert list(tmp_path.iterdir()) == []


def test_journal_unwritable_directory_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperationFailed, match="cannot write the plan file"), Journal(tmp_path / "file", "x", MOVES):
        pass


def test_unfinished_plans_damaged_file_is_reported_and_empty_one_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("")
    assert unfinished_plans(tmp_path, ["a"]) == ([], [])
    (tmp_path / "b.json").write_text('{"version": 1}')
    with pytest.raises(OperationFailed, match="cannot be read"):
        unfinished_plans(tmp_path, ["a"])
    (tmp_path / "b.json").write_text('{"version": 2}')
    with pytest.raises(OperationFailed, match="format 2"):
        unfinished_plans(tmp_path, ["a"])


def test_split_into_stages_no_node_gives_and_takes_in_one_stage() -> None:
    one, two, three = Move("a", "b", SlotSet([1])), Move("b", "c", SlotSet([2])), Move("a", "d", SlotSet([3]))
    assert split_into_stages([one, two, three]) == [[one, three], [two]]


def test_find_seeds_option_beats_environment_beats_state_beats_default(tmp_path: Path) -> None:
    directory = tmp_path / "c"
    assert find_seeds([], directory, {}) == [Address("127.0.0.1", 7001)]
    small(directory).save()
    assert [seed.port for seed in find_seeds([], directory, {})] == [7001, 7002, 7003, 7004, 7005, 7006]
    environment = {"CLUSTERCTL_NODE": "h:1,h:2"}
    assert find_seeds([], directory, environment) == [Address("h", 1), Address("h", 2)]
    assert find_seeds(["x:3"], directory, environment) == [Address("x", 3)]


def test_cluster_verb_named_directory_without_cluster_does_not_fall_back(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["check", "--dir", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "no local cluster" in result.output


def test_parse_slot_ranges_forms_and_mistakes() -> None:
    assert parse_slot_ranges("0-9,12 14").to_text() == "0-9 12 14"
    for text in ("", "5-1", "a", "16384"):
        with pytest.raises(UsageMistake):
            parse_slot_ranges(text)


def test_confirm_without_terminal_needs_yes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(Access(), [], tmp_path, Output("reshard", False))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    session.confirm("Move?", True)
    with pytest.raises(Refused, match="Nobody can be asked"):
        session.confirm("Move?", False)


def test_render_nested_reply_is_numbered() -> None:
    assert render(["x", [1, None], []]) == [
        "1) x",
        "2)",
        "   1) 1",
        "   2) (nil)",
        "3)",
        "   (empty)",
    ]
    assert jsonable([b"x", [b"\xff"]]) == ["x", ["\\xff"]]


def test_output_json_mode_prints_exactly_one_object(capsys: Any) -> None:
    out = Output("check", True)
    out.say("a [bracketed] step")
    with out.progress("moving", 10, "keys") as meter:
        meter.advance(10)
    out.finish({"x": 1})
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"verb": "check", "ok": True, "exit_code": 0, "x": 1}
    assert "a [bracketed] step" in printed.err


def test_output_fail_json_names_kind_and_hint(capsys: Any) -> None:
    Output("reshard", True).fail(Refused("no", "say please"))
    printed = capsys.readouterr()
    assert json.loads(printed.out)["error"] == {"kind": "refused", "message": "no", "hint": "say please"}
    assert "error: no" in printed.err


def test_cli_every_verb_has_help_json_and_a_short_line() -> None:
    runner = CliRunner()
    for _, commands in FAMILIES:
        for command in commands:
            assert command.name is not None
            result = runner.invoke(cli, [command.name, "--help"])
            assert result.exit_code == 0, result.output
            assert "--json" in result.output
            assert not command.get_short_help_str(80).endswith("..."), command.name
    overview = runner.invoke(cli, ["--help"]).output
    assert "Exit status" in overview


def test_cli_version_is_told() -> None:
    assert CliRunner().invoke(cli, ["--version"]).output == f"clusterctl, version {version('slotmesh')}\n"


def _password_seen(*options: str, **how: Any) -> tuple[int, Any]:
    """(exit status, the password that a verb gets)."""
    seen: list[str | None] = []

    @click.command()
    @access_options
    def verb(password: str | None, user: str | None, timeout_s: float) -> None:
        seen.append(password)

    return CliRunner().invoke(verb, options, **how).exit_code, seen[0] if seen else None


def test_access_options_password_from_option_file_question_or_environment(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from file\nrest\n")
    environment = {"REDISCLI_AUTH": "from environment"}
    assert _password_seen() == (0, None)
    assert _password_seen(env=environment) == (0, "from environment")
    assert _password_seen("-a", "given", env=environment) == (0, "given")
    assert _password_seen("--password-file", str(file), env=environment) == (0, "from file")
    assert _password_seen("--ask-password", input="typed\n") == (0, "typed")


def test_access_options_password_twice_or_in_no_file_is_a_mistake(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("")
    assert _password_seen("--password-file", str(empty)) == (2, None)
    assert _password_seen("--password-file", str(tmp_path / "none")) == (2, None)
    empty.write_text("x")
    assert _password_seen("--password-file", str(empty), "-a", "y") == (2, None)


def test_cli_usage_mistakes_exit_two() -> None:
    runner = CliRunner()
    for arguments in (["nonsense"], ["reshard"], ["up", "--primaries", "0"], ["reshard", "--to", "x", "--slots", "0"]):
        assert runner.invoke(cli, arguments).exit_code == 2, arguments


def test_cli_verbs_are_exactly_the_promised_ones() -> None:
    promised = "up down ps logs status check info nodes slots call ping create add-node del-node"
    promised += " failover reshard rebalance fix"
    assert set(cli.list_commands(click.Context(cli))) == set(promised.split())
