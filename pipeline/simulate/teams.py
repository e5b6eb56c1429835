"""Teams and their pools of players, and all that can be the source or target of an event."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.random import Generator, SeedSequence

from pipeline.events import PlayerClass, ResourceType, Role
from pipeline.simulate.abilities import NONE, Floats, Ints
from pipeline.simulate.world import PlayedDifficulty, World

PLAYER_LEVEL = 70
TANKS = 2
MYTHIC_RAID_SIZE = 20
RAID_SIZES = (10, 20)
# Teams take turns, so that a season of few teams has all three difficulties.
DIFFICULTY_TURNS: tuple[PlayedDifficulty, ...] = ("heroic", "mythic", "normal", "heroic")
BENCH_SHARE = 0.4
ITEM_LEVEL_SD = 9.0
TEMPO_LOG_SD = 0.12
CRIT_CHANCES = (0.15, 0.30)
NAME_ONSETS = ("b", "br", "d", "dr", "f", "g", "gr", "k", "l", "m", "n", "r", "s", "sh", "t", "th", "v", "z")
NAME_VOWELS = ("a", "e", "i", "o", "u", "ae", "ia")
NAME_ENDINGS = ("n", "r", "s", "l", "th", "x", "nd", "")
MAX_NAME_LENGTH = 12


@dataclass(frozen=True)
class Player:
    """A player of a team's pool."""

    player_id: str
    name: str
    player_class: PlayerClass
    specialization: str
    role: Role
    resource: ResourceType
    kind: int
    """The index of the specialisation in the world."""
    skill: float
    """Standard deviations above the average player."""
    tempo: float
    """Actions relative to the common rhythm."""
    attendance: float
    """The higher, the more often the player is in the raid."""
    item_level_offset: float
    """Item level above the team's average."""
    crit_chance: float
    pet_name: str | None


@dataclass(frozen=True)
class Team:
    """A team: what it raids, how well, and with whom."""

    index: int
    difficulty: PlayedDifficulty
    skill: float
    """Standard deviations above the average team."""
    roles: dict[Role, int]
    """How many of each role are in the raid."""
    players: tuple[Player, ...]

    @property
    def team_id(self) -> str:
        return f"team-{self.index + 1:02d}"

    @property
    def raid_size(self) -> int:
        return sum(self.roles.values())


@dataclass(frozen=True)
class Entities:
    """Everything that a team's events can name, one row each, and where to find it."""

    rows: pl.DataFrame
    pet: Ints
    """The pet's row by player, or NONE."""
    boss: Ints
    """The row by boss."""
    add: Ints
    """The row of a boss's adds, or NONE."""


def build_team(world: World, seed: int, index: int) -> Team:
    """The team with this index: the same whatever other teams there are."""
    rng = np.random.default_rng(SeedSequence(seed, spawn_key=(index,)))
    difficulty = DIFFICULTY_TURNS[index % len(DIFFICULTY_TURNS)]
    skill = float(rng.normal())
    size = MYTHIC_RAID_SIZE if difficulty == "mythic" else int(rng.integers(*RAID_SIZES, endpoint=True))
    healers = round(1.2 + 0.128 * size)
    roles: dict[Role, int] = {"tank": TANKS, "healer": healers, "dps": size - TANKS - healers}
    bench = {role: max(1, round(BENCH_SHARE * count)) for role, count in roles.items()}
    pool = [role for role, count in roles.items() for _ in range(count + bench[role])]
    names = invent_names(rng, 2 * len(pool))
    players = tuple(
        _player(world, rng, f"player-t{index + 1:02d}-{number:02d}", role, names[2 * number - 2 : 2 * number])
        for number, role in enumerate(pool, start=1)
    )
    return Team(index, difficulty, skill, roles, players)


def _player(world: World, rng: Generator, player_id: str, role: Role, names: Sequence[str]) -> Player:
    kinds = [(kind, *spec) for kind, spec in enumerate(world.specializations) if spec[2].role == role]
    shares = np.array([world.classes[class_name].share for _, class_name, _, _ in kinds])
    kind, class_name, name, spec = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
    return Player(
        player_id=player_id,
        name=names[0],
        player_class=class_name,
        specialization=name,
        role=role,
        resource=spec.resource,
        kind=kind,
        skill=float(rng.normal()),
        tempo=float(np.exp(rng.normal(0, TEMPO_LOG_SD))),
        attendance=float(rng.normal()),
        item_level_offset=float(rng.normal(0, ITEM_LEVEL_SD)),
        crit_chance=float(rng.uniform(*CRIT_CHANCES)),
        pet_name=names[1] if spec.pet else None,
    )


def invent_names(rng: Generator, count: int) -> list[str]:
    """Distinct pronounceable names of at most twelve letters."""
    names: dict[str, None] = {}
    while len(names) < count:
        syllables = int(rng.integers(2, 4))
        parts = [str(rng.choice(NAME_ONSETS)) + str(rng.choice(NAME_VOWELS)) for _ in range(syllables)]
        name = "".join(parts) + str(rng.choice(NAME_ENDINGS))
        names[name[:MAX_NAME_LENGTH].capitalize()] = None
    return list(names)


def team_entities(world: World, team: Team, item_levels: Floats) -> Entities:
    """The rows of players, pets, bosses and adds, in this order.

    Args:
        item_levels: this evening's, by player.
    """
    owners = [index for index, player in enumerate(team.players) if player.pet_name]
    with_adds = [index for index, boss in enumerate(world.bosses) if boss.add]
    pets_from = len(team.players)
    bosses_from = pets_from + len(owners)
    adds_from = bosses_from + len(world.bosses)
    rows = [
        *(_player_row(player, level) for player, level in zip(team.players, item_levels.tolist(), strict=True)),
        *(_pet_row(team.players[owner]) for owner in owners),
        *({"id": f"boss-{boss.slug}", "name": boss.name, "entity_type": "boss"} for boss in world.bosses),
        *(
            {"id": f"add-{boss.slug}", "name": boss.add, "entity_type": "add"}
            for boss in (world.bosses[index] for index in with_adds)
        ),
    ]
    return Entities(
        rows=pl.DataFrame(rows, schema=ENTITY_SCHEMA),
        pet=_places(len(team.players), owners, pets_from),
        boss=np.arange(bosses_from, adds_from),
        add=_places(len(world.bosses), with_adds, adds_from),
    )


ENTITY_SCHEMA = pl.Schema(
    {
        "id": pl.String(),
        "name": pl.String(),
        "entity_type": pl.String(),
        "role": pl.String(),
        "player_class": pl.String(),
        "level": pl.Int64(),
        "specialization": pl.String(),
        "item_level": pl.Float64(),
        "owner_id": pl.String(),
        "resource": pl.String(),
    }
)


def _player_row(player: Player, item_level: float) -> dict[str, object]:
    return {
        "id": player.player_id,
        "name": player.name,
        "entity_type": "player",
        "role": player.role,
        "player_class": player.player_class,
        "level": PLAYER_LEVEL,
        "specialization": player.specialization,
        "item_level": round(item_level, 1),
        "resource": player.resource,
    }


def _pet_row(owner: Player) -> dict[str, object]:
    pet_id = owner.player_id.replace("player-", "pet-")
    return {"id": pet_id, "name": owner.pet_name, "owner_id": owner.player_id}


def _places(count: int, present: list[int], first: int) -> Ints:
    places = np.full(count, NONE)
    places[present] = first + np.arange(len(present))
    return places
