"""What a pull starts from."""

from dataclasses import dataclass

from pipeline.simulate.abilities import Flags, Floats, Ints
from pipeline.simulate.lives import Peril


@dataclass(frozen=True)
class Setup:
    """All that a pull starts from. Arrays by raider; entities are rows of the team's entities."""

    boss: int
    """The boss's place in the world."""
    boss_entity: int
    add_entity: int
    """The boss's adds, or NONE."""
    boss_health: int
    phases: tuple[float, ...]
    boss_strength: float
    """Multiple of what the boss's hits do."""
    action_rate: float
    """Mean actions per player and second."""
    peril: Peril
    raiders: Ints
    kinds: Ints
    pets: Ints
    """The raider's pet, or NONE."""
    pet_kinds: Ints
    tempo: Floats
    strength: Floats
    """Multiple of an ability's mean amount."""
    crit_chance: Floats
    uses_mana: Flags

    @property
    def size(self) -> int:
        return len(self.raiders)
