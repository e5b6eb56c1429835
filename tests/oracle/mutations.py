"""Errors put into Gold on purpose, each of which the comparison with the oracle must find.

A mutation is a change of the text of `pipeline/gold`. Its old text must occur there exactly once: after a change of the
code it fails loudly, and is then to be rewritten, instead of silently changing nothing.
"""

import importlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from pipeline import gold

SOURCE = Path(gold.__file__).parent


@dataclass(frozen=True)
class Change:
    """In one module of `pipeline/gold`, one text for another."""

    module: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutation:
    """A named error."""

    name: str
    changes: tuple[Change, ...]


def mutant(mutation: Mutation, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A fresh copy of `pipeline.gold` with the error in it.

    Args:
        mutation: the error.
        folder: an empty folder for the copy.
        monkeypatch: takes the folder off the import path again.
    """
    package = f"mutant_{mutation.name}"
    shutil.copytree(SOURCE, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for module in (folder / package).rglob("*.py"):
        module.write_text(re.sub(r"\bpipeline\.gold\b", package, module.read_text(encoding="utf-8")), encoding="utf-8")
    for change in mutation.changes:
        file = folder / package / f"{change.module}.py"
        text = file.read_text(encoding="utf-8")
        found = text.count(change.old)
        assert found == 1, (
            f"{mutation.name}: its text occurs {found} times in {change.module}.py, not once: {change.old}"
        )
        file.write_text(text.replace(change.old, change.new), encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module(package)


def _mutation(name: str, module: str, old: str, new: str) -> Mutation:
    return Mutation(name, (Change(module, old, new),))


def _in_fights(name: str, old: str, new: str) -> Mutation:
    return _mutation(name, "fights", old, new)


def _in_summary(name: str, old: str, new: str) -> Mutation:
    return _mutation(name, "summary", old, new)


def _in_players(name: str, old: str, new: str) -> Mutation:
    return _mutation(name, "players", old, new)


def _in_timelines(name: str, old: str, new: str) -> Mutation:
    return _mutation(name, "timelines", old, new)


def _in_dimensions(name: str, old: str, new: str) -> Mutation:
    return _mutation(name, "dimensions", old, new)


_OUTSIDE = Mutation(
    "events_outside_pulls_included",
    (
        Change(
            "fights",
            'silver.filter(pl.col("encounter_id").is_not_null())',
            'silver.with_columns(pl.col("encounter_id").fill_null(pl.col("encounter_id").drop_nulls().first()))'
            '.drop_nulls("encounter_id")',
        ),
        # Gold's own books would find it before the comparison does.
        Change("__init__", 'events["encounter_id"].null_count()', 'events.height - int(pulls["n_events"].sum())'),
    ),
)

_PULLS = (
    _OUTSIDE,
    _in_fights("latest_start", "begin = moments[tally.firsts(", "begin = moments[tally.lasts("),
    _in_fights("earliest_end", "end = moments[tally.lasts(", "end = moments[tally.firsts("),
    _in_fights("duration_in_s", "(end - begin) // 1000", "(end - begin) // 1_000_000"),
    _in_fights("duration_rounded_up", "(end - begin) // 1000", "(end - begin) // 1000 + 1"),
    _in_fights("last_second_missing", "(duration_ms + 999) // 1000", "duration_ms // 1000"),
    _in_fights(
        "event_on_border_in_second_before",
        "offset_us // SECOND_US,",
        "np.maximum(0, offset_us - 1) // SECOND_US,",
    ),
    _in_fights(
        "late_events_in_an_earlier_second",
        '["n_seconds"].to_numpy()[pull] - 1)',
        '["n_seconds"].to_numpy()[pull] // 2)',
    ),
    _in_fights("rate_per_ms", "amount / (duration_ms / 1000)", "amount / duration_ms"),
    _in_fights("rate_without_duration", "pl.when(duration_ms > 0)", "pl.when(duration_ms >= 0)"),
    _in_fights("share_of_nothing", "pl.when(whole != 0)", "pl.when(whole.is_not_null())"),
)

_WHO_PLAYS = (
    _in_fights("boss_counted_as_player", "(known & pl.col", "(pl.col"),
    _in_fights("pet_with_class_counted_as_player", '(known & pl.col("source_owner_id").is_null())', "known"),
    _in_fights("roster_ignored", 'acts = (pl.col("event_type") == "roster") | ', "acts = "),
    _in_fights("targets_forgotten", "pl.concat([sources, targets])", "pl.concat([sources])"),
    _in_fights("every_target_counted_as_player", 'met = (pl.col("target_entity_type") == "player") & ', "met = "),
    _in_fights("environment_counted_as_player", 'pl.col("player_id") != ENVIRONMENT', "pl.lit(value=True)"),
    _in_fights("role_of_the_last_event", "tally.firsts(rows, n, known", "tally.lasts(rows, n, known"),
    _in_fights("role_of_the_first_event_even_if_unknown", "n, known[name], preferred)", "n, None, preferred)"),
    _in_fights(
        "roster_not_first", 'pl.col("event_type") == "roster"), players', 'pl.col("event_type") == ""), players'
    ),
    _in_fights(
        "name_from_target_first", 'pl.coalesce("player_name", "target', 'pl.coalesce("target_entity_name", "target'
    ),
    _in_fights("name_from_source_only", 'pl.coalesce("player_name", "target_entity_name")', 'pl.col("player_name")'),
    _in_summary("unknown_role_counted_as_dps", "filter(role == each)", 'filter(role.fill_null("dps") == each)'),
)

_CREDIT = (
    _in_fights("pets_not_credited", "pl.concat([own, by_owner]", "pl.concat([own]"),
    _in_fights("pets_counted_twice", "pl.concat([own, by_owner]", "pl.concat([own, by_owner, by_owner]"),
    _in_fights("own_pets_counted_twice", "(owner != NOBODY) & (owner != source)", "owner != NOBODY"),
    _in_fights(
        "pets_not_in_totals", '(pl.col("source") != NOBODY) | (pl.col("owner") != NOBODY)', 'pl.col("source") != NOBODY'
    ),
    _in_fights(
        "everybody_in_totals", '(pl.col("source") != NOBODY) | (pl.col("owner") != NOBODY)', "pl.lit(value=True)"
    ),
    _in_fights("pets_damage_as_own", "is_own=pl.lit(value=False)", "is_own=pl.lit(value=True)"),
    _in_fights(
        "gross_for_net_healing", 'amount("healing_amount", is_heal) - overheal', 'amount("healing_amount", is_heal)'
    ),
    _in_fights("overheal_ignored", "overheal=overheal", "overheal=pl.lit(0.0)"),
    _in_fights(
        "absorbs_added_to_healing", "is_heal) - overheal,", 'is_heal) - overheal + amount("absorbed_amount", ~is_heal),'
    ),
    _in_fights(
        "absorbed_of_every_event",
        'amount("absorbed_amount", kind == "absorb")',
        'amount("absorbed_amount", kind != "")',
    ),
    _in_fights("damage_of_every_event", 'amount("damage_amount", is_hit)', 'amount("damage_amount", kind != "")'),
    _in_fights("healing_of_every_event", 'amount("healing_amount", is_heal)', 'amount("healing_amount", kind != "")'),
    _in_summary("damage_taken_by_anybody", 'amounts_of(events, "damage_taken")', 'amounts_of(events, "damage")'),
    _in_timelines(
        "damage_taken_by_anybody_in_timeline",
        'moments, amounts_of(events, "damage_taken")',
        'moments, amounts_of(events, "damage")',
    ),
    _in_summary("deaths_of_adds_counted", 'pl.col("is_death")', 'pl.col("event_type") == "player_death"'),
    _in_players("crit_only_on_damage", ' + counted(heals, pl.col("is_critical"))', ""),
    _in_players(
        "every_hit_critical", 'counted(hits, pl.col("is_critical"))', 'counted(hits, pl.col("is_own").is_not_null())'
    ),
    _in_fights(
        "unknown_crit_counted", '"is_critical_hit").fill_null(value=False)', '"is_critical_hit").fill_null(value=True)'
    ),
)

_OUTCOME = (
    _in_summary("encounter_start_not_first", 'pl.col("event_type") == "encounter_start"', "pl.lit(value=False)"),
    _in_summary(
        "pulls_numbered_across_difficulties",
        '["raid_id", "encounter_name", "encounter_difficulty"]',
        '["raid_id", "encounter_name"]',
    ),
    _in_summary("pulls_numbered_by_id", 'order = ["start_timestamp", "encounter_id"]', 'order = ["encounter_id"]'),
    _in_summary("greatest_health_for_least", "after.min()", "after.max()"),
    _in_summary(
        "health_of_adds_for_boss", 'pl.col("target_entity_type") == "boss"', 'pl.col("target_entity_type") != "player"'
    ),
    _in_summary("health_before_for_after", "after.min()", "before.min()"),
    _in_summary("verdict_ignored", 'verdict = pl.col("verdict")', "verdict = pl.lit(None, dtype=pl.Boolean)"),
    _in_summary("first_verdict", "tally.lasts(", "tally.firsts("),
    _in_summary("verdict_of_any_event", '(pl.col("event_type") == "encounter_end") & ', ""),
    _in_summary("health_below_threshold", "<= params.success_boss_hp_pct", "< params.success_boss_hp_pct"),
    _in_summary("time_below_limit", "<= params.time_limit_s", "< params.time_limit_s"),
    _in_summary("deaths_below_limit", "<= params.max_deaths", "< params.max_deaths"),
    _in_summary("time_limit_ignored", 'pl.col("duration_ms") <=', "0 * pl.len() <="),
    _in_summary("reset_at_the_limit", "< params.reset_s * 1000", "<= params.reset_s * 1000"),
    _in_summary("kill_as_reset", 'short & (pl.col("raid_outcome") != "success") &', "short &"),
    _in_summary("unseen_is_no_reset", '(pl.col("raid_outcome") != "success")', '(pl.col("raid_outcome") == "wipe")'),
    _in_summary("deaths_do_not_matter_to_resets", ' & (pl.col("total_player_deaths") == 0)', ""),
    _in_summary("unseen_is_wipe", 'pl.lit("unknown")', 'pl.lit("wipe")'),
)

_STATS = (
    _in_players(
        "killer_for_victim",
        'events.select("target", "offset_us", "is_death").filter("is_death")',
        'events.filter(pl.col("is_death") & (pl.col("source") >= 0)).with_columns(target="source")',
    ),
    _in_players("latest_death_for_first", "first = tally.firsts(", "first = tally.lasts("),
    _in_players(
        "casts_of_pets_counted",
        '"casts": counted(casts, own)',
        '"casts": counted(casts, own.is_not_null())',
    ),
    _in_players("interrupts_of_pets_counted", 'own & (pl.col("ability', '(pl.col("ability'),
    _in_players("interrupts_of_every_cast", ' & (pl.col("ability_category") == each)', ""),
    _in_players("adds_counted_as_boss", 'met == "boss"', 'met.is_in(["boss", "add"])'),
    _in_players("healing_to_players_for_tanks", 'pl.col("target").is_in(tanks)', 'met == "player"'),
    _in_players(
        "healing_to_self_of_everybody",
        'pl.col("target") == pl.col("player")',
        'met == "player"',
    ),
    _in_players(
        "unknown_counted_as_avoidable", '"damage_taken", avoidable)', '"damage_taken", avoidable.fill_null(value=True))'
    ),
    _in_players("avoidable_share_of_all_damage", 'column("judged_damage_taken")', 'column("damage_taken")'),
    _in_players("active_when_dead", "alive & seconds.is_active", "seconds.is_active"),
    _in_players("activity_over_whole_pull", 'column("alive_s"))', 'column("duration_ms") / 1000)'),
    _in_players(
        "overheal_share_of_net", 'column("healing_total") + column("overheal_total")', 'column("healing_total")'
    ),
    _in_players("crit_rate_of_hits", 'column("damage_events") + column("healing_events")', 'column("damage_events")'),
    _in_players(
        "damage_share_of_wrong_total", 'column("total_damage"))', 'column("total_damage") + column("total_healing"))'
    ),
    _in_players("healing_share_of_wrong_total", 'column("total_healing"))', 'column("total_damage"))'),
)

_SECONDS = (
    _in_timelines("alive_at_the_seconds_end", "// SECOND_US + 1", "// SECOND_US"),
    _in_timelines(
        "death_on_border_at_once",
        'rows_of(changes, "offset_us") // SECOND_US + 1',
        '(rows_of(changes, "offset_us") - 1) // SECOND_US + 1',
    ),
    _in_timelines("never_raised", 'is_in(["player_death", "resurrect"])', 'is_in(["player_death"])'),
    _in_timelines(
        "dead_until_known_alive", "np.full(len(begins), fill_value=True)", "np.full(len(begins), fill_value=False)"
    ),
    _in_timelines("pets_keep_active", "places(events.filter(own))", "places(events)"),
    _in_timelines(
        "absorbs_are_no_activity",
        "for events in fights.credits.values()",
        'for kind, events in fights.credits.items() if kind != "absorb"',
    ),
    _in_timelines(
        "casts_of_pets_in_timeline",
        'fights.credits["spell_cast"].filter(own)',
        'fights.credits["spell_cast"]',
    ),
    _in_timelines(
        "least_boss_health_for_last",
        "moments = begins[rows_of(seen",
        'seen = seen.sort("target_entity_health_pct_after", descending=True)\n    moments = begins[rows_of(seen',
    ),
    _in_timelines(
        "boss_health_across_pulls",
        "np.concatenate([begins, moments]), np.concatenate([np.full(len(begins), np.nan), values])",
        "np.append(0, moments), np.append(np.nan, values)",
    ),
    _in_timelines(
        "dead_counted_as_alive", "np.flatnonzero(~seconds.is_alive)", "np.flatnonzero(~seconds.is_alive)[:0]"
    ),
    _in_timelines("boss_health_of_adds", '(pl.col("target_entity_type") == "boss") & health', "health"),
)

_DIMENSIONS = (
    _in_dimensions("identity_of_first_pull", "drop_nulls().last()", "drop_nulls().first()"),
    _in_dimensions("identity_of_latest_pull_even_if_unknown", "pl.col(identities).drop_nulls()", "pl.col(identities)"),
    _in_dimensions("latest_by_raid_id", '.sort("start_timestamp", *PULL)', ".sort(*PULL)"),
    _in_dimensions("raids_counted_by_pull", 'pl.col("raid_id").n_unique()', 'pl.col("raid_id").len()'),
    _in_dimensions("players_counted_by_pull", 'pl.col("player_id").n_unique()', 'pl.col("player_id").len()'),
    _in_dimensions("unknown_counted_as_wipe", '(outcome == "wipe").sum()', '(outcome != "success").sum()'),
    _in_dimensions("every_pull_a_kill", 'pl.col("is_kill").sum()', "pl.len()"),
    _in_dimensions("first_seen_for_last", "last_seen=start.max()", "last_seen=start.min()"),
    _in_dimensions("one_event_too_few", "ends - begins + 1", "ends - begins"),
    _in_dimensions("team_of_last_event", "first_known(silver, raid,", "first_known(silver[::-1], raid[::-1],"),
    _in_dimensions("first_event_for_last", 'gather(ends).alias("last_event")', 'gather(begins).alias("last_event")'),
)

MUTATIONS = (*_PULLS, *_WHO_PLAYS, *_CREDIT, *_OUTCOME, *_STATS, *_SECONDS, *_DIMENSIONS)
