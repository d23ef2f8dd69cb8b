"""The hello message: how sentinels find each other and spread what they decided.

A sentinel publishes it on the hello channel of every server it watches, and sends it straight to the sentinels it
knows. Eight fields joined by commas, exactly (stock drops a message with any other number of fields):

    sentinel ip, sentinel port, sentinel run id, sentinel current epoch,
    unit name, primary ip, primary port, primary config epoch

The last four are the claim: "for this unit, as of this config epoch, the primary is there". A larger config epoch wins.
"""

from __future__ import annotations

from attrs import frozen

HELLO_CHANNEL = "__sentinel__:hello"
_FIELDS = 8


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
    try:
        hello = Hello(
            parts[0], int(parts[1]), parts[2], int(parts[3]), parts[4], parts[5], int(parts[6]), int(parts[7])
        )
    except ValueError:
        return None
    ports_valid = 0 < hello.port < 65536 and 0 < hello.primary_port < 65536
    epochs_valid = 0 <= hello.current_epoch < 2**64 and 0 <= hello.config_epoch < 2**64
    return hello if ports_valid and epochs_valid else None
