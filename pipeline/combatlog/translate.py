"""Used lines to events: one pure function per use, from the text of the fields to the columns of the wire.

Each adds `outcome`: `event`, `unused` (nothing happened) or why the line is not understood.
"""

import hashlib
from collections.abc import Callable

import polars as pl

from pipeline.combatlog.pulls import DIFFICULTIES
from pipeline.combatlog.units import NOBODY, is_creature, is_hostile, is_player
from pipeline.events import ENVIRONMENT, MAX_AMOUNT
from pipeline.wire import WIRE_SCHEMA

EVENT = "event"
NO_EVENT = "unused"
WRONG_NUMBER = "impossible number"
WRONG_UNIT = "impossible unit"
CUT_OFF = "cut off"

SCHOOLS = {1: "physical", 2: "holy", 4: "fire", 8: "nature", 16: "frost", 32: "shadow", 64: "arcane"}
# Of these the advanced block counts whole points, as the gain does; of rage and runic power it counts tenths.
UNSCALED = ("0", "2", "3")
MELEE = "Melee"
MAX_NAME = 64
# Some games show only a percentage of a player's health: its maximum is then 100.
PERCENTAGE = 100


def damage(lines: pl.DataFrame) -> pl.DataFrame:
    """Hits; `amount` holds what the target lost and the overkill."""
    overkill = pl.max_horizontal(_number("overkill"), 0)
    return lines.with_columns(
        *_abilities(pl.coalesce("spell_name", "environment_type", pl.lit(MELEE)), _number("hit_school")),
        *_health(before=_number("health") + _number("amount") - overkill),
        event_type=pl.lit("combat_damage"),
        outcome=_outcome("overkill", "resisted", "blocked", "absorbed"),
        damage_amount=_number("amount"),
        overkill_amount=_positive("overkill"),
        blocked_amount=_positive("blocked"),
        absorbed_amount=_positive("absorbed"),
        is_resisted=_number("resisted") > 0,
        is_blocked=_number("blocked") > 0,
        is_absorbed=_number("absorbed") > 0,
        is_critical_hit=pl.col("critical") == "1",
    )


def split(lines: pl.DataFrame) -> pl.DataFrame:
    """What somebody takes in another's place: the line's source is the protected, who deals nothing."""
    return damage(lines).with_columns(source_id=pl.lit(NOBODY))


def heal(lines: pl.DataFrame) -> pl.DataFrame:
    """Heals; `amount` is gross."""
    return lines.with_columns(
        *_abilities(pl.col("spell_name"), _mask("spell_school")),
        *_health(before=_number("health") - _number("amount") + _number("overheal")),
        event_type=pl.lit("heal"),
        outcome=_outcome("overheal", "absorbed"),
        healing_amount=_number("amount"),
        overheal_amount=_number("overheal").clip(0, MAX_AMOUNT),
        absorbed_amount=_positive("absorbed"),
        is_absorbed=_number("absorbed") > 0,
        is_critical_hit=pl.col("critical") == "1",
    )


def absorb(lines: pl.DataFrame) -> pl.DataFrame:
    """What shields took, credited to whoever put up the shield."""
    return lines.with_columns(
        event_type=pl.lit("absorb"),
        outcome=_outcome(),
        absorbed_amount=_number("amount"),
        source_id=pl.col("absorber_id"),
        source_name=pl.col("absorber_name"),
        source_flags=pl.col("absorber_flags"),
        ability_id=pl.col("shield_id"),
        ability_name=pl.col("shield_name"),
        ability_school=_school(_mask("shield_school")),
        is_periodic=pl.lit(None, dtype=pl.Boolean),
    )


def cast(lines: pl.DataFrame) -> pl.DataFrame:
    """Abilities used, by anyone."""
    return _plain(lines, "spell_cast")


def resurrect(lines: pl.DataFrame) -> pl.DataFrame:
    """The dead who live again."""
    return _plain(lines, "resurrect")


def energize(lines: pl.DataFrame) -> pl.DataFrame:
    """Gains of a resource, by the target."""
    is_described = (
        (pl.col("info_id") == pl.col("target_id"))
        & (pl.col("power_type") == pl.col("gained_type"))
        & pl.col("gained_type").is_in(list(UNSCALED))
    )
    after = pl.when(is_described & (_number("power") >= 0)).then(_number("power"))
    understood = _outcome()
    unknown_resource = pl.format("power type {}", pl.col("gained_type").fill_null(""))
    return lines.with_columns(
        *_abilities(pl.col("spell_name"), _mask("spell_school")),
        event_type=pl.lit("mana_regeneration"),
        outcome=pl.when((understood == EVENT) & pl.col("resource").is_null())
        .then(unknown_resource)
        .otherwise(understood),
        resource_type=pl.col("resource"),
        resource_regeneration_rate=_number("amount"),
        resource_amount_after=after,
        resource_amount_before=(after - _number("amount")).clip(lower_bound=0),
    )


def death(lines: pl.DataFrame) -> pl.DataFrame:
    """Players who died, not those who feign it; whose blow it was is filled in by `killers`."""
    is_death = is_player("target_id") & (pl.col("feign").fill_null("0") != "1")
    return lines.with_columns(
        event_type=pl.lit("player_death"),
        outcome=pl.when(is_death).then(pl.lit(EVENT)).otherwise(pl.lit(NO_EVENT)),
        is_periodic=pl.lit(None, dtype=pl.Boolean),
    )


def roster(lines: pl.DataFrame) -> pl.DataFrame:
    """Players present at a pull's start."""
    counts = [pl.col("raw").str.count_matches(bracket, literal=True) for bracket in "()[]"]
    is_whole = (counts[0] == counts[1]) & (counts[2] == counts[3]) & (counts[2] > 0)
    return lines.with_columns(
        event_type=pl.lit("roster"),
        outcome=pl.when(is_whole & is_player("source_id")).then(pl.lit(EVENT)).otherwise(pl.lit(CUT_OFF)),
        is_periodic=pl.lit(None, dtype=pl.Boolean),
    )


def encounter(lines: pl.DataFrame) -> pl.DataFrame:
    """Beginnings and ends of pulls; which ends belong to one is settled by the pulls."""
    is_start = pl.col("use") == "start"
    numbers = ("boss_id", "difficulty", "size", "success")
    is_whole = pl.all_horizontal(
        pl.col(name).is_null() | pl.col(name).str.contains(r"^[0-9]{1,9}$") for name in numbers
    )
    size = pl.col("size").cast(pl.Int64, strict=False)
    return lines.with_columns(
        event_type=pl.when(is_start).then(pl.lit("encounter_start")).otherwise(pl.lit("encounter_end")),
        outcome=pl.when(is_whole).then(pl.lit(EVENT)).otherwise(pl.lit(WRONG_NUMBER)),
        encounter_difficulty=_number("difficulty").replace_strict(
            DIFFICULTIES, default="other", return_dtype=pl.String
        ),
        encounter_success=pl.when(~is_start).then(pl.col("success") == "1"),
        raid_size=pl.when(size.is_between(1, 100)).then(size),
        source_id=pl.lit(NOBODY),
        is_periodic=pl.lit(None, dtype=pl.Boolean),
    )


def summon(lines: pl.DataFrame) -> pl.DataFrame:
    """Pets and totems that appear: no event, but they tell the owner."""
    return lines.with_columns(outcome=pl.lit(NO_EVENT))


# What every frame of events has, whichever uses occur in it.
COLUMNS = dict.fromkeys(("outcome", "event_type", "ability_id", "ability_name", "ability_school"), pl.String)

# Fields that no later step reads.
TRANSLATED = (
    *("spell_id", "spell_name", "spell_school", "environment_type", "health", "power_type", "power"),
    *("amount", "overkill", "hit_school", "resisted", "blocked", "absorbed", "critical", "overheal", "gained_type"),
    *("absorber_id", "absorber_name", "absorber_flags", "shield_id", "shield_name", "shield_school", "feign"),
    "resource",
)

TRANSLATIONS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "damage": damage,
    "split": split,
    "heal": heal,
    "absorb": absorb,
    "cast": cast,
    "resurrect": resurrect,
    "energize": energize,
    "death": death,
    "roster": roster,
    "start": encounter,
    "end": encounter,
    "summon": summon,
}


def translate(picked: pl.DataFrame) -> pl.DataFrame:
    """All used lines with their event's own columns and `outcome`, sorted by line."""
    groups = picked.partition_by("use", as_dict=True)
    translated = [TRANSLATIONS[str(use)](lines).drop(TRANSLATED) for (use,), lines in groups.items()]
    schema = [pl.DataFrame(schema=COLUMNS), picked.clear().drop(TRANSLATED)]
    events = pl.concat([*schema, *translated], how="diagonal").sort("line")
    is_known = pl.all_horizontal(_is_unit(name) for name in ("source_id", "target_id"))
    wrong = (pl.col("outcome") == EVENT) & ~is_known
    return events.with_columns(outcome=pl.when(wrong).then(pl.lit(WRONG_UNIT)).otherwise(pl.col("outcome")))


def killers(events: pl.DataFrame) -> pl.DataFrame:
    """Deaths take the source of the last hit on the dead within the pull; without one it stays the environment."""
    deaths = events.filter((pl.col("event_type") == "player_death") & (pl.col("outcome") == EVENT))
    is_understood = pl.col("outcome").is_in([EVENT, NO_EVENT])
    is_blow = (pl.col("event_type") == "combat_damage") & pl.col("encounter_id").is_not_null()
    blows = events.filter(is_understood & is_blow)
    columns = ("source_id", "source_name", "source_flags")
    blamed = deaths.select("line", "encounter_id", "target_id").join_asof(
        blows.select("line", "encounter_id", "target_id", *(pl.col(name).alias(f"killer_{name}") for name in columns)),
        on="line",
        by=["encounter_id", "target_id"],
        strategy="backward",
        check_sortedness=False,
    )
    return (
        events.join(blamed.drop("encounter_id", "target_id"), on="line", how="left", maintain_order="left")
        .with_columns(pl.coalesce(f"killer_{name}", name).alias(name) for name in columns)
        .drop(f"killer_{name}" for name in columns)
    )


def complete(events: pl.DataFrame, raid_id: str, boss: pl.DataFrame) -> pl.DataFrame:
    """Events with the wire's columns that all kinds share; `events` has source_owner_id.

    Args:
        events: translated lines that are events, with their pull.
        raid_id: the raid.
        boss: encounter_id and unit of bosses.
    """
    by_nobody = pl.col("source_id") == NOBODY
    has_target = (pl.col("target_id") != NOBODY).fill_null(False)
    elapsed = (pl.col("timestamp") - pl.col("pull_start")).dt.total_milliseconds().clip(lower_bound=0)
    is_boss = boss.rename({"unit": "target_id"}).unique().with_columns(is_boss=pl.lit(True))
    named = events.join(is_boss, on=["encounter_id", "target_id"], how="left", maintain_order="left").with_columns(
        event_id=event_ids(events, raid_id),
        raid_id=pl.lit(raid_id),
        source_system=pl.lit("combat-log"),
        source_player_id=pl.when(by_nobody).then(pl.lit(ENVIRONMENT)).otherwise(pl.col("source_id")),
        source_player_name=pl.when(by_nobody).then(pl.lit(ENVIRONMENT)).otherwise(_name("source")).str.head(MAX_NAME),
        target_entity_id=pl.when(has_target).then(pl.col("target_id")),
        target_entity_name=pl.when(has_target).then(_name("target")),
        target_entity_type=_entity_type(),
        encounter_duration_ms=elapsed,
        **{name: _text(name) for name in ("ability_id", "ability_name", "encounter_name")},
    )
    return named.select(column for column in WIRE_SCHEMA if column in named.columns)


def event_ids(events: pl.DataFrame, raid_id: str) -> pl.Series:
    """A UUID (version 8, RFC 9562) of raid, line number and line: the same for ever, other for each line."""
    texts = events.select(pl.concat_str(pl.lit(raid_id), "line", "raw", separator="\n").cast(pl.Binary)).to_series()
    digests = [hashlib.blake2b(text, digest_size=16).hexdigest() for text in texts.to_list()]
    part = pl.Series("event_id", digests, dtype=pl.String).str.slice
    return pl.select(
        pl.format("{}-{}-8{}-8{}-{}", part(0, 8), part(8, 4), part(13, 3), part(17, 3), part(20)).alias("event_id")
    ).to_series()


def _plain(lines: pl.DataFrame, event_type: str) -> pl.DataFrame:
    return lines.with_columns(
        *_abilities(pl.col("spell_name"), _mask("spell_school")),
        event_type=pl.lit(event_type),
        outcome=pl.lit(EVENT),
        is_periodic=pl.lit(None, dtype=pl.Boolean),
    )


def _abilities(name: pl.Expr, school: pl.Expr) -> list[pl.Expr]:
    return [
        pl.col("spell_id").alias("ability_id"),
        name.alias("ability_name"),
        _school(school).alias("ability_school"),
    ]


def _number(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Float64, strict=False)


def _positive(name: str) -> pl.Expr:
    number = _number(name)
    return pl.when((number > 0) & (number <= MAX_AMOUNT)).then(number)


def _outcome(*others: str) -> pl.Expr:
    """Whether the amount is one, and the other numbers are numbers."""
    amount = _number("amount")
    are_numbers = pl.all_horizontal(
        amount.is_between(0, MAX_AMOUNT).fill_null(False),
        *(_number(name).is_finite().fill_null(False) for name in others),
    )
    return (
        pl.when(~are_numbers)
        .then(pl.lit(WRONG_NUMBER))
        .when(amount == 0)
        .then(pl.lit(NO_EVENT))
        .otherwise(pl.lit(EVENT))
    )


def _mask(name: str) -> pl.Expr:
    return pl.col(name).str.strip_prefix("0x").str.to_integer(base=16, dtype=pl.Int64, strict=False)


def _school(mask: pl.Expr) -> pl.Expr:
    """The one school of a mask; null where several are mixed."""
    return mask.cast(pl.Int64, strict=False).replace_strict(SCHOOLS, default=None, return_dtype=pl.String)


def _health(before: pl.Expr) -> list[pl.Expr]:
    """The target's health in percent; a block that shows percentages only does not tell what was before."""
    now, most = _number("health"), _number("max_health")
    is_known = (pl.col("info_id") == pl.col("target_id")) & (most > 0) & now.is_between(0, most)
    return [
        pl.when(is_known & (most != PERCENTAGE) & before.is_finite())
        .then((before / most * 100).clip(0, 100))
        .alias("target_entity_health_pct_before"),
        pl.when(is_known).then((now / most * 100).clip(0, 100)).alias("target_entity_health_pct_after"),
    ]


def _is_unit(name: str) -> pl.Expr:
    """A guid, or nobody, or no such field."""
    guid = pl.col(name)
    return guid.is_null() | (guid == NOBODY) | guid.str.contains("-", literal=True)


def _text(name: str) -> pl.Expr:
    return pl.when(pl.col(name).str.len_bytes() > 0).then(pl.col(name))


def _name(side: str) -> pl.Expr:
    """The unit's name, its guid where it has none."""
    name = pl.col(f"{side}_name")
    return pl.when((name.str.len_bytes() > 0) & (name != "nil")).then(name).otherwise(pl.col(f"{side}_id"))


def _entity_type() -> pl.Expr:
    return (
        pl.when(is_player("target_id"))
        .then(pl.lit("player"))
        .when(pl.col("is_boss"))
        .then(pl.lit("boss"))
        .when(is_creature("target_id") & is_hostile("target_flags"))
        .then(pl.lit("add"))
    )
