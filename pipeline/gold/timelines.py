"""Seconds of the pulls: what was done and met in each, who was alive, and how the boss stood.

The seconds of all pulls, and those of all players of all pulls, lie one after the other in arrays: a second is its
place there, which is where those of its pull or player begin plus its number.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.gold import tally
from pipeline.gold.fights import PULL, SECOND_US, Fights, amounts_of, flags_of, rows_of
from pipeline.gold.tally import NOBODY, Amounts, Flags, Rows
from pipeline.tables import PlayerTimeline, RaidTimeline, conform


@dataclass(frozen=True)
class PlayerSeconds:
    """One entry per pull, player and second, in the order of `Fights.players`."""

    player: Rows
    second: Rows
    damage: Amounts
    healing: Amounts
    damage_taken: Amounts
    casts: Rows
    is_alive: Flags
    is_active: Flags
    """Whether the player hit, healed, absorbed or cast in that second."""


def player_seconds(fights: Fights) -> PlayerSeconds:
    """What each player did and met in each second of their pulls."""
    lengths = rows_of(fights.pulls, "n_seconds")[rows_of(fights.players, "pull")]
    begins, n = tally.begins(lengths), int(lengths.sum())
    hits, heals, own = fights.credits["combat_damage"], fights.credits["heal"], pl.col("is_own")
    hurt = fights.events.select("target", "second", "damage_taken").filter(pl.col("damage_taken") != 0)

    def places(events: pl.DataFrame, player: str = "player") -> Rows:
        return begins[rows_of(events, player)] + rows_of(events, "second")

    return PlayerSeconds(
        player=np.repeat(np.arange(len(lengths)), lengths),
        second=np.arange(n) - np.repeat(begins, lengths),
        damage=tally.sums(places(hits), amounts_of(hits, "damage"), n),
        healing=tally.sums(places(heals), amounts_of(heals, "healing"), n),
        damage_taken=tally.sums(places(hurt, "target"), amounts_of(hurt, "damage_taken"), n),
        casts=tally.counts(places(fights.credits["spell_cast"].filter(own)), n),
        is_alive=_is_alive(fights, begins, lengths),
        is_active=tally.marks([places(events.filter(own)) for events in fights.credits.values()], n),
    )


def player_timeline(fights: Fights, seconds: PlayerSeconds) -> pl.DataFrame:
    """The table `player_timeline`, sorted by (raid_id, encounter_id, player_id, second)."""
    names = fights.players.select(*PULL, "player_id")[seconds.player]
    return names.with_columns(
        pl.Series(name, getattr(seconds, name))
        for name in ("second", "damage", "healing", "damage_taken", "casts", "is_alive")
    ).pipe(conform, PlayerTimeline)


def raid_timeline(fights: Fights, seconds: PlayerSeconds) -> pl.DataFrame:
    """The table `raid_timeline`, sorted by (raid_id, encounter_id, second)."""
    events, lengths = fights.events, rows_of(fights.pulls, "n_seconds")
    begins, n = tally.begins(lengths), int(lengths.sum())
    moments = begins[rows_of(events, "pull")] + rows_of(events, "second")
    credited = pl.col("is_credited")
    pulls = np.repeat(np.arange(len(lengths)), lengths)
    columns = {
        "second": np.arange(n) - begins[pulls],
        "damage": tally.sums(moments, amounts_of(events, "damage", credited), n),
        "healing": tally.sums(moments, amounts_of(events, "healing", credited), n),
        "damage_taken": tally.sums(moments, amounts_of(events, "damage_taken"), n),
        "deaths": tally.counts(moments[flags_of(events, pl.col("is_death"))], n),
        "players_alive": _players_alive(fights, seconds, begins, pulls),
    }
    return (
        fights.pulls.select(PULL)[pulls]
        .with_columns(pl.Series(name, values) for name, values in columns.items())
        .with_columns(pl.Series("boss_hp_pct", _boss_health(events, begins, n), nan_to_null=True))
        .pipe(conform, RaidTimeline)
    )


def _is_alive(fights: Fights, begins: Rows, lengths: Rows) -> Flags:
    """Whether each player is alive in each second: from the pull's begin, until a death, from a resurrection on."""
    kinds = pl.col("event_type").is_in(["player_death", "resurrect"])
    changes = fights.events.select("event_type", "target", "offset_us").filter(kinds & (pl.col("target") != NOBODY))
    players = rows_of(changes, "target")
    seconds = rows_of(changes, "offset_us") // SECOND_US + 1
    lives = flags_of(changes, pl.col("event_type") == "resurrect")
    within = seconds < lengths[players]
    moments = np.concatenate([begins, (begins[players] + seconds)[within]])
    states = np.concatenate([np.full(len(begins), fill_value=True), lives[within]])
    return tally.steps(moments, states, int(lengths.sum()))


def _players_alive(fights: Fights, seconds: PlayerSeconds, begins: Rows, pulls: Rows) -> Rows:
    of_player, n = rows_of(fights.players, "pull"), fights.pulls.height
    dead = np.flatnonzero(~seconds.is_alive)
    moments = begins[of_player[seconds.player[dead]]] + seconds.second[dead]
    return tally.counts(of_player, n)[pulls] - tally.counts(moments, len(pulls))


def _boss_health(events: pl.DataFrame, begins: Rows, n: int) -> Amounts:
    """The boss's health as last seen in each second, NaN before it was first seen."""
    health = pl.col("target_entity_health_pct_after")
    seen = events.select("pull", "second", "target_entity_type", health).filter(
        (pl.col("target_entity_type") == "boss") & health.is_not_null()
    )
    moments = begins[rows_of(seen, "pull")] + rows_of(seen, "second")
    values = amounts_of(seen, "target_entity_health_pct_after")
    return tally.steps(np.concatenate([begins, moments]), np.concatenate([np.full(len(begins), np.nan), values]), n)
