"""Raids' Silver events as fights: their pulls, their players, and who is credited with what.

The terms are those of `docs/gold.md`; every Gold table is an aggregate of what stands here. Pulls and players are known
by the number of their row, which is what makes `tally` fast.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.events import ENVIRONMENT, EVENT_TYPES
from pipeline.gold import tally
from pipeline.gold.tally import NOBODY, Amounts, Flags, Rows

PULL = ["raid_id", "encounter_id"]
SECOND_US = 1_000_000
KINDS = pl.Enum(EVENT_TYPES)
TARGETS = pl.Enum(["player", "boss", "add"])
IDENTITY = {
    "player_name": "source_player_name",
    "player_class": "source_player_class",
    "specialization": "source_player_specialization",
    "role": "source_player_role",
    "item_level": "source_item_level",
}
PARTS = {"source": "source_player_id", "owner": "source_owner_id", "target": "target_entity_id"}
"""Who takes part in an event."""
COLUMNS = (
    *PULL,
    "timestamp",
    "event_type",
    *PARTS.values(),
    *IDENTITY.values(),
    "target_entity_name",
    "target_entity_type",
    "target_entity_health_pct_before",
    "target_entity_health_pct_after",
    "damage_amount",
    "healing_amount",
    "overheal_amount",
    "absorbed_amount",
    "is_critical_hit",
    "is_avoidable",
    "ability_category",
    "encounter_success",
    "encounter_name",
    "encounter_difficulty",
    "boss_id",
    "raid_size",
    "team_id",
    "source_system",
)
"""What Gold reads of a Silver event."""
ACTS = ("combat_damage", "heal", "absorb", "spell_cast")
"""What players are credited with, and what keeps them active."""
CREDITED = (
    "event_type",
    "ability_category",
    "source",
    "owner",
    "target",
    "target_entity_type",
    "second",
    "damage",
    "healing",
    "overheal",
    "absorbed",
    "is_critical",
)


@dataclass(frozen=True)
class Fights:
    """The pulls of one raid or of several."""

    pulls: pl.DataFrame
    """One row per pull: raid_id, encounter_id, start_timestamp, duration_ms, n_seconds, n_events; sorted by key."""
    players: pl.DataFrame
    """One row per pull and player: `pull` (the row in `pulls`) and their identity; sorted by (pull, player_id)."""
    events: pl.DataFrame
    """The pulls' events in order, with `pull`, with the rows in `players` of their `source`, `owner` and `target` (or
    NOBODY), with `offset_us` since the start and `second`, and with the amounts that count (never null)."""
    credits: dict[str, pl.DataFrame]
    """For each of ACTS, one row per event and player credited with it: `player` (the row in `players`), `is_own`,
    `is_pet` and what the event did."""


def fights_of(silver: pl.DataFrame) -> Fights:
    """The fights in raids' Silver events; a raid without pulls has none.

    Args:
        silver: at least COLUMNS of `tables.SilverEvents`, sorted by (raid_id, timestamp, event_id).
    """
    inside = silver.filter(pl.col("encounter_id").is_not_null()).with_columns(
        pl.col("event_type").cast(KINDS), pl.col("target_entity_type").cast(TARGETS, strict=False)
    )
    keys, events = _numbered(inside)
    pulls = _bounded(keys, events)
    players, events = _cast_of(events, pulls)
    players, events = _identified(players, events), _counted(_timed(events, pulls))
    return Fights(pulls, players, events, {kind: _credits(events, kind) for kind in ACTS})


def rows_of(frame: pl.DataFrame, column: str) -> Rows:
    """A column of whole numbers as numpy's."""
    return frame[column].to_numpy()


def amounts_of(frame: pl.DataFrame, amount: str, where: pl.Expr | None = None) -> Amounts:
    """A column of amounts as numpy's; 0 where a condition does not hold or is unknown."""
    amounts: Amounts = frame[amount].to_numpy()
    return amounts if where is None else amounts * flags_of(frame, where)


def flags_of(frame: pl.DataFrame, flag: pl.Expr) -> Flags:
    """Whether something is so, for each row; what is unknown is not."""
    return frame.select(flag.fill_null(value=False)).to_series().to_numpy()


def found_at(values: pl.Series, places: Rows) -> pl.Series:
    """The values at places that `tally` found, null at NOBODY."""
    return values.gather(pl.Series(places).replace(NOBODY, None))


def first_known(
    frame: pl.DataFrame, rows: Rows, n: int, columns: Iterable[str], preferred: Flags | None = None
) -> pl.DataFrame:
    """For each of `n` rows, the first value of each column that is not null: the preferred ones before the others."""
    known = {column: frame[column].is_not_null().to_numpy() for column in columns}
    return pl.DataFrame(found_at(frame[name], tally.firsts(rows, n, known[name], preferred)) for name in known)


def per_second(amount: pl.Expr, duration_ms: pl.Expr) -> pl.Expr:
    """An amount per second of a pull, null when it took no time."""
    return pl.when(duration_ms > 0).then(amount / (duration_ms / 1000))


def share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """A part of a whole, null when the whole is 0."""
    return pl.when(whole != 0).then(part / whole)


def _numbered(inside: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The pulls' keys, sorted, and the events with `pull`, the number of theirs."""
    # Events of a pull stand together, so their keys are compared once for each stretch instead of once for each event.
    stretch = inside.select(pl.struct(PULL).rle_id().cast(pl.Int64)).to_series()
    begins = np.flatnonzero(np.diff(stretch.to_numpy(), prepend=-1))
    stretches = inside.select(PULL)[begins]
    keys = stretches.unique().sort(PULL)
    numbers = stretches.join(keys.with_row_index("pull"), on=PULL, how="left", maintain_order="left")["pull"]
    return keys, inside.with_columns(numbers.cast(pl.Int64).gather(stretch).alias("pull"))


def _bounded(keys: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    pull, n, kind = rows_of(events, "pull"), keys.height, pl.col("event_type")
    moments = events["timestamp"].to_physical().to_numpy()
    begin = moments[tally.firsts(pull, n, preferred=flags_of(events, kind == "encounter_start"))]
    end = moments[tally.lasts(pull, n, preferred=flags_of(events, kind == "encounter_end"))]
    duration_ms = (end - begin) // 1000
    return keys.with_columns(
        pl.Series("start_timestamp", begin).cast(pl.Datetime("us", "UTC")),
        pl.Series("duration_ms", duration_ms),
        pl.Series("n_seconds", np.maximum(1, (duration_ms + 999) // 1000)),
        pl.Series("n_events", tally.counts(pull, n)),
    )


def _cast_of(events: pl.DataFrame, pulls: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The players of the pulls, sorted, and the events with the rows of `source`, `owner` and `target` among them."""
    entity = pl.Categorical(pl.Categories.random())
    coded = events.select("pull", **{part: pl.col(column).cast(entity) for part, column in PARTS.items()})
    known = pl.any_horizontal(pl.col("source_player_role", "source_player_class").is_not_null())
    acts = (pl.col("event_type") == "roster") | (known & pl.col("source_owner_id").is_null())
    met = (pl.col("target_entity_type") == "player") & pl.col("target_entity_id").is_not_null()
    sources = coded.filter(events.select(acts).to_series()).select("pull", entity="source")
    targets = coded.filter(events.select(met).to_series()).select("pull", entity="target")
    players = (
        pl.concat([sources, targets])
        .unique()
        .with_columns(player_id=pl.col("entity").cast(pl.String))
        .filter(pl.col("player_id") != ENVIRONMENT)
        .sort("pull", "player_id")
        .with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64))
    )
    found = {part: _places(coded, part, players) for part in PARTS}
    keys = pulls.select(PULL)[rows_of(players, "pull")]
    return pl.concat([keys, players.select("pull", "player_id")], how="horizontal"), events.with_columns(**found)


def _places(coded: pl.DataFrame, part: str, players: pl.DataFrame) -> pl.Series:
    """The rows among the players of the entities in a column, NOBODY for those that are none."""
    rows = players.select("pull", pl.col("entity").alias(part), "row")
    found = coded.select("pull", part).join(rows, on=["pull", part], how="left", maintain_order="left")
    return found["row"].fill_null(NOBODY)


def _identified(players: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    is_roster, n = flags_of(events, pl.col("event_type") == "roster"), players.height
    said = first_known(events, rows_of(events, "source"), n, IDENTITY.values(), is_roster)
    heard = first_known(events, rows_of(events, "target"), n, ["target_entity_name"], is_roster)
    said.columns = list(IDENTITY)
    return pl.concat([players, said, heard], how="horizontal").with_columns(
        player_name=pl.coalesce("player_name", "target_entity_name")
    )


def _timed(events: pl.DataFrame, pulls: pl.DataFrame) -> pl.DataFrame:
    pull = rows_of(events, "pull")
    begins = pulls["start_timestamp"].to_physical().to_numpy()
    offset_us = events["timestamp"].to_physical().to_numpy() - begins[pull]
    second = np.clip(offset_us // SECOND_US, 0, pulls["n_seconds"].to_numpy()[pull] - 1)
    return events.with_columns(pl.Series("offset_us", offset_us), pl.Series("second", second))


def _counted(events: pl.DataFrame) -> pl.DataFrame:
    """Add what each event counts for: amounts are 0 where the event is of another kind."""
    kind = pl.col("event_type")
    is_hit, is_heal = kind == "combat_damage", kind == "heal"

    def amount(name: str, counts: pl.Expr) -> pl.Expr:
        return pl.when(counts).then(pl.col(name).fill_null(0.0)).otherwise(0.0)

    damage, overheal = amount("damage_amount", is_hit), amount("overheal_amount", is_heal)
    met = pl.col("target") != NOBODY
    return events.with_columns(
        damage=damage,
        healing=amount("healing_amount", is_heal) - overheal,
        overheal=overheal,
        absorbed=amount("absorbed_amount", kind == "absorb"),
        damage_taken=pl.when(met).then(damage).otherwise(0.0),
        is_death=(kind == "player_death") & met,
        is_critical=(is_hit | is_heal) & pl.col("is_critical_hit").fill_null(value=False),
        is_credited=(pl.col("source") != NOBODY) | (pl.col("owner") != NOBODY),
    )


def _credits(events: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Events of a kind once for the player who acts and once for the one whose pet acts, if that is another."""
    source, owner = pl.col("source"), pl.col("owner")
    acts = events.select(CREDITED).filter(pl.col("event_type") == kind)
    own = acts.filter(source != NOBODY).with_columns(player=source, is_own=pl.lit(value=True), is_pet=owner == source)
    by_owner = acts.filter((owner != NOBODY) & (owner != source)).with_columns(
        player=owner, is_own=pl.lit(value=False), is_pet=pl.lit(value=True)
    )
    return pl.concat([own, by_owner], rechunk=True)
