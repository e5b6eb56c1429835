"""Values as a language writes them."""

import math
import re
from typing import Any

from pipeline.report.source import Numbers


class Markdown(str):
    """Text that is Markdown already and needs no escaping."""

    __slots__ = ()


_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|$^~@\"'])")


def escaped(text: str) -> Markdown:
    """A value's text with all that Markdown would read as markup made literal."""
    return Markdown(_SPECIAL.sub(r"\\\1", text))


class Formats:
    """The number formats of one language; a value that is not known (null) becomes the language's word for it."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self.between = numbers.between

    def integer(self, value: Any) -> Markdown:
        """A whole number, thousands separated: 964,888."""
        return self.decimal(value, 0)

    def decimal(self, value: Any, places: int = 2) -> Markdown:
        """A number with that many decimals: 0.83."""
        if _unknown(value):
            return Markdown(self._numbers.unknown)
        sign, whole, part = _digits(value, places)
        if len(whole) >= self._numbers.group_from:
            whole = re.sub(r"(?<=\d)(?=(\d{3})+$)", self._numbers.thousands, whole)
        return Markdown(sign + whole + (self._numbers.decimal + part if part else ""))

    def percent(self, value: Any, places: int = 1) -> Markdown:
        """A share as a percentage: 0.4015 becomes 40.2%."""
        if _unknown(value):
            return Markdown(self._numbers.unknown)
        return Markdown(f"{self.decimal(_number(value) * 100, places)}{self._numbers.before_percent}%")

    def interval(self, ends: tuple[Any, Any], places: int = 2) -> Markdown:
        """An interval's two ends: [0.74, 0.90]."""
        low, high = (self.decimal(end, places) for end in ends)
        return Markdown(f"\\[{low}{self.between}{high}\\]")

    def value(self, value: Any, form: str) -> Markdown:
        """A value in a named format: `integer`, `decimal`, `decimal:3`, `percent:0`.

        Raises:
            ValueError: there is no such format.
        """
        found = re.fullmatch(r"integer|(decimal|percent):(\d)", form)
        if not found:
            raise ValueError(f"there is no format `{form}` (there are integer, decimal:N and percent:N)")
        if not found[1]:
            return self.integer(value)
        return (self.decimal if found[1] == "decimal" else self.percent)(value, int(found[2]))


def _unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    return value


def _digits(value: Any, places: int) -> tuple[str, str, str]:
    written = f"{_number(value):.{places}f}"
    sign = "−" if written.startswith("-") and float(written) != 0 else ""
    whole, _, part = written.lstrip("-").partition(".")
    return sign, whole, part
