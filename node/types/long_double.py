"""The x86 extended precision double, which stock's INCRBYFLOAT and HINCRBYFLOAT compute with.

Python's float has 53 bits of mantissa, a `long double` 64; so 0.1 + 0.2 prints as 0.3 there and as
0.30000000000000000004 or 0.30000000000000004 elsewhere. To give stock's digits, values are exact fractions here that
are rounded to 64 bits where the processor would round: when read and after an addition. Printing is exact, as in glibc:
`%.17Lf`, trailing zeros cut.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Final

_MANTISSA_BITS: Final = 64
_MAX_EXPONENT: Final = 16384
_MIN_EXPONENT: Final = -16445  # of the last bit of a subnormal
_MAX_DIGITS: Final = 5 * 1024
_HALF_DIGITS: Final = 2500
_HALF: Final = 10**_HALF_DIGITS
_DECIMAL: Final = re.compile(rb"([+-]?)([0-9]*)\.?([0-9]*)(?:e([+-]?[0-9]+))?", re.I)
_HEXADECIMAL: Final = re.compile(rb"([+-]?)0x([0-9a-f]*)\.?([0-9a-f]*)(?:p([+-]?[0-9]+))?", re.I)
_INFINITY: Final = re.compile(rb"([+-]?)inf(?:inity)?", re.I)

#: The greatest finite value; its negative is the smallest.
LARGEST: Final = Fraction(((1 << _MANTISSA_BITS) - 1) << (_MAX_EXPONENT - _MANTISSA_BITS))

LongDouble = Fraction | float
"""A finite value as a fraction, or one of the two infinities as a float."""


def parse(text: bytes | bytearray) -> LongDouble | None:
    """The value that C's strtold reads from the whole of `text`; None for NaN, garbage, overflow and underflow."""
    if len(text) >= _MAX_DIGITS:
        return None
    if match := _INFINITY.fullmatch(text):
        return -math.inf if match[1] == b"-" else math.inf
    base, scale = 10, 10
    match = _DECIMAL.fullmatch(text)
    if match is None:
        base, scale = 16, 2
        match = _HEXADECIMAL.fullmatch(text)
    if match is None or not match[2] + match[3]:
        return None
    digits = _to_int(match[2] + match[3], base)
    if not digits:
        return Fraction(0)
    exponent = _to_int(match[4] or b"0", 10)
    if abs(exponent) > 4 * _MAX_EXPONENT:
        return None
    exponent -= len(match[3]) * (1 if base == 10 else 4)
    power = scale ** abs(exponent)
    value = round_to_64_bits(Fraction(digits * power) if exponent >= 0 else Fraction(digits, power))
    if value == 0 or value == math.inf:
        return None
    return -value if match[1] == b"-" else value


def _to_int(text: bytes, base: int) -> int:
    """`int`, which takes no more than 4300 decimal digits at once."""
    half = len(text) >> 1
    if half < 2048:
        return int(text, base)
    scale: int = base ** (len(text) - half)
    return int(text[:half], base) * scale + int(text[half:], base)


def _to_text(value: int) -> bytes:
    """The decimal digits of a natural number; Python prints no more than 4300 at once."""
    if value < _HALF:
        return b"%d" % value
    high, low = divmod(value, _HALF)
    return b"%d%0*d" % (high, _HALF_DIGITS, low)


def add(a: LongDouble, b: LongDouble) -> Fraction | None:
    """The rounded sum; None when it is no finite number."""
    if isinstance(a, float) or isinstance(b, float):
        return None
    total = round_to_64_bits(a + b)
    return None if isinstance(total, float) else total


def round_to_64_bits(value: Fraction) -> LongDouble:
    """`value` to the nearest representable number, ties to even; an infinity beyond the range."""
    if not value:
        return value
    top, bottom = abs(value.numerator), value.denominator
    exponent = max(top.bit_length() - bottom.bit_length() - _MANTISSA_BITS, _MIN_EXPONENT)
    while True:
        above, below = (top, bottom << exponent) if exponent >= 0 else (top << -exponent, bottom)
        mantissa, rest = divmod(above, below)
        if mantissa.bit_length() <= _MANTISSA_BITS:
            break
        exponent += 1
    twice = 2 * rest
    if twice > below or (twice == below and mantissa & 1):
        mantissa += 1
    if mantissa.bit_length() + exponent > _MAX_EXPONENT:
        return -math.inf if value < 0 else math.inf
    rounded = Fraction(mantissa << exponent) if exponent >= 0 else Fraction(mantissa, 1 << -exponent)
    return -rounded if value < 0 else rounded


def format_plain(value: Fraction) -> bytes:
    """Decimal digits without exponent: 17 after the point, trailing zeros (and a bare point) dropped."""
    scaled, rest = divmod(abs(value.numerator) * 10**17, value.denominator)
    if 2 * rest > value.denominator or (2 * rest == value.denominator and scaled & 1):
        scaled += 1
    if not scaled:
        return b"0"
    whole, fraction = divmod(scaled, 10**17)
    text = b"%b.%017d" % (_to_text(whole), fraction)
    text = text.rstrip(b"0").rstrip(b".")
    return b"-" + text if value < 0 else text


def format_exact(value: float) -> bytes:
    """A double that was widened to a long double, in the digits of `format_plain`."""
    return format_plain(Fraction(value))
