"""What a player plays in a pull: specialisation, class, role and item level, where a COMBATANT_INFO says so.

Retail's says; Classic's does not, and there class and role stay null.
"""

from collections.abc import Sequence

import polars as pl

from pipeline.combatlog.layouts import Layout
from pipeline.combatlog.pulls import PullState
from pipeline.events import PlayerClass, Role

# The game's specialisation ids (ChrSpecialization). Augmentation deals damage and helps others to: its role is dps.
SPECIALIZATIONS: dict[int, tuple[PlayerClass, str, Role]] = {
    250: ("death_knight", "blood", "tank"),
    251: ("death_knight", "frost", "dps"),
    252: ("death_knight", "unholy", "dps"),
    577: ("demon_hunter", "havoc", "dps"),
    581: ("demon_hunter", "vengeance", "tank"),
    1480: ("demon_hunter", "devourer", "dps"),
    102: ("druid", "balance", "dps"),
    103: ("druid", "feral", "dps"),
    104: ("druid", "guardian", "tank"),
    105: ("druid", "restoration", "healer"),
    1467: ("evoker", "devastation", "dps"),
    1468: ("evoker", "preservation", "healer"),
    1473: ("evoker", "augmentation", "dps"),
    253: ("hunter", "beast_mastery", "dps"),
    254: ("hunter", "marksmanship", "dps"),
    255: ("hunter", "survival", "dps"),
    62: ("mage", "arcane", "dps"),
    63: ("mage", "fire", "dps"),
    64: ("mage", "frost", "dps"),
    268: ("monk", "brewmaster", "tank"),
    269: ("monk", "windwalker", "dps"),
    270: ("monk", "mistweaver", "healer"),
    65: ("paladin", "holy", "healer"),
    66: ("paladin", "protection", "tank"),
    70: ("paladin", "retribution", "dps"),
    256: ("priest", "discipline", "healer"),
    257: ("priest", "holy", "healer"),
    258: ("priest", "shadow", "dps"),
    259: ("rogue", "assassination", "dps"),
    260: ("rogue", "outlaw", "dps"),
    261: ("rogue", "subtlety", "dps"),
    262: ("shaman", "elemental", "dps"),
    263: ("shaman", "enhancement", "dps"),
    264: ("shaman", "restoration", "healer"),
    265: ("warlock", "affliction", "dps"),
    266: ("warlock", "demonology", "dps"),
    267: ("warlock", "destruction", "dps"),
    71: ("warrior", "arms", "dps"),
    72: ("warrior", "fury", "dps"),
    73: ("warrior", "protection", "tank"),
}
NAMES = ("source_player_class", "source_player_specialization", "source_player_role")
IN_PULL = ("encounter_id", "source_id")
SCHEMA = pl.Schema(dict.fromkeys((*IN_PULL, *NAMES), pl.String()) | {"source_item_level": pl.Float64()})

# The stats before it have grown over time, but it stays the last number before the first bracket.
SPECIALIZATION = r"^[^\[(]*,([0-9]+),[\[(]"
# Only an item is two numbers and a list: (item id, item level, (enchantments), …); no item is (0,0,(), …).
ITEM = r"\([0-9]+,[0-9]{1,4},\("
SHIRT, TABARD = 3, 17


def identified(
    events: pl.DataFrame, carried: pl.DataFrame, layouts: Sequence[Layout], state: PullState
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Add to each event of a pull what its source plays in it, and tell what that is for the pull that goes on.

    Args:
        events: of one segment, with their pull; rosters with their line in `raw`.
        carried: what earlier segments told of the pull that goes on (`SCHEMA`).
        layouts: those that the segment's build may have; where one names no specialisation, none is read.
        state: that of the pulls after the segment.
    """
    rosters = events.filter(pl.col("encounter_id").is_not_null(), event_type="roster")
    told = [_played(rosters)] if all(layout.names_specialization for layout in layouts) else []
    played = pl.concat([carried, *told]).unique(IN_PULL, keep="first", maintain_order=True)
    if played.is_empty():
        return events, carried
    joined = events.join(played, on=IN_PULL, how="left", maintain_order="left")
    return joined, played.filter(pl.col("encounter_id") == (state.open.encounter_id if state.open else ""))


def _played(rosters: pl.DataFrame) -> pl.DataFrame:
    """What the players of some rosters play; not in the frame: those of whom their line does not say it."""
    number = pl.col("raw").str.extract(SPECIALIZATION).cast(pl.Int64, strict=False)
    names = [
        number.replace_strict(
            {each: names[place] for each, names in SPECIALIZATIONS.items()}, default=None, return_dtype=pl.String
        ).alias(name)
        for place, name in enumerate(NAMES)
    ]
    return (
        rosters.select(*IN_PULL, *names, _item_level().alias("source_item_level"))
        .filter(pl.any_horizontal(pl.col(NAMES).is_not_null()))
        .cast(SCHEMA)
    )


def _item_level() -> pl.Expr:
    """The mean of what is worn, shirt and tabard apart; a two-handed weapon counts once."""
    item, place = pl.element(), pl.int_range(pl.len())
    counts = ~place.is_in([SHIRT, TABARD]) & ~item.str.starts_with("(0,")
    mean = item.filter(counts).str.extract(r",([0-9]+),").cast(pl.Float64).mean()
    return pl.col("raw").str.extract_all(ITEM).list.eval(mean).list.first()
