"""A pull played in the terminal, second by second, from Gold's timelines: `python -m pipeline watch raid017`."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline import gold
from pipeline.errors import PipelineError

TOP = 5
MOST_DEATHS_SHOWN = 6
PLAIN_EVERY_S = 15
"""Elsewhere than on a terminal a line is written so often, in seconds of the pull."""
OUTCOMES = {"success": "the boss is dead", "wipe": "wipe", "unknown": "how it ended is unknown"}


@dataclass(frozen=True)
class Scene:
    """A pull as it stands at the end of one of its seconds."""

    title: str
    second: int
    seconds: int
    boss_hp_pct: float | None
    alive: int
    players: int
    damage: list[tuple[str, float]]
    """The players who have done most so far, and how much."""
    healing: list[tuple[str, float]]
    deaths: list[tuple[int, str]]
    """In which second, and who; the latest first."""


def watch(raid_id: str, encounter_id: str | None = None, speed: float = 10.0) -> None:
    """Play a pull.

    Args:
        raid_id: a raid of Gold, simulated or from a log.
        encounter_id: by default the raid's first kill, else its longest pull.
        speed: seconds of the pull in a second.

    Raises:
        PipelineError: no such raid or pull, or a speed that is none.
    """
    if not speed > 0:
        raise PipelineError(f"--speed {speed:g}: give a number above 0, like 10 for ten times as fast")
    pull = choose_pull(gold.read("raid_summary").filter(pl.col("raid_id") == raid_id), raid_id, encounter_id)
    shown = scenes(
        pull,
        gold.read("raid_timeline", raid_id).filter(pl.col("encounter_id") == pull["encounter_id"]),
        gold.read("player_timeline", raid_id).filter(pl.col("encounter_id") == pull["encounter_id"]),
        gold.read("player_raid_stats").filter(
            (pl.col("raid_id") == raid_id) & (pl.col("encounter_id") == pull["encounter_id"])
        ),
    )
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if console.is_terminal:
        _play(console, shown, speed)
    else:
        _write(console, shown)
    console.print(f"{pull['encounter_id']}: {OUTCOMES[pull['raid_outcome']]} after {pull['duration_ms'] / 1000:.1f} s")


def choose_pull(pulls: pl.DataFrame, raid_id: str, encounter_id: str | None) -> dict[str, Any]:
    """The row of `raid_summary` to play.

    Raises:
        PipelineError: the raid has no such pull, or Gold no such raid.
    """
    if pulls.is_empty():
        raise PipelineError(f"raid {raid_id} has no pull in Gold; `python -m pipeline summary` says what there is")
    if encounter_id is not None:
        chosen = pulls.filter(pl.col("encounter_id") == encounter_id)
        if chosen.is_empty():
            known = ", ".join(pulls.sort("start_timestamp")["encounter_id"])
            raise PipelineError(f"raid {raid_id} has no pull {encounter_id}; it has {known}")
        return chosen.row(0, named=True)
    kills = pulls.filter(pl.col("raid_outcome") == "success").sort("start_timestamp")
    longest = pulls.sort("duration_ms", "encounter_id", descending=[True, False])
    return (longest if kills.is_empty() else kills).row(0, named=True)


def scenes(
    pull: dict[str, Any], seconds: pl.DataFrame, player_seconds: pl.DataFrame, players: pl.DataFrame
) -> Iterator[Scene]:
    """The pull at the end of each of its seconds.

    Args:
        pull: a row of `raid_summary`.
        seconds: the pull's `raid_timeline`.
        player_seconds: its `player_timeline`.
        players: its `player_raid_stats`.
    """
    rows = seconds.sort("second")
    names = {key: name or key for key, name in players.select("player_id", "player_name").iter_rows()}
    title = f"{pull['encounter_name'] or pull['encounter_id']} ({pull['encounter_difficulty'] or 'difficulty unknown'})"
    sums = player_seconds.sort("player_id", "second").with_columns(
        pl.col("damage", "healing").cum_sum().over("player_id")
    )
    by_second = sums.partition_by("second", as_dict=True)
    fallen = deaths_of(player_seconds, players, rows.height - 1)
    # Gold counts who lives when a second begins.
    at_the_end = pl.col("players_alive").last() - fallen.filter(second=rows.height - 1).height
    alive_after = pl.col("players_alive").shift(-1, fill_value=at_the_end)
    deaths: list[tuple[int, str]] = []
    boss: float | None = None
    for second, hp, alive in rows.select("second", "boss_hp_pct", alive_after).iter_rows():
        boss = boss if hp is None else hp
        at = by_second.get((second,), sums.clear())
        deaths[:0] = [(second, names[player]) for player in fallen.filter(second=second)["player_id"]]
        yield Scene(
            title,
            second,
            rows.height,
            boss,
            alive,
            players.height,
            _top(at, "damage", names),
            _top(at, "healing", names),
            list(deaths),
        )


def deaths_of(player_seconds: pl.DataFrame, players: pl.DataFrame, last: int) -> pl.DataFrame:
    """Who died in which second: player_id, second; sorted by both.

    `player_timeline` shows a death in the second after it: one in the last second shows in the player's deaths alone.

    Args:
        player_seconds: the pull's `player_timeline`.
        players: its `player_raid_stats`.
        last: its last second.
    """
    dead = players.filter(pl.col("player_deaths") > 0)
    fell = pl.col("is_alive").shift(1).over("player_id") & ~pl.col("is_alive")
    seen = player_seconds.sort("player_id", "second").filter(fell).select("player_id", pl.col("second") - 1)
    first = dead.select("player_id", second=(pl.col("first_death_ms") // 1000).clip(0, last))
    told = pl.concat([seen, first]).unique()
    stood = player_seconds.filter(pl.col("is_alive"), second=last).select("player_id")
    again = (
        dead.join(stood, on="player_id", how="semi")
        .join(told.group_by("player_id").len("told"), on="player_id")
        .filter(pl.col("player_deaths") > pl.col("told"))
        .select("player_id", second=pl.lit(last, pl.Int64))
    )
    return pl.concat([told, again]).unique().sort("player_id", "second")


def _top(at: pl.DataFrame, column: str, names: dict[str, str]) -> list[tuple[str, float]]:
    most = at.filter(pl.col(column) > 0).sort(column, "player_id", descending=[True, False]).head(TOP)
    return [(names[player], amount) for player, amount in most.select("player_id", column).iter_rows()]


def _play(console: Console, shown: Iterator[Scene], speed: float) -> None:
    with Live(console=console, auto_refresh=False) as live:
        for scene in shown:
            live.update(picture(scene), refresh=True)
            time.sleep(1 / speed)


def _write(console: Console, shown: Iterator[Scene]) -> None:
    for scene in shown:
        if scene.second % PLAIN_EVERY_S == 0 or scene.second == scene.seconds - 1:
            console.print(line(scene))


def line(scene: Scene) -> str:
    """A scene in one line."""
    boss = "boss ?" if scene.boss_hp_pct is None else f"boss {scene.boss_hp_pct:.1f} %"
    first = [f"{name} {amount:,.0f}" for name, amount in (*scene.damage[:1], *scene.healing[:1])]
    return ", ".join([f"{clock(scene.second)} {boss}", f"{scene.alive} of {scene.players} alive", *first])


def picture(scene: Scene) -> RenderableType:
    """A scene for a terminal: the boss's health, who lives, who does most, who died."""
    left = 0.0 if scene.boss_hp_pct is None else scene.boss_hp_pct
    bar = Table.grid(expand=True, padding=(0, 1))
    bar.add_column(width=9)
    bar.add_column(ratio=1)
    bar.add_column(width=9, justify="right")
    health = "unknown" if scene.boss_hp_pct is None else f"{left:.1f} %"
    bar.add_row("boss", ProgressBar(total=100, completed=left, complete_style="red"), health)
    alive = ProgressBar(total=max(scene.players, 1), completed=scene.alive, complete_style="green")
    bar.add_row("alive", alive, f"{scene.alive} / {scene.players}")
    ranks = Table.grid(expand=True, padding=(0, 2))
    for _ in range(3):
        ranks.add_column(ratio=1)
    fallen = [f"{clock(second)} {name}" for second, name in scene.deaths[:MOST_DEATHS_SHOWN]]
    ranks.add_row(_rank("damage", scene.damage), _rank("healing", scene.healing), Text("\n".join(["deaths", *fallen])))
    passed = f"{clock(scene.second)} / {clock(scene.seconds)}"
    return Panel(Group(bar, Text(), ranks), title=Text(scene.title), subtitle=passed)


def _rank(what: str, ranked: list[tuple[str, float]]) -> Text:
    return Text("\n".join([what, *(f"{amount:>12,.0f} {name}" for name, amount in ranked)]))


def clock(second: int) -> str:
    """Minutes and seconds."""
    return f"{second // 60}:{second % 60:02d}"
