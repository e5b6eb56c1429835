"""What an event can break by itself: the bounds of the event contract as conditions on columns, each with its reason.

They are derived from the contract's JSON Schema, so that the receiver and Silver, whose Bronze may have been written by
others, refuse the same.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

import polars as pl

from pipeline.events import EVENT_TYPES, event_adapter
from pipeline.tables import AMOUNTS, PERCENTAGES

Bound = tuple[str, str, Any]
"""A field, what JSON Schema calls the bound, and its limit: ("phase", "minimum", 0)."""
KEYWORDS = ("enum", "pattern", "minLength", "maxLength", "minimum", "exclusiveMinimum", "maximum")


@cache
def contract_faults() -> dict[str, pl.Expr]:
    """For each reason the condition under which an event has it; null, on a field that is absent, is no."""
    kind = pl.col("event_type")
    faults = defaultdict(list, missing_required=[kind.is_null()], unknown_event_type=[~kind.is_in(EVENT_TYPES)])
    for bound, kinds in _bounds().items():
        for reason, broken in _breaches(*bound):
            everywhere = len(kinds) == len(EVENT_TYPES)
            faults[reason].append(broken if everywhere else kind.is_in(sorted(kinds)) & broken)
    return {reason: pl.any_horizontal(each) for reason, each in faults.items()}


def _bounds() -> dict[Bound, set[str]]:
    """The contract's bounds with the kinds of event that each holds for."""
    bounds: dict[Bound, set[str]] = defaultdict(set)
    for definition in event_adapter.json_schema()["$defs"].values():
        kind = definition["properties"].pop("event_type")["const"]
        for field, schema in definition["properties"].items():
            if field in definition["required"]:
                bounds[field, "required", True].add(kind)
            stated = next((form for form in schema.get("anyOf", []) if form["type"] != "null"), schema)
            for keyword in KEYWORDS:
                if keyword in stated:
                    limit = stated[keyword]
                    bounds[field, keyword, tuple(limit) if keyword == "enum" else limit].add(kind)
    return bounds


def _breaches(field: str, keyword: str, limit: Any) -> Iterator[tuple[str, pl.Expr]]:
    """The reasons for which a field can break a bound, with their conditions."""
    value = pl.col(field)
    match keyword:
        case "required":
            yield "missing_required", value.is_null()
        case "enum":
            yield "unknown_value", ~value.is_in(limit)
        case "pattern":
            yield "invalid_text", ~value.str.contains(limit)
        case "minLength":
            yield "invalid_text", value.str.len_chars() < limit
        case "maxLength":
            yield "invalid_text", value.str.len_chars() > limit
        case "minimum":
            yield _number_reason(field, "negative_amount"), value < limit
        case "exclusiveMinimum":
            yield _number_reason(field, "negative_amount"), value < limit
            yield _number_reason(field, "zero_amount"), value == limit
        case "maximum":
            yield _number_reason(field, "amount_too_large"), value > limit


def _number_reason(field: str, reason_of_amounts: str) -> str:
    if field in AMOUNTS:
        return reason_of_amounts
    return "health_out_of_range" if field in PERCENTAGES else "number_out_of_range"
