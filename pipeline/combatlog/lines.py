"""Lines taken apart: each line of a segment is blank, used, known but unused, or not understood."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import polars as pl

from pipeline.combatlog import clock as clocks
from pipeline.combatlog.clock import Clock
from pipeline.combatlog.layouts import FORMS, UNUSED, Layout, Plan, plan
from pipeline.combatlog.reader import MAX_LINE_BYTES, Segment

# The fields that a translation reads; a column each, null where a line's form lacks it.
WANTED: tuple[str, ...] = (
    *("source_id", "source_name", "source_flags", "target_id", "target_name", "target_flags"),
    *("spell_id", "spell_name", "spell_school", "environment_type"),
    *("info_id", "owner_id", "health", "max_health", "power_type", "power"),
    *("amount", "overkill", "hit_school", "resisted", "blocked", "absorbed", "critical", "overheal", "gained_type"),
    *("absorber_id", "absorber_name", "absorber_flags", "shield_id", "shield_name", "shield_school", "feign"),
    *("boss_id", "encounter_name", "difficulty", "size", "success"),
)
BLANK = "blank line"
TOO_LONG = f"longer than {MAX_LINE_BYTES:,} bytes"
NO_TIMESTAMP = "no valid date and time"
UNKNOWN = "unknown event"
# What stands between quotes may hold a comma ("Grimtusk, the Elder"), which is hidden while the line is split.
QUOTED_COMMA = r'(,"[^",]*),'
HIDDEN_COMMA = "\n"  # stands in no line
# Each player's COMBATANT_INFO has another number of fields; beyond so many it tells nothing.
OPEN_ENDED = [event for event, forms in FORMS.items() if any(form.is_open_ended for form in forms)]
MANY = 64
EVENT_NAME = r"^[A-Z][A-Z_]{2,39}$"


@dataclass(frozen=True)
class Lines:
    """A segment's lines."""

    picked: pl.DataFrame
    """Used lines, in no order: line, timestamp, raw, event, use, is_periodic, resource, and, as text, wanted fields."""
    unused: pl.DataFrame
    """Known, and without use: line, kind."""
    not_understood: pl.DataFrame
    """line, kind."""


def timed(segment: Segment, clock: Clock) -> tuple[pl.DataFrame, datetime | None, Clock]:
    """A segment's lines with their times.

    Returns:
        Columns line (number in the log), raw, stamp, text (from the event's name on), event, timestamp; the time of the
        line after them, where it has one; the clock after them.
    """
    frame = _split(segment)
    instants, clock = clocks.timestamps(frame["stamp"], clock, segment.next_stamp)
    [following] = clocks.timestamps(pl.Series([segment.next_stamp], dtype=pl.String), clock)[0]
    return frame.with_columns(instants), following, clock


def take_apart(frame: pl.DataFrame, layouts: Sequence[Layout]) -> Lines:
    """Take lines (as `timed` gives them) apart; every line is in exactly one of the three frames."""
    is_whole = pl.col("raw").str.len_bytes() <= MAX_LINE_BYTES
    is_used = (pl.col("timestamp").is_not_null() & is_whole & pl.col("event").is_in(list(FORMS))).fill_null(False)
    picked, wrong = _pick(frame.filter(is_used), layouts)
    rest = frame.filter(~is_used).select("line", kind=_kind())
    known = rest["kind"].is_in([BLANK, *UNUSED])
    return Lines(picked, rest.filter(known), pl.concat([rest.filter(~known), wrong]))


def _split(segment: Segment) -> pl.DataFrame:
    raw, text = pl.col("raw").str, pl.col("text").str
    # Found and sliced, which copies nothing: more than twice as fast as splitting.
    gap, comma = raw.find("  ", literal=True), text.find(",", literal=True)
    return (
        pl.read_lines(io.BytesIO(segment.content), name="raw")
        .with_columns(raw.strip_chars_end("\r"))
        .with_row_index("line", offset=segment.first_line)
        .with_columns(pl.col("line").cast(pl.Int64), stamp=raw.head(gap), text=raw.slice(gap + 2))
        .with_columns(event=pl.coalesce(text.head(comma), "text"))
    )


def _kind() -> pl.Expr:
    """What a line is that is not used: its event's name, or why it is not understood."""
    event = pl.col("event")
    n_fields = pl.col("text").str.count_matches(",", literal=True) + 1
    least = event.replace_strict(UNUSED, default=None, return_dtype=pl.Int64)
    return (
        pl.when(pl.col("raw").str.strip_chars() == "")
        .then(pl.lit(BLANK))
        .when(pl.col("raw").str.len_bytes() > MAX_LINE_BYTES)
        .then(pl.lit(TOO_LONG))
        .when(pl.col("timestamp").is_null())
        .then(pl.lit(NO_TIMESTAMP))
        .when(n_fields >= least)
        .then(event)
        .when(least.is_not_null())
        .then(pl.format("{}: {} fields", event, n_fields))
        .when(event.str.contains(EVENT_NAME))
        .then(pl.format("{} {}", pl.lit(UNKNOWN), event))
        .otherwise(pl.lit(UNKNOWN))
    )


def _pick(frame: pl.DataFrame, layouts: Sequence[Layout]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The wanted fields of lines of `FORMS`, and the lines whose number of fields no layout has (line, kind)."""
    split = _fields(frame.select("line", "timestamp", "raw", "event", "text"))
    parts: list[pl.DataFrame] = [_empty_pick()]
    wrong: list[pl.DataFrame] = [pl.DataFrame(schema={"line": pl.Int64, "kind": pl.String})]
    by = ("event", "n_fields", "hides_comma")
    for (event, n_fields, hides_comma), group in split.partition_by(by, as_dict=True).items():
        if found := plan(str(event), n_fields, layouts):
            parts.append(_columns(group, found, hides_comma))
        else:
            wrong.append(group.select("line", kind=pl.lit(f"{event}: {n_fields} fields")))
    return pl.concat(parts, how="diagonal"), pl.concat(wrong)


def _fields(frame: pl.DataFrame) -> pl.DataFrame:
    """Lines with their fields, the number of them, and whether commas are hidden in them."""
    text = pl.col("text")
    has_comma = text.str.contains(QUOTED_COMMA)
    one = frame.filter(has_comma).with_columns(text.str.replace_all(QUOTED_COMMA, "${1}" + HIDDEN_COMMA))
    several = one.filter(has_comma)
    parsed = [_csv(line) for line in several["text"].str.replace_all(HIDDEN_COMMA, ",", literal=True)]
    parts = [
        frame.filter(~has_comma).with_columns(text.str.split(","), hides_comma=False),
        one.filter(~has_comma).with_columns(text.str.split(","), hides_comma=True),
        several.with_columns(pl.Series("text", parsed, dtype=pl.List(pl.String)), hides_comma=False),
    ]
    n_fields = pl.col("fields").list.len()
    counted = pl.when(pl.col("event").is_in(OPEN_ENDED)).then(n_fields.clip(upper_bound=MANY)).otherwise(n_fields)
    return pl.concat(parts).rename({"text": "fields"}).with_columns(n_fields=counted)


def _csv(text: str) -> list[str]:
    try:
        return next(csv.reader([text]))
    except csv.Error:
        return []


def _columns(group: pl.DataFrame, found: Plan, hides_comma: bool) -> pl.DataFrame:
    wanted = [name for name in WANTED if name in found.positions]
    return group.select(
        *("line", "timestamp", "raw", "event"),
        pl.lit(found.form.use).alias("use"),
        pl.lit(found.form.is_periodic).alias("is_periodic"),
        *(_field(name, found.positions[name], hides_comma) for name in wanted),
        _resource(found).alias("resource"),
    )


def _field(name: str, position: int, hides_comma: bool) -> pl.Expr:
    field = pl.col("fields").list.get(position).alias(name)
    if not name.endswith("_name"):
        return field
    field = field.str.strip_chars('"')
    return field.str.replace_all(HIDDEN_COMMA, ",", literal=True) if hides_comma else field


def _resource(found: Plan) -> pl.Expr:
    position = found.positions.get("gained_type")
    if position is None:
        return pl.lit(None, dtype=pl.String)
    number = pl.col("fields").list.get(position)
    return number.replace_strict(dict(found.layout.resources), default=None, return_dtype=pl.String)


@cache
def _empty_pick() -> pl.DataFrame:
    texts = {name: pl.String() for name in ("raw", "event", "use", "resource", *WANTED)}
    others = {"line": pl.Int64(), "timestamp": pl.Datetime("us", "UTC"), "is_periodic": pl.Boolean()}
    return pl.DataFrame(schema=pl.Schema({**others, **texts}))
