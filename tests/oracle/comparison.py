"""The Polars implementation's tables, and what differs between two sets of Gold tables, in words."""

from types import ModuleType

import polars as pl

from pipeline.params import Gold
from tests.oracle.oracle import KEYS

RELATIVE_TOLERANCE = 1e-9


def implemented_tables(gold: ModuleType, silver: list[pl.DataFrame], params: Gold) -> dict[str, pl.DataFrame]:
    """The six Gold tables as `pipeline.gold`, or a mutant of it, makes them of the raids' Silver frames."""
    raids = [gold.raid_gold(frame, params) for frame in silver]
    tables = {
        name: pl.concat([getattr(raid, name) for raid in raids])
        for name in ("raid_summary", "player_raid_stats", "raid_timeline", "player_timeline")
    }
    summary, stats = tables["raid_summary"], tables["player_raid_stats"]
    return tables | {
        "dim_player": gold.dimensions.players(summary, stats),
        "dim_raid": gold.dimensions.raids(pl.concat([raid.facts for raid in raids]), summary, stats),
    }


def differences(actual: dict[str, pl.DataFrame], expected: dict[str, pl.DataFrame]) -> list[str]:
    """One line per column that differs; none if all is equal (floats within 1e-9 of each other, relatively)."""
    found = [f"{name}: is not a table of both" for name in sorted(actual.keys() ^ expected.keys())]
    for name in sorted(actual.keys() & expected.keys()):
        found += [f"{name}: {line}" for line in _table_differences(actual[name], expected[name], KEYS[name])]
    return found


def _table_differences(actual: pl.DataFrame, expected: pl.DataFrame, key: tuple[str, ...]) -> list[str]:
    if odd := sorted(set(actual.columns) ^ set(expected.columns)):
        return [f"not columns of both: {', '.join(odd)}"]
    actual, expected = (_plain(frame).sort(key).select(sorted(frame.columns)) for frame in (actual, expected))
    kinds = [
        f"{column} is {actual.schema[column]}, not {expected.schema[column]}"
        for column in actual.columns
        if actual.schema[column] != expected.schema[column]
    ]
    if kinds:
        return kinds
    if actual.equals(expected):
        return []
    if not actual.select(key).equals(expected.select(key)):
        missing = expected.select(key).join(actual.select(key), on=key, how="anti").rows()
        extra = actual.select(key).join(expected.select(key), on=key, how="anti").rows()
        return [f"{actual.height} rows for {expected.height}, without {missing[:3]}, with {extra[:3]}"]
    lines = (_column_difference(actual, expected, key, column) for column in actual.columns)
    return [line for line in lines if line]


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with one width of integer and with instants as plain UTC, so that only meaning is compared."""
    assert all(str(dtype.time_zone) in {"UTC", "None"} for dtype in frame.dtypes if isinstance(dtype, pl.Datetime))
    return frame.with_columns(
        pl.selectors.integer().cast(pl.Int64),
        pl.selectors.datetime().dt.replace_time_zone(None).dt.cast_time_unit("us"),
        pl.selectors.by_dtype(pl.Categorical, pl.Enum).cast(pl.String),
    )


def _column_difference(actual: pl.DataFrame, expected: pl.DataFrame, key: tuple[str, ...], column: str) -> str | None:
    both = expected.select(*key, expected=pl.col(column)).with_columns(actual=actual[column])
    wrong = both.filter(~_agree(pl.col("actual"), pl.col("expected"), is_float=expected.schema[column].is_float()))
    if wrong.is_empty():
        return None
    first = wrong.row(0, named=True)
    where = ", ".join(str(first[name]) for name in key)
    return f"{column} differs in {wrong.height} rows, first ({where}): {first['actual']} for {first['expected']}"


def _agree(actual: pl.Expr, expected: pl.Expr, *, is_float: bool) -> pl.Expr:
    if not is_float:
        return actual.eq_missing(expected)
    near = (actual - expected).abs() <= RELATIVE_TOLERANCE * pl.max_horizontal(actual.abs(), expected.abs())
    return (actual.is_null() & expected.is_null()) | near.fill_null(value=False)
