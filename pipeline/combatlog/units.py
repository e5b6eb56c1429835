"""Who is who: hostile units, a pull's boss, the players behind pets and totems."""

from collections.abc import Mapping

import polars as pl

NOBODY = "0000000000000000"
# The unit flag 0x40 (hostile to the player who logs) is in the hexadecimal number's second digit from the right.
HOSTILE_DIGITS = ("4", "5", "6", "7", "c", "d", "e", "f", "C", "D", "E", "F")

HOSTILES_SCHEMA = pl.Schema(
    {"encounter_id": pl.String(), "unit": pl.String(), "is_named": pl.Boolean(), "max_health": pl.Float64()}
)
OWNERS_SCHEMA = pl.Schema({"line": pl.Int64(), "unit": pl.String(), "owner": pl.String()})


def is_player(unit: str) -> pl.Expr:
    """Whether the column holds a player's guid."""
    return pl.col(unit).str.starts_with("Player-")


def is_creature(unit: str) -> pl.Expr:
    """Whether the column holds the guid of a creature or vehicle (pets have their own kind)."""
    return pl.col(unit).str.starts_with("Creature-") | pl.col(unit).str.starts_with("Vehicle-")


def is_hostile(flags: str) -> pl.Expr:
    """Whether the flags of the column are those of an enemy."""
    return pl.col(flags).str.slice(-2, 1).is_in(list(HOSTILE_DIGITS))


def hostiles(lines: pl.DataFrame, carried: pl.DataFrame) -> pl.DataFrame:
    """The hostile creatures of each pull, with the largest health seen and whether one bears the encounter's name.

    Args:
        lines: used lines with their pull.
        carried: what earlier segments saw in the pull that goes on.
    """
    in_pull = lines.filter(pl.col("encounter_id").is_not_null())
    seen = [carried]
    for side in ("source", "target"):
        described = pl.col("info_id") == pl.col(f"{side}_id")
        seen.append(
            in_pull.filter(is_creature(f"{side}_id") & is_hostile(f"{side}_flags")).select(
                "encounter_id",
                unit=pl.col(f"{side}_id"),
                is_named=(pl.col(f"{side}_name") == pl.col("pull_name")).fill_null(False),
                max_health=pl.when(described).then(pl.col("max_health")).cast(pl.Float64, strict=False),
            )
        )
    return (
        pl.concat(seen)
        .group_by("encounter_id", "unit")
        .agg(pl.col("is_named").any(), pl.col("max_health").max())
        .sort("encounter_id", "unit")
    )


def bosses(found: pl.DataFrame) -> pl.DataFrame:
    """The boss of each pull (encounter_id, unit): who bears the encounter's name, else who has the most health."""
    most = pl.col("max_health") == pl.col("max_health").max().over("encounter_id")
    first_with_most = most & (pl.col("unit") == pl.col("unit").filter(most).min().over("encounter_id"))
    nobody_named = pl.col("is_named").any().over("encounter_id").not_()
    return found.filter(pl.col("is_named") | (nobody_named & first_with_most & (pl.col("max_health") > 0))).select(
        "encounter_id", "unit"
    )


def owners(lines: pl.DataFrame, carried: Mapping[str, str]) -> pl.DataFrame:
    """Each statement of who owns a unit (line, unit, owner), sorted by line; what was known before has line 0."""
    known = pl.DataFrame([(0, *pair) for pair in carried.items()], schema=OWNERS_SCHEMA, orient="row")
    summoned = lines.filter(pl.col("use") == "summon").select("line", unit="target_id", owner="source_id")
    described = lines.filter(
        (pl.col("owner_id") != NOBODY) & pl.col("owner_id").str.contains("-", literal=True)
    ).select("line", unit="info_id", owner="owner_id")
    stated = pl.concat([known, summoned, described]).unique()
    stated = stated.filter(pl.col("unit").str.starts_with("Player-").not_()).sort("line", "unit", "owner")
    # What an elemental's totem is to the elemental, the shaman is to the totem.
    latest = dict(stated.select("unit", "owner").iter_rows())
    return stated.with_columns(
        pl.when(is_player("owner"))
        .then(pl.col("owner"))
        .otherwise(pl.col("owner").replace_strict(latest, default=None, return_dtype=pl.String))
    ).filter(is_player("owner"))


def owner_of(events: pl.DataFrame, stated: pl.DataFrame) -> pl.DataFrame:
    """The player behind each event's source (line, source_owner_id): as stated last before it, else first after it.

    Players have none, and neither have enemies: an add that a debuffed player summons is nobody's pet.
    """
    sources = events.filter(
        is_player("source_id").not_() & (pl.col("source_id") != NOBODY) & is_hostile("source_flags").not_()
    ).select("line", "source_id")
    for strategy in ("backward", "forward"):
        sources = sources.join_asof(
            stated.rename({"owner": strategy}),
            on="line",
            by_left="source_id",
            by_right="unit",
            strategy=strategy,
            check_sortedness=False,
        )
    return sources.select("line", source_owner_id=pl.coalesce("backward", "forward"))


def name_in(lines: bytes, guid: str) -> str | None:
    """The name that a player's guid bears anywhere in some lines."""
    marker = f'{guid},"'.encode()
    at = lines.find(marker)
    if at < 0:
        return None
    begin = at + len(marker)
    return lines[begin : lines.find(b'"', begin)].decode() or None
