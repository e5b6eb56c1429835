"""One raid's Silver events as fights: its pulls, their players, and who is credited with what.

The terms are those of `docs/gold.md`; every Gold table is an aggregate of what stands here.
"""

from dataclasses import dataclass

import polars as pl

from pipeline.events import ENVIRONMENT
from pipeline.wire import ORDER

PULL = "encounter_id"
SECOND_US = 1_000_000


@dataclass(frozen=True)
class Fights:
    """The pulls of one raid."""

    pulls: pl.DataFrame
    """One row per pull: encounter_id, start_timestamp, duration_ms, n_seconds, n_events; sorted by encounter_id."""
    players: pl.DataFrame
    """One row per pull and player: their identity; sorted by (encounter_id, player_id)."""
    events: pl.DataFrame
    """The pulls' events in order of (timestamp, event_id), with `offset_us` since the start, `second`, whether source,
    owner and target are players, whether the event `is_credited` to one, and the amounts that count (never null)."""
    credits: pl.DataFrame
    """One row per event and player credited with it: `player_id`, `is_own`, `is_pet` and what the event did."""


def fights_of(silver: pl.DataFrame) -> Fights:
    """The fights in one raid's Silver events (`tables.SilverEvents`); a raid without pulls has none."""
    inside = silver.filter(pl.col(PULL).is_not_null()).sort(ORDER)
    pulls = _pulls(inside)
    players = _players(inside)
    events = _counted(_marked(_timed(inside, pulls), players))
    return Fights(pulls, players, events, _credits(events))


def first_known(frame: pl.DataFrame, by: list[str], columns: list[str]) -> pl.DataFrame:
    """Per group, the first value of each column that is not null, in the frame's order."""
    return frame.group_by(by, maintain_order=True).agg(pl.col(columns).drop_nulls().first())


def per_second(amount: pl.Expr, duration_ms: pl.Expr) -> pl.Expr:
    """An amount per second of a pull, null when it took no time."""
    return pl.when(duration_ms > 0).then(amount / (duration_ms / 1000))


def share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """A part of a whole, null when the whole is 0."""
    return pl.when(whole != 0).then(part / whole)


def _pulls(inside: pl.DataFrame) -> pl.DataFrame:
    moment, kind = pl.col("timestamp"), pl.col("event_type")
    begin = pl.coalesce(moment.filter(kind == "encounter_start").min(), moment.min())
    end = pl.coalesce(moment.filter(kind == "encounter_end").max(), moment.max())
    duration_ms = (pl.col("_end") - pl.col("start_timestamp")).dt.total_microseconds() // 1000
    return (
        inside.group_by(PULL)
        .agg(start_timestamp=begin, _end=end, n_events=pl.len().cast(pl.Int64))
        .with_columns(duration_ms=duration_ms)
        .with_columns(n_seconds=pl.max_horizontal(1, (pl.col("duration_ms") + 999) // 1000))
        .drop("_end")
        .sort(PULL)
    )


def _players(inside: pl.DataFrame) -> pl.DataFrame:
    known = pl.any_horizontal(pl.col("source_player_role", "source_player_class").is_not_null())
    acts = (pl.col("event_type") == "roster") | (known & pl.col("source_owner_id").is_null())
    sources = inside.filter(acts).select(PULL, player_id="source_player_id")
    met = (pl.col("target_entity_type") == "player") & pl.col("target_entity_id").is_not_null()
    targets = inside.filter(met).select(PULL, player_id="target_entity_id")
    players = pl.concat([sources, targets]).unique().filter(pl.col("player_id") != ENVIRONMENT)
    return _identified(players, inside).sort(PULL, "player_id")


def _identified(players: pl.DataFrame, inside: pl.DataFrame) -> pl.DataFrame:
    told = inside.sort(pl.col("event_type") != "roster", maintain_order=True).select(
        PULL,
        "target_entity_id",
        "target_entity_name",
        player_id="source_player_id",
        player_name="source_player_name",
        player_class="source_player_class",
        specialization="source_player_specialization",
        role="source_player_role",
        item_level="source_item_level",
    )
    identities = ["player_name", "player_class", "specialization", "role", "item_level"]
    by_source = first_known(told, [PULL, "player_id"], identities)
    by_target = first_known(told, [PULL, "target_entity_id"], ["target_entity_name"])
    return (
        players.join(by_source, on=[PULL, "player_id"], how="left")
        .join(by_target, left_on=[PULL, "player_id"], right_on=[PULL, "target_entity_id"], how="left")
        .with_columns(pl.coalesce("player_name", "target_entity_name").alias("player_name"))
        .drop("target_entity_name")
    )


def _timed(inside: pl.DataFrame, pulls: pl.DataFrame) -> pl.DataFrame:
    begins = pulls.select(PULL, "start_timestamp", "n_seconds")
    return (
        inside.join(begins, on=PULL, how="left", maintain_order="left")
        .with_columns(offset_us=(pl.col("timestamp") - pl.col("start_timestamp")).dt.total_microseconds())
        .with_columns(second=pl.min_horizontal(pl.col("offset_us") // SECOND_US, pl.col("n_seconds") - 1))
        .drop("start_timestamp", "n_seconds")
    )


def _marked(events: pl.DataFrame, players: pl.DataFrame) -> pl.DataFrame:
    roles = {
        "source_is_player": "source_player_id",
        "owner_is_player": "source_owner_id",
        "target_is_player": "target_entity_id",
    }
    for mark, column in roles.items():
        known = players.select(PULL, pl.col("player_id").alias(column), pl.lit(value=True).alias(mark))
        events = events.join(known, on=[PULL, column], how="left", maintain_order="left")
    return events.with_columns(pl.col(*roles).fill_null(value=False))


def _counted(events: pl.DataFrame) -> pl.DataFrame:
    """Add what each event counts for: amounts are 0 where the event is of another kind."""
    kind = pl.col("event_type")
    is_hit, is_heal = kind == "combat_damage", kind == "heal"

    def amount(name: str, counts: pl.Expr) -> pl.Expr:
        return pl.when(counts).then(pl.col(name).fill_null(0.0)).otherwise(0.0)

    damage, overheal = amount("damage_amount", is_hit), amount("overheal_amount", is_heal)
    return events.with_columns(
        damage=damage,
        healing=amount("healing_amount", is_heal) - overheal,
        overheal=overheal,
        absorbed=amount("absorbed_amount", kind == "absorb"),
        damage_taken=pl.when("target_is_player").then(damage).otherwise(0.0),
        is_hit=is_hit,
        is_heal=is_heal,
        is_death=(kind == "player_death") & pl.col("target_is_player"),
        is_critical=(is_hit | is_heal) & pl.col("is_critical_hit").fill_null(value=False),
        is_credited=pl.col("source_is_player") | pl.col("owner_is_player"),
    )


def _credits(events: pl.DataFrame) -> pl.DataFrame:
    own_pet = (pl.col("source_owner_id") == pl.col("source_player_id")).fill_null(value=False)
    own = events.filter("source_is_player").with_columns(
        player_id="source_player_id", is_own=pl.lit(value=True), is_pet=own_pet
    )
    pets = events.filter(pl.col("owner_is_player") & ~(pl.col("source_is_player") & own_pet))
    by_owner = pets.with_columns(player_id="source_owner_id", is_own=pl.lit(value=False), is_pet=pl.lit(value=True))
    return pl.concat([own, by_owner]).sort(PULL, "player_id", *ORDER)
