"""The hello message: how sentinels find each other and spread what they decided.

A sentinel publishes it on the hello channel of every server it watches, and sends it straight to the sentinels it
knows. Eight fields joined by commas, exactly (stock drops a message with any other number of fields):

    sentinel ip, sentinel port, sentinel run id, sentinel current epoch,
    unit name, primary ip, primary port, primary config epoch

The last four are the claim: "for this unit, as of this config epoch, the primary is there". A larger config epoch wins.
"""

from __future__ import annotations

import re

from attrs import frozen

from slotmesh.cluster.numbers import to_uint

HELLO_CHANNEL = "__sentinel__:hello"
MAX_PORT = 65535
_FIELDS = 8
_RUN_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
"""Servers make 40 hex digits; what separates fields in a file or a message must not be in one."""


@frozen
class Hello:
    """One hello message."""

    host: str
    port: int
    run_id: str
    current_epoch: int
    unit_name: str
    primary_host: str
    primary_port: int
    config_epoch: int


def encode_hello(hello: Hello) -> str:
    """The payload of PUBLISH."""
    return (
        f"{hello.host},{hello.port},{hello.run_id},{hello.current_epoch},"
        f"{hello.unit_name},{hello.primary_host},{hello.primary_port},{hello.config_epoch}"
    )


def decode_hello(payload: bytes) -> Hello | None:
    """Read a payload; None when it is not a hello message (anybody may publish on the channel)."""
    parts = payload.decode("utf-8", "surrogateescape").split(",")
    if len(parts) != _FIELDS or not all(parts):
        return None
    host, port_text, run_id, current_text, unit_name, primary_host, primary_port_text, config_text = parts
    port, primary_port = to_uint(port_text, MAX_PORT), to_uint(primary_port_text, MAX_PORT)
    current_epoch, config_epoch = to_uint(current_text), to_uint(config_text)
    if not port or not primary_port or current_epoch is None or config_epoch is None:
        return None
    if _RUN_ID.fullmatch(run_id) is None:
        return None
    return Hello(host, port, run_id, current_epoch, unit_name, primary_host, primary_port, config_epoch)
