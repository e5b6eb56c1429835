"""Lines taken apart: each line of a segment is blank, used, known but unused, or not understood."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from pipeline.combatlog import clock as clocks
from pipeline.combatlog.clock import Clock
from pipeline.combatlog.layouts import FORMS, UNUSED, Layout, Plan, plan
from pipeline.combatlog.reader import Segment

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
NO_TIMESTAMP = "no valid date and time"
UNKNOWN = "unknown event"
# What stands between quotes may hold commas: such lines are rare and go through the csv module.
QUOTED_COMMA = r',"[^",]*,'
EVENT_NAME = r"^[A-Z][A-Z_]{2,39}$"


@dataclass(frozen=True)
class Lines:
    """A segment's lines."""

    picked: pl.DataFrame
    """Used lines: line, timestamp, raw, event, use, is_periodic, resource, and a column per wanted field (text)."""
    unused: pl.DataFrame
    """Known, and without use: line, kind."""
    not_understood: pl.DataFrame
    """line, kind."""


def take_apart(segment: Segment, clock: Clock, layouts: Sequence[Layout]) -> tuple[Lines, Clock]:
    """Take a segment's lines apart; every line is in exactly one of the three frames."""
    frame = _split(segment)
    instants, clock = clocks.timestamps(frame["stamp"], clock)
    frame = frame.with_columns(instants)
    is_used = pl.col("timestamp").is_not_null() & pl.col("event").is_in(list(FORMS))
    picked, wrong = _pick(frame.filter(is_used), layouts)
    rest = frame.filter(is_used.not_().fill_null(True)).with_columns(_kind())
    known = rest["kind"].is_in([BLANK, *UNUSED])
    not_understood = pl.concat([rest.filter(~known).select("line", "kind"), wrong])
    return Lines(picked, rest.filter(known).select("line", "kind"), not_understood), clock


def _split(segment: Segment) -> pl.DataFrame:
    """Columns line, raw, stamp, event, fields (the text from the event's name on)."""
    raw = pl.Series("raw", [segment.text]).str.split("\n").explode().head(segment.n_lines)
    halves = pl.col("raw").str.splitn("  ", 2).struct
    return (
        raw.str.strip_chars_end("\r")
        .to_frame()
        .with_row_index("line", offset=segment.first_line)
        .with_columns(pl.col("line").cast(pl.Int64), stamp=halves.field("field_0"), text=halves.field("field_1"))
        .with_columns(event=pl.col("text").str.head(pl.col("text").str.find(",", literal=True)))
        .with_columns(pl.col("event").fill_null(pl.col("text")))
    )


def _kind() -> pl.Expr:
    """What a line is that is not used: its event's name, or why it is not understood."""
    event = pl.col("event")
    n_fields = pl.col("text").str.count_matches(",", literal=True) + 1
    least = event.replace_strict(UNUSED, default=None, return_dtype=pl.Int64)
    return (
        pl.when(pl.col("raw").str.strip_chars() == "")
        .then(pl.lit(BLANK))
        .when(pl.col("timestamp").is_null())
        .then(pl.lit(NO_TIMESTAMP))
        .when(n_fields >= least)
        .then(event)
        .when(least.is_not_null())
        .then(pl.format("{}: {} fields", event, n_fields))
        .when(event.str.contains(EVENT_NAME))
        .then(pl.format("{} {}", pl.lit(UNKNOWN), event))
        .otherwise(pl.lit(UNKNOWN))
        .alias("kind")
    )


def _pick(frame: pl.DataFrame, layouts: Sequence[Layout]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The wanted fields of lines of `FORMS`, and the lines whose number of fields no layout has (line, kind)."""
    split = _fields(frame.select("line", "timestamp", "raw", "event", "text")).with_columns(
        n_fields=pl.col("fields").list.len()
    )
    parts: list[pl.DataFrame] = [_empty_pick()]
    wrong: list[pl.DataFrame] = [pl.DataFrame(schema={"line": pl.Int64, "kind": pl.String})]
    for group in split.partition_by("event", "n_fields", maintain_order=True):
        event, n_fields = group.row(0, named=True)["event"], group.row(0, named=True)["n_fields"]
        if found := plan(event, n_fields, layouts):
            parts.append(_columns(group, found))
        else:
            wrong.append(group.select("line", kind=pl.lit(f"{event}: {n_fields} fields")))
    return pl.concat(parts, how="diagonal").sort("line"), pl.concat(wrong)


def _fields(frame: pl.DataFrame) -> pl.DataFrame:
    quoted = pl.col("text").str.contains(QUOTED_COMMA)
    plain = frame.filter(~quoted).with_columns(fields=pl.col("text").str.split(","))
    rare = frame.filter(quoted)
    parsed = pl.Series("fields", [_csv(text) for text in rare["text"]], dtype=pl.List(pl.String))
    return pl.concat([plain, rare.with_columns(parsed)]).drop("text")


def _csv(text: str) -> list[str]:
    try:
        return next(csv.reader([text]))
    except csv.Error:
        return []


def _columns(group: pl.DataFrame, found: Plan) -> pl.DataFrame:
    wanted = [name for name in WANTED if name in found.positions]
    return group.select(
        *("line", "timestamp", "raw", "event"),
        pl.lit(found.form.use).alias("use"),
        pl.lit(found.form.is_periodic).alias("is_periodic"),
        *(_field(name, found.positions[name]) for name in wanted),
    ).with_columns(_resource(found))


def _field(name: str, position: int) -> pl.Expr:
    field = pl.col("fields").list.get(position).alias(name)
    return field.str.strip_chars('"') if name.endswith("_name") else field


def _resource(found: Plan) -> pl.Expr:
    if "gained_type" not in found.positions:
        return pl.lit(None, dtype=pl.String).alias("resource")
    names = dict(found.layout.resources)
    return pl.col("gained_type").replace_strict(names, default=None, return_dtype=pl.String).alias("resource")


def _empty_pick() -> pl.DataFrame:
    texts = {name: pl.String() for name in ("raw", "event", "use", "resource", *WANTED)}
    others = {"line": pl.Int64(), "timestamp": pl.Datetime("us", "UTC"), "is_periodic": pl.Boolean()}
    return pl.DataFrame(schema=pl.Schema({**others, **texts}))
