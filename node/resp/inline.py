"""Splitting a line into arguments by the quoting rules that inline commands and config files share.

Rules of the stock server: words are separated by white space; double quotes know `\\n \\r \\t \\b \\a \\xHH` and keep
any other escaped character; single quotes know only `\\'`; a closing quote must be followed by white space or the end.
"""

from __future__ import annotations

from typing import Final

_ESCAPES: Final = {0x6E: 0x0A, 0x72: 0x0D, 0x74: 0x09, 0x62: 0x08, 0x61: 0x07}
_SPACE: Final = b" \t\n\v\f\r\0"
_HEX: Final = b"0123456789abcdefABCDEF"
_DOUBLE, _SINGLE, _BACKSLASH, _X = 0x22, 0x27, 0x5C, 0x78
_NAMES: Final = {
    **{code: b"\\%c" % letter for letter, code in _ESCAPES.items()},
    _DOUBLE: b'\\"',
    _BACKSLASH: b"\\\\",
}
#: How each byte stands within double quotes, and the bytes that stand for themselves.
_QUOTED: Final = [_NAMES.get(c) or (b"%c" % c if 32 <= c < 127 else b"\\x%02x" % c) for c in range(256)]
_PLAIN: Final = bytes(c for c in range(256) if _QUOTED[c] == b"%c" % c)


def split_args(line: bytes) -> list[bytes] | None:
    """The words of `line`, or None when its quotes are unbalanced."""
    words: list[bytes] = []
    pos, end = 0, len(line)
    while True:
        while pos < end and line[pos] in _SPACE:
            pos += 1
        if pos == end:
            return words
        word = bytearray()
        while pos < end and line[pos] not in _SPACE:
            char = line[pos]
            if char in (_DOUBLE, _SINGLE):
                taken = _quoted(line, pos + 1, char, word)
                if taken is None:
                    return None
                pos = taken
                break
            word.append(char)
            pos += 1
        words.append(bytes(word))


def _quoted(line: bytes, pos: int, quote: int, word: bytearray) -> int | None:
    """Append the quoted text that starts at `pos` to `word`; the position behind the closing quote, or None."""
    end = len(line)
    while pos < end:
        char = line[pos]
        if char == quote:
            return pos + 1 if pos + 1 == end or line[pos + 1] in _SPACE else None
        if char == _BACKSLASH and pos + 1 < end:
            after = line[pos + 1]
            if quote == _SINGLE:
                if after == _SINGLE:
                    word.append(after)
                    pos += 2
                    continue
            elif after == _X and pos + 3 < end and line[pos + 2] in _HEX and line[pos + 3] in _HEX:
                word.append(int(line[pos + 2 : pos + 4], 16))
                pos += 4
                continue
            else:
                word.append(_ESCAPES.get(after, after))
                pos += 2
                continue
        word.append(char)
        pos += 1
    return None


def quote(word: bytes) -> bytes:
    """`word` in double quotes, so that `split_args` reads it back; printable characters stay as they are."""
    return b'"%b"' % (b"".join(map(_QUOTED.__getitem__, word)) if word.translate(None, _PLAIN) else word)


def quote_all(words: list[bytes]) -> bytes:
    """`words` in double quotes each, with a space in between."""
    if b"".join(words).translate(None, _PLAIN):
        return b" ".join(map(quote, words))
    return b'"%b"' % b'" "'.join(words)
