"""The configuration: loading like the stock server, all-or-nothing changes, rewriting without loss."""

from __future__ import annotations

import io
import os
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotmesh.node.acl.users import check_user_lines
from slotmesh.node.base.compat import LEVELS
from slotmesh.node.base.errors import CommandError
from slotmesh.node.config.configuration import Config, ConfigError, ConfigFileError
from slotmesh.node.config.directives import ALL_DIRECTIVES, BY_NAME, DIRECTIVES
from slotmesh.node.config.effects import EFFECTS, NONE, PARTLY
from slotmesh.node.config.kinds import ConfigError as KindError
from slotmesh.node.config.kinds import format_memory, parse_memory
from slotmesh.node.config.load import load_config
from slotmesh.node.config.rewrite import SIGNATURE, draft_of, replace_file, rewritten
from slotmesh.node.config.values import ConfigValues
from slotmesh.node.types.limits import LIMITS
from tests.support.inprocess import InProcessNode
from tests.support.processes import PROJECT_ROOT


@pytest.fixture(autouse=True)
def _stay_in_directory(tmp_path: Path) -> Iterator[None]:
    """`dir` changes the directory of the whole process."""
    here = os.getcwd()
    os.chdir(tmp_path)
    yield
    os.chdir(here)


def load(text: str, *argv: str) -> Config:
    """A configuration from the text of a file and arguments."""
    Path("test.conf").write_text(text)
    return load_config(["test.conf", *argv], check_user_lines)


def refusal(text: str, *argv: str) -> str:
    """What the operator reads when loading fails."""
    with pytest.raises(ConfigFileError) as caught:
        load(text, *argv)
    return str(caught.value)


# -- the table -------------------------------------------------------------------------------------------------


def test_values_are_declared_for_every_directive_with_the_type_of_its_default() -> None:
    declared = typing.get_type_hints(ConfigValues)
    assert set(declared) == {directive.attribute for directive in ALL_DIRECTIVES}
    for directive in ALL_DIRECTIVES:
        wanted = declared[directive.attribute]
        kinds = typing.get_args(wanted) if typing.get_origin(wanted) is not tuple else (tuple,)
        plain = kinds or (wanted,)
        assert type(directive.default) in plain, directive.name


def test_defaults_survive_their_own_text() -> None:
    for directive in DIRECTIVES:
        text = directive.kind.format(directive.default)
        if directive.name in ("dir", "replicaof"):
            continue  # empty means "where we are" and "none", which cannot be said in words
        words = text.split(b" ") if directive.kind.several else [text]
        base = directive.default if directive.kind.merges else None
        assert directive.kind.parse(words, base) == directive.default, directive.name


def test_effects_are_told_of_known_directives_only() -> None:
    assert set(EFFECTS) <= {directive.name for directive in ALL_DIRECTIVES}
    assert {effect.degree for effect in EFFECTS.values()} <= {NONE, PARTLY}
    assert all(effect.reason for effect in EFFECTS.values())


#: Read by code although they have no effect: to be shown, or to be refused in the right words.
_READ_ALL_THE_SAME = {"enable-module-command", "tls-port", "tls-cluster"}


def test_effects_agree_with_what_the_code_reads() -> None:
    declarations = {
        PROJECT_ROOT / "node" / "config" / f"{name}.py"
        for name in ("values", "directive", "directives", "directives_after_7_0", "effects")
    }
    assert all(path.is_file() for path in declarations)
    sources = {*PROJECT_ROOT.glob("node/**/*.py"), *PROJECT_ROOT.glob("cluster/*.py")}
    source = "\n".join(path.read_text() for path in sorted(sources - declarations))
    words, quoted = set(re.findall(r"\b\w+\b", source)), set(re.findall(r'"([a-z_-]+)"', source))
    for directive in ALL_DIRECTIVES:
        effect = EFFECTS.get(directive.name)
        if directive.attribute not in words | set(LIMITS.__slots__) and directive.name not in quoted:
            assert effect is not None, f"nothing reads {directive.name}: config/effects.py must say so"
        elif effect is not None and effect.degree == NONE:
            assert directive.name in _READ_ALL_THE_SAME, f"{directive.name} is read: config/effects.py says it is not"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (b"1", 1),
        (b"1b", 1),
        (b"2k", 2000),
        (b"2kb", 2048),
        (b"1MB", 1 << 20),
        (b"1gb", 1 << 30),
        (b"1g", 10**9),
        (b"", 0),
    ],
)
def test_memory_knows_the_stock_units(text: bytes, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", [b"-1", b"1x", b"1.5mb", b"mb1", b"99999999999999999999", b" 1"])
def test_memory_refuses_what_is_none(text: bytes) -> None:
    assert parse_memory(text) is None


def test_memory_is_written_with_the_largest_exact_unit() -> None:
    sizes = (0, 1, 1024, 1536, 1 << 20, 3 << 30)
    assert [format_memory(size) for size in sizes] == [b"0", b"1", b"1kb", b"1536", b"1mb", b"3gb"]


# -- loading ---------------------------------------------------------------------------------------------------


def test_load_without_arguments_gives_the_defaults() -> None:
    config = load_config([], check_user_lines)
    assert (config.port, config.maxclients, config.save) == (6379, 10000, ((3600, 1), (300, 100), (60, 10000)))
    assert config.path is None
    assert config.dir == os.getcwd()


def test_load_reads_the_file_then_standard_input_then_the_options() -> None:
    Path("test.conf").write_text("port 1\nhz 20\ntimeout 5\n")
    config = load_config(["test.conf", "--port", "3", "-"], check_user_lines, stdin=io.StringIO("port 2\nhz 30\n"))
    assert (config.port, config.hz, config.timeout) == (3, 30, 5)


def test_load_skips_comments_and_blank_lines_and_knows_quotes() -> None:
    config = load("# a comment\n\n   \nrequirepass \"a \\x41\\n\"\nlogfile ''\n")
    assert config.requirepass == b"a A\n"


def test_load_adds_save_lines_up_and_drops_the_default_ones() -> None:
    assert load("save 10 1\nsave 20 2\n").save == ((10, 1), (20, 2))
    assert load('save 10 1\nsave ""\n').save == ()
    assert load('save ""\n').save == ()
    assert load("save 10 1\n", "--save", "30 3").save == ((10, 1), (30, 3))


def test_load_takes_save_without_a_value_as_none() -> None:
    assert load_config(["--save", "--port", "7"], check_user_lines).save == ()
    assert load_config(["--port", "7", "--save"], check_user_lines).save == ()
    assert load_config(["--save", ""], check_user_lines).save == ()


@pytest.mark.parametrize(
    "argv",
    [["--bind", "127.0.0.1", "::1"], ["--bind", "127.0.0.1 ::1"], ["--bind 127.0.0.1 ::1"]],
)
def test_load_takes_several_words_in_any_shape(argv: list[str]) -> None:
    assert load_config(argv, check_user_lines).bind == ("127.0.0.1", "::1")


def test_load_takes_a_value_that_looks_like_an_option() -> None:
    assert load_config(["--proc-title-template", "--my--title"], check_user_lines).proc_title_template == "--my--title"


def test_load_merges_buffer_limits_of_several_lines() -> None:
    config = load("client-output-buffer-limit normal 1mb 2mb 3\nclient-output-buffer-limit slave 1 2 3\n")
    assert config.client_output_buffer_limit == ((1 << 20, 2 << 20, 3), (1, 2, 3), (32 << 20, 8 << 20, 60))


def test_load_includes_files_and_patterns() -> None:
    Path("one.inc").write_text("port 1\nhz 20\n")
    Path("two.inc").write_text("port 2\n")
    config = load("include *.inc\ninclude nosuch*.x\ntimeout 9\n")
    assert (config.port, config.hz, config.timeout) == (2, 20, 9)


def test_load_of_a_missing_include_is_fatal() -> None:
    assert refusal("include nosuch.conf\n") == (
        "Fatal error, can't open config file 'nosuch.conf': No such file or directory"
    )


def test_load_of_a_file_that_includes_itself_ends() -> None:
    assert "nested more than 32 levels deep" in refusal("include test.conf\n")


def test_load_accepts_old_and_new_names() -> None:
    config = load("slave-priority 7\nhash-max-ziplist-value 8\nprimaryauth x\nlua-replicate-commands yes\n")
    assert (config.replica_priority, config.hash_max_listpack_value, config.masterauth) == (7, 8, b"x")


def test_load_tells_line_and_reason() -> None:
    assert refusal("port 1\n\nnosuch 1\n") == (
        "\n*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\n"
        "Reading the configuration file, at line 3\n>>> 'nosuch 1'\nBad directive or wrong number of arguments"
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("port", "wrong number of arguments"),
        ("port 1 2", "wrong number of arguments"),
        ("port x", "argument couldn't be parsed into an integer"),
        ("port 70000", "argument must be between 0 and 65535 inclusive"),
        ('port "1', "Unbalanced quotes in configuration line"),
        ("loadmodule /x.so", "Modules are not supported"),
        ("sentinel monitor a b 1 2", "sentinel directive while not in sentinel mode"),
        ("rename-command nosuch x", "No such command in rename-command"),
        ("user a +nosuch (", "Error in user declaration '(': Wrong format"),
        ("user a nosuchrule", "Error in user declaration 'nosuchrule': Syntax error"),
        ("save 1", "Invalid save parameters"),
        ("unixsocketperm 999", "argument couldn't be parsed as an octal number"),
        ("unixsocketperm 7777", "argument must be between 0 and 777 inclusive"),
        ("dir /nosuch", "No such file or directory"),
    ],
)
def test_load_refuses_a_bad_line(line: str, reason: str) -> None:
    assert refusal(f"{line}\n").endswith(reason)


def test_load_refuses_a_replica_in_cluster_mode() -> None:
    assert refusal("cluster-enabled yes\nreplicaof 1.2.3.4 5\n").endswith(
        "replicaof directive not allowed in cluster mode"
    )


def test_load_changes_into_dir_at_once() -> None:
    Path("data").mkdir()
    Path("data/more.conf").write_text("port 9\n")
    config = load("dir data\ninclude more.conf\n")
    assert config.port == 9
    assert config.dir == os.getcwd()


def test_load_keeps_what_only_files_may_say() -> None:
    config = load("user bob on ( +get ~a* ) +set\n")
    assert config.users == [[b"bob", b"on", b"( +get ~a* )", b"+set"]]


# -- changes ---------------------------------------------------------------------------------------------------


def test_set_is_all_or_nothing() -> None:
    config = Config()
    with pytest.raises(CommandError):
        config.set([(b"hz", b"20"), (b"port", b"x")])
    assert config.hz == 10


def test_set_tells_listeners_only_of_changes() -> None:
    config = Config()
    seen: list[int] = []
    config.on_change("hz", seen.append)
    config.set([(b"hz", b"20"), (b"timeout", b"1")])
    config.set([(b"hz", b"20")])
    assert seen == [20]


def test_set_rolls_back_when_a_listener_vetoes() -> None:
    config = Config()
    told: list[int] = []

    def veto(value: int) -> None:
        raise ConfigError(f"not {value}")

    config.on_change("hz", told.append)
    config.on_change("port", lambda value: veto(value) if value == 1 else None)
    with pytest.raises(CommandError) as caught:
        config.set([(b"hz", b"20"), (b"port", b"1")])
    assert caught.value.reply.line == b"ERR CONFIG SET failed (possibly related to argument 'port') - not 1"
    assert (config.hz, config.port) == (10, 6379)
    assert told == [20, 10]


def test_set_of_protected_directives_depends_on_who_asks() -> None:
    config = load("enable-protected-configs local\n")
    with pytest.raises(CommandError):
        config.set([(b"dbfilename", b"x.rdb")])
    config.set([(b"dbfilename", b"x.rdb")], local_client=True)
    assert config.dbfilename == "x.rdb"


def test_set_of_appendonly_must_wait_for_the_data() -> None:
    with pytest.raises(CommandError, match="LOADING"):
        Config().set([(b"appendonly", b"yes")], loading=True)


def test_get_shows_newer_directives_only_by_their_full_name() -> None:
    config = Config()
    assert config.get([b"set-max-listpack-value"]) == {b"set-max-listpack-value": b"64"}
    assert b"set-max-listpack-value" not in config.get([b"*"])
    assert b"primaryauth" not in config.get([b"primary*"])


def test_level_chooses_the_defaults_of_what_no_line_sets() -> None:
    assert not load_config([], check_user_lines).lazyfree_lazy_expire
    newer = load_config(["--lazyfree-lazy-user-del", "no", "--compat-level", "7.2"], check_user_lines)
    assert newer.lazyfree_lazy_expire
    assert not newer.lazyfree_lazy_user_del
    assert b"lazyfree-lazy-user-del no" in rewritten(newer, b"").split(b"\n")
    assert b"lazyfree-lazy-expire yes" not in rewritten(newer, b"").split(b"\n")


def test_kind_errors_are_the_public_ones() -> None:
    assert ConfigError is KindError
    assert BY_NAME["slaveof"] is BY_NAME["replicaof"]


# -- rewriting -------------------------------------------------------------------------------------------------

_FILE = b"""# my server
port 7000

# points
save 10 1
save 20 2
save 30 3
slave-priority 7
include other.conf
broken "line
nosuch 1

maxmemory 100mb
"""


def test_rewrite_keeps_comments_order_and_unknown_but_legal_lines() -> None:
    config = Config()
    config.port, config.save, config.replica_priority = 7000, ((10, 1), (60, 5)), 7
    config.maxmemory, config.hz = 3 << 30, 50
    lines = rewritten(config, _FILE).split(b"\n")
    assert lines[:12] == [
        b"# my server",
        b"port 7000",
        b"",
        b"# points",
        b"save 10 1",
        b"save 60 5",
        b"",
        b"replica-priority 7",
        b"include other.conf",
        b'# ??? broken "line',
        b"# ??? nosuch 1",
        b"",
    ]
    assert lines[12] == b"maxmemory 3gb"
    assert lines[13] == SIGNATURE
    assert b"hz 50" in lines[14:]
    assert not any(line.startswith(b"timeout") for line in lines)


def test_rewrite_of_its_own_result_changes_nothing() -> None:
    config = Config()
    config.hz = 50
    once = rewritten(config, _FILE)
    assert rewritten(config, once) == once


def test_rewrite_gives_a_file_that_loads_to_the_same_values() -> None:
    config = load('port 7001\nrequirepass "a b\\x00"\nbind 127.0.0.1\nnotify-keyspace-events KEA\nsave ""\n')
    config.maxmemory_clients, config.client_output_buffer_limit = -5, ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    draft_of(config).put_in_place()
    again = load_config(["test.conf"], check_user_lines)
    for directive in ALL_DIRECTIVES:
        assert again.value(directive) == config.value(directive), directive.name


def test_rewrite_writes_users_unless_there_is_an_acl_file() -> None:
    config = Config()
    config.user_lines = lambda: [b"default on nopass"]
    assert b"user default on nopass\n" in rewritten(config, b"user old off\n")
    assert b"user old" not in rewritten(config, b"user old off\n")
    config.aclfile = "users.acl"
    assert b"user default" not in rewritten(config, b"")


def test_rewrite_without_a_file_is_refused() -> None:
    with pytest.raises(CommandError, match="without a config file"):
        draft_of(Config())


def test_rewrite_that_fails_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load("port 7000\n")

    def fail(old: str, new: str) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="full"):
        draft_of(config).put_in_place()
    assert Path("test.conf").read_text() == "port 7000\n"
    assert os.listdir() == ["test.conf"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_rewritten_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "redis.conf"
    path.write_text("requirepass secret\n")
    path.chmod(mode)
    draft_of(load_config([str(path)], check_user_lines)).put_in_place()
    assert path.stat().st_mode & 0o777 == mode


def test_file_made_by_a_rewrite_is_for_its_owner_only(tmp_path: Path) -> None:
    replace_file(str(tmp_path / "users.acl"), b"user default on nopass\n")
    assert (tmp_path / "users.acl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("level", "version"), LEVELS.items())
def test_compat_level_is_the_version_that_clients_are_told(level: str, version: str) -> None:
    with InProcessNode("--compat-level", level) as node:
        client = node.client(resp3=True)
        assert client.call("HELLO")[b"version"] == version.encode()
        assert f"redis_version:{version}\r\n".encode() in client.call("INFO", "server")
