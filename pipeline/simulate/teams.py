"""Teams and their pools of players, and all that can be the source or target of an event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.random import Generator, SeedSequence

from pipeline.events import PlayerClass, ResourceType, Role
from pipeline.simulate.abilities import NONE, Floats, Ints
from pipeline.simulate.world import PlayedDifficulty, Style, World

PLAYER_LEVEL = 70
TANKS = 2
MYTHIC_RAID_SIZE = 20
RAID_SIZES = (14, 27)
# Teams take turns, so that a season of few teams has all three difficulties.
DIFFICULTY_TURNS: tuple[PlayedDifficulty, ...] = ("heroic", "mythic", "normal", "heroic")
BENCH_SHARE = 0.9
WAVES = 16
ITEM_LEVEL_SD = 9.0
TEMPO_LOG_SD = (0.26, 0.52)
"""Below and above the common rhythm: some act twice as often as most, few half as often."""
CRIT_CHANCES = (0.15, 0.30)
NAME_ONSETS = ("b", "br", "d", "dr", "f", "g", "gr", "k", "l", "m", "n", "r", "s", "sh", "t", "th", "v", "z")
NAME_VOWELS = ("a", "e", "i", "o", "u", "ae", "ia")
NAME_ENDINGS = ("n", "r", "s", "l", "th", "x", "nd", "")
MAX_NAME_LENGTH = 12
FITTING_STEPS = 50


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
    style: Style
    """Latent: nothing in the events names it."""


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
    adds: Ints
    """The rows of a boss's adds by (boss, wave, place), NONE where the boss has none."""


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
    shares = specialization_shares(world, roles)
    players = tuple(
        _player(world, rng, f"player-t{index + 1:02d}-{number:02d}", role, names[2 * number - 2 : 2 * number], shares)
        for number, role in enumerate(pool, start=1)
    )
    return Team(index, difficulty, skill, roles, players)


def specialization_shares(world: World, roles: Mapping[Role, int]) -> Floats:
    """By specialisation its share of a pool with so many players of each role, so that the classes have theirs.

    Iterative proportional fitting (Deming and Stephan 1940): each class and each role in turn is scaled to its sum.
    """
    classes, of_class = np.unique([name for name, _, _ in world.specializations], return_inverse=True)
    names, of_role = np.unique([spec.role for _, _, spec in world.specializations], return_inverse=True)
    class_shares = np.array([world.classes[name].share for name in classes])
    role_shares = np.array([roles[name] for name in names], dtype=np.float64)
    shares = np.ones(len(of_class))
    for _ in range(FITTING_STEPS):
        for group, wanted in (
            (of_class, class_shares / class_shares.sum()),
            (of_role, role_shares / role_shares.sum()),
        ):
            shares *= (wanted / np.bincount(group, weights=shares))[group]
    return shares


def _player(world: World, rng: Generator, player_id: str, role: Role, names: Sequence[str], shares: Floats) -> Player:
    kinds = [kind for kind, (_, _, spec) in enumerate(world.specializations) if spec.role == role]
    kind = kinds[int(rng.choice(len(kinds), p=shares[kinds] / shares[kinds].sum()))]
    class_name, name, spec = world.specializations[kind]
    return Player(
        player_id=player_id,
        name=names[0],
        player_class=class_name,
        specialization=name,
        role=role,
        resource=spec.resource,
        kind=kind,
        skill=float(rng.normal()),
        tempo=_tempo(float(rng.normal())),
        attendance=float(rng.normal()),
        item_level_offset=float(rng.normal(0, ITEM_LEVEL_SD)),
        crit_chance=float(rng.uniform(*CRIT_CHANCES)),
        pet_name=names[1] if spec.pet else None,
        style=list(world.roles[role].styles)[int(rng.integers(len(world.roles[role].styles)))],
    )


def _tempo(z: float) -> float:
    below, above = TEMPO_LOG_SD
    return float(np.exp(z * (above if z > 0 else below)))


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
    adds = [
        {"id": f"add-{boss.slug}-w{wave + 1}-{place + 1}", "name": boss.add, "entity_type": "add"}
        for boss in world.bosses
        if boss.add
        for wave in range(WAVES)
        for place in range(world.mechanics.adds)
    ]
    pets_from = len(team.players)
    bosses_from = pets_from + len(owners)
    adds_from = bosses_from + len(world.bosses)
    rows = [
        *(_player_row(player, level) for player, level in zip(team.players, item_levels.tolist(), strict=True)),
        *(_pet_row(team.players[owner]) for owner in owners),
        *({"id": f"boss-{boss.slug}", "name": boss.name, "entity_type": "boss"} for boss in world.bosses),
        *adds,
    ]
    return Entities(
        rows=pl.DataFrame(rows, schema=ENTITY_SCHEMA),
        pet=_places(len(team.players), owners, pets_from),
        boss=np.arange(bosses_from, adds_from),
        adds=_add_places(world, adds_from),
    )


def _add_places(world: World, first: int) -> Ints:
    places = np.full((len(world.bosses), WAVES, world.mechanics.adds), NONE)
    with_adds = [index for index, boss in enumerate(world.bosses) if boss.add]
    count = len(with_adds) * WAVES * world.mechanics.adds
    places[with_adds] = first + np.arange(count).reshape(len(with_adds), WAVES, world.mechanics.adds)
    return places


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
