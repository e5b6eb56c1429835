"""Inside a pull: what happens follows from what happened before, and nothing knows how it will end."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import simulate
from pipeline.events import EVENT_TYPES, Role
from pipeline.simulate import engine, setup
from pipeline.simulate import pull as pull_module
from pipeline.simulate.abilities import NONE, SLOTS, BossAbility, Effect
from pipeline.simulate.fight import (
    DAMAGE_DEALER,
    HEALER,
    ON_DUTY,
    RESOURCE_AT_PULL,
    TANK,
    Count,
    Due,
    Fight,
    Log,
    Ready,
    begin,
    empty_log,
)
from pipeline.simulate.pull import FOREVER_S, outcome_from, simulate_pull
from pipeline.simulate.rows import Rows
from pipeline.simulate.season import Played
from pipeline.simulate.setup import AT_THE_REAL_RHYTHM, ROLES
from pipeline.simulate.world import Style, StyleRule, load
from tests.fights import (
    ROOM,
    Evening,
    busy_with,
    evenings_of,
    harmless,
    idle,
    in_the_style,
    kills,
    played_on,
    played_until,
    practised,
    prepared,
    section,
    with_boss,
    with_players,
    with_raid,
    with_trials,
    without_trials,
)

START, ROSTER, END = (EVENT_TYPES.index(name) for name in ("encounter_start", "roster", "encounter_end"))


@pytest.fixture(scope="module")
def evenings() -> list[Evening]:
    """Two evenings of each of four teams: all three difficulties."""
    return evenings_of(section(), range(4))


@pytest.fixture(scope="module")
def pulls(evenings: list[Evening]) -> list[Played]:
    return [played for evening in evenings for played in evening.pulls]


@pytest.fixture(scope="module")
def known(evenings: list[Evening]) -> list[Fight]:
    """Each of the pulls, by a raid that knows the fight."""
    return [practised(evening, played) for evening in evenings for played in evening.pulls]


def blows_on_boss(played: Played) -> Rows:
    rows = played.pull.rows
    blows: Rows = rows[(rows["target"] == played.fight.boss["entity"]) & (rows["event_type"] == engine.DAMAGE)]
    return blows


# --- what was dealt, and what is left


def test_a_killed_boss_has_taken_exactly_its_health_and_the_overkill(pulls: list[Played]) -> None:
    assert {played.pull.killed for played in pulls} == {True, False}
    for played in pulls:
        blows, health = blows_on_boss(played), played.fight.boss["health"][0]
        dealt, overkill = blows["damage_amount"].sum(), np.nansum(blows["overkill_amount"])
        if played.pull.killed:
            assert dealt == health + overkill
            assert np.isnan(blows["overkill_amount"][:-1]).all()
        else:
            assert dealt < health
            assert dealt == pytest.approx(health * (1 - played.pull.boss_health_left), abs=1e-3)
            assert np.isnan(blows["overkill_amount"]).all()


def most_health(fight: Fight) -> dict[int, float]:
    """By entity."""
    most = dict(zip(fight.raid["entity"].tolist(), fight.raid["max_health"].tolist(), strict=True))
    adds = {int(entity): float(fight.boss["add_health"][0]) for entity in fight.adds.ravel() if entity != NONE}
    return most | adds | {int(fight.boss["entity"][0]): float(fight.boss["health"][0])}


def test_health_before_and_after_agree_with_amounts_and_with_what_was_before(pulls: list[Played]) -> None:
    met = dict.fromkeys(("boss", "add", "player", "heal", "resurrected"), 0)
    for played in pulls:
        most = most_health(played.fight)
        left, players = dict(most), set(played.fight.raid["entity"].tolist())
        for row in played.pull.rows:
            kind, target = int(row["event_type"]), int(row["target"])
            if kind == engine.RESURRECT:
                assert left[target] == 0
                left[target] = np.rint(engine.RESURRECTED_HEALTH * most[target])
                met["resurrected"] += 1
            if kind in (engine.DAMAGE, engine.HEAL):
                before = left[target]
                change = (
                    -(row["damage_amount"] - np.nan_to_num(row["overkill_amount"]))
                    if kind == engine.DAMAGE
                    else row["healing_amount"] - row["overheal_amount"]
                )
                left[target] = before + change
                met["heal" if kind == engine.HEAL else "player" if target in players else "add"] += 1
                shown = (row["target_entity_health_pct_before"], row["target_entity_health_pct_after"])
                assert shown == pytest.approx(
                    (100 * before / most[target], 100 * left[target] / most[target]), abs=1e-7
                )
                met["boss"] += target == played.fight.boss["entity"]
            else:
                assert np.isnan(row["target_entity_health_pct_before"]), "only damage and heals change health"
            if kind == engine.DEATH:
                assert left[target] == 0
    assert all(met.values()), met


def test_shields_take_their_part_of_a_hit_and_leave_health_alone(pulls: list[Played]) -> None:
    in_part = whole = 0
    for played in pulls:
        rows = played.pull.rows
        for place in np.flatnonzero(rows["event_type"] == engine.ABSORB):
            absorb, after = rows[place], rows[place + 1]
            assert absorb["absorbed_amount"] > 0
            if after["event_type"] == engine.DAMAGE and after["is_absorbed"] == 1:
                assert after["absorbed_amount"] == absorb["absorbed_amount"]
                assert (after["target"], after["ms"]) == (absorb["target"], absorb["ms"])
                in_part += 1
            else:
                whole += 1
        absorbed = rows[(rows["event_type"] == engine.DAMAGE) & (rows["is_absorbed"] == 1)]
        before = rows[np.flatnonzero((rows["event_type"] == engine.DAMAGE) & (rows["is_absorbed"] == 1)) - 1]
        assert (before["event_type"] == engine.ABSORB).all()
        assert len(absorbed) <= (rows["event_type"] == engine.ABSORB).sum()
    assert in_part > 0
    assert whole > 0


def test_phases_begin_with_the_blow_that_crosses_their_threshold(pulls: list[Played]) -> None:
    begun = 0
    for played in pulls:
        rows, boss = played.pull.rows, played.fight.boss["entity"][0]
        expected = 2
        for place in np.flatnonzero(rows["event_type"] == engine.PHASE):
            assert rows[place]["phase"] == expected
            blow = rows[: place + 1][rows["event_type"][: place + 1] != engine.PHASE][-1]
            threshold = 100 * played.fight.phases[expected - 2]
            assert blow["target"] == boss
            assert (
                blow["target_entity_health_pct_after"]
                <= threshold + 1e-9
                < blow["target_entity_health_pct_before"] + 2e-9
            )
            expected += 1
        blows = blows_on_boss(played)
        # The last blow brings on no phase: the boss is dead.
        least = blows["target_entity_health_pct_after"][: -1 if played.pull.killed else None].min(initial=100)
        assert expected - 2 == (least <= 100 * played.fight.phases).sum()
        begun += expected - 2
    assert begun > 0


# --- who acts, and until when


def test_the_dead_do_nothing_and_nothing_is_done_to_them(pulls: list[Played]) -> None:
    died = returned = 0
    for played in pulls:
        raid = played.fight.raid
        pet_of = {int(one["entity"]): int(one["pet"]) for one in raid if one["pet"] != NONE}
        silent: set[int] = set()
        for row in played.pull.rows[:-1]:
            kind, source, target = int(row["event_type"]), int(row["source"]), int(row["target"])
            assert source not in silent
            if kind == engine.DEATH:
                assert target not in silent
                silent |= {target, pet_of.get(target, target)}
                died += 1
            elif kind == engine.RESURRECT:
                silent -= {target, pet_of.get(target, target)}
                returned += 1
            elif kind != engine.CAST:
                assert target not in silent
    assert died > returned > 0


def test_every_death_follows_the_blow_that_took_the_last_health(pulls: list[Played]) -> None:
    for played in pulls:
        rows = played.pull.rows
        is_mortal = (rows["event_type"] == engine.DAMAGE) & (rows["target_entity_health_pct_after"] == 0)
        mortal = np.flatnonzero(is_mortal & np.isin(rows["target"], played.fight.raid["entity"]))
        deaths = np.flatnonzero(rows["event_type"] == engine.DEATH)
        assert (deaths == mortal + 1).all()
        for name in ("source", "target", "ability", "ms"):
            assert (rows[name][deaths] == rows[name][mortal]).all()


def test_a_dead_boss_does_nothing(pulls: list[Played]) -> None:
    for played in pulls:
        rows = played.pull.rows
        gone = np.flatnonzero(
            (rows["target"] == played.fight.boss["entity"]) & (rows["target_entity_health_pct_after"] == 0)
        )
        assert gone.tolist() == ([len(rows) - 2] if played.pull.killed else [])


def test_a_pull_ends_once_and_in_one_way(pulls: list[Played]) -> None:
    for played in pulls:
        rows = played.pull.rows
        ends = np.flatnonzero(rows["event_type"] == END)
        assert ends.tolist() == [len(rows) - 1]
        assert played.pull.killed == (played.pull.boss_health_left == 0)


def test_time_goes_forward(pulls: list[Played]) -> None:
    for played in pulls:
        ms = played.pull.rows["ms"]
        assert (np.diff(ms) >= 0).all()
        assert ms[-1] > ms[-2]
        assert ms[-1] == int(played.pull.duration_s * 1000) + 1


def test_a_pull_noted_in_a_small_log_is_the_pull_noted_in_a_large_one(
    pulls: list[Played], monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = max(pulls, key=lambda played: len(played.pull.rows))
    rooms = []

    def counted(events: int) -> Log:
        rooms.append(events)
        return empty_log(events)

    monkeypatch.setattr(pull_module, "ROOM_AT_FIRST", 256)
    monkeypatch.setattr(pull_module, "empty_log", counted)
    small = simulate_pull(longest.at_the_pull(), longest.fight)
    assert rooms[:3] == [256, 256, 512], "each time as much room again"
    rng = longest.at_the_pull()
    rows, duration_s = played_on(longest.fight, begin(longest.fight, rng), rng, FOREVER_S)
    assert len(rows) > sum(rooms) / 2
    assert small.duration_s == duration_s
    assert small.rows[1 + len(longest.fight.raid) : -1].tobytes() == rows.tobytes()


# --- what a raid does


def moments(fight: Fight, every_s: float = 5.0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The raiders' state again and again in a pull, and who lives."""
    rng = np.random.default_rng(1)
    state = begin(fight, rng)
    now = 0.0
    while not state.counts[Count.IS_OVER]:
        now += every_s
        engine.play(fight, state, empty_log(0), rng, now)
        yield state.raid, state.raid["is_alive"]


def test_health_and_resources_stay_between_nothing_and_all(known: list[Fight]) -> None:
    for fight in known[::3]:
        for raid, alive in moments(fight):
            assert (raid["resource"] >= 0).all()
            assert (raid["resource"] <= fight.raid["resource_max"] * (1 + 1e-12)).all()
            assert (raid["health"] <= fight.raid["max_health"]).all()
            assert ((raid["health"] > 0) == alive).all()
            assert (raid["shield"] >= 0).all()


def test_what_a_raider_gains_adds_up(pulls: list[Played]) -> None:
    gained = 0
    for played in pulls:
        gains = played.pull.rows[played.pull.rows["event_type"] == engine.RESOURCE]
        most = dict(zip(played.fight.raid["entity"].tolist(), played.fight.raid["resource_max"].tolist(), strict=True))
        gained += len(gains)
        before, after = gains["resource_amount_before"], gains["resource_amount_after"]
        assert (before + gains["resource_regeneration_rate"] == after).all()
        assert (before >= 0).all()
        assert (after <= np.array([most[entity] for entity in gains["source"].tolist()]) * (1 + 1e-12)).all()
    assert gained > 0


def costs_of(fight: Fight) -> dict[tuple[int, int], float]:
    """By who casts, and what: a heavy attack costs, and every direct heal."""
    costs = {}
    for one in fight.raid:
        filler, heavy = (int(one["slot_ability"][SLOTS.index(slot)]) for slot in ("filler", "heavy"))
        share = one["mana_cost"] if one["role"] == HEALER else engine.HEAVY_COST
        for ability in (filler, heavy) if one["role"] == HEALER else (heavy,):
            costs[int(one["entity"]), ability] = float(share * one["resource_max"])
    return costs


def test_what_a_raider_casts_is_paid(known: list[Fight]) -> None:
    paid = {HEALER: 0, DAMAGE_DEALER: 0, TANK: 0}
    for fight in known[::9]:
        rows = played_until(with_raid(fight, cooldown=0.0))[1]
        role = dict(zip(fight.raid["entity"].tolist(), fight.raid["role"].tolist(), strict=True))
        most = dict(zip(fight.raid["entity"].tolist(), fight.raid["resource_max"].tolist(), strict=True))
        left = {entity: np.rint(RESOURCE_AT_PULL * points) for entity, points in most.items()}
        costs = costs_of(fight)
        for kind, source, ability, before, after in rows[
            ["event_type", "source", "ability", "resource_amount_before", "resource_amount_after"]
        ].tolist():
            if kind == engine.CAST and (source, ability) in costs:
                left[source] -= costs[source, ability]
                paid[role[source]] += 1
            elif kind == engine.RESOURCE:
                assert before == pytest.approx(left[source], abs=1e-6)
                left[source] = after
    assert all(paid.values()), paid


def test_a_raider_without_resources_gains_before_doing_what_costs(known: list[Fight]) -> None:
    fight = with_raid(harmless(known[0]), mana_cost=0.9, gain=0.012)
    _, rows, _ = played_until(fight, 120.0)
    healers = fight.raid["entity"][fight.raid["role"] == HEALER]
    mine = rows[np.isin(rows["source"], healers)]
    paid = fight.raid["slot_ability"][:, [SLOTS.index("filler"), SLOTS.index("heavy")]]
    direct = (mine["event_type"] == engine.HEAL) & np.isin(mine["ability"], paid)
    # One heal at the pull (nine tenths of the mana) and no other before the mana is back.
    assert direct.sum() <= 2 * len(healers)
    assert (mine["event_type"] == engine.RESOURCE).sum() > direct.sum()


def test_amounts_are_normal_around_the_abilitys_mean_with_bernoulli_crits(known: list[Fight]) -> None:
    fight = with_raid(harmless(known[0]), crit_chance=0.25, power=1.0)
    _, rows, _ = played_until(fight, 400.0)
    hits = rows[(rows["event_type"] == engine.DAMAGE) & np.isin(rows["source"], fight.raid["entity"])]
    assert hits["is_critical_hit"].mean() == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / len(hits)))
    assert (hits["critical_multiplier"][hits["is_critical_hit"] == 1] == engine.CRIT_MULTIPLIER).all()
    plain = hits["damage_amount"] / np.where(hits["is_critical_hit"] == 1, engine.CRIT_MULTIPLIER, 1.0)
    relative = plain / fight.abilities["mean"][hits["ability"]]
    error = engine.AMOUNT_CV / np.sqrt(len(hits))
    assert relative.mean() == pytest.approx(1.0, abs=5 * error)
    assert relative.std() == pytest.approx(engine.AMOUNT_CV, rel=0.1)
    assert (np.abs(relative - 1) < engine.AMOUNT_CV).mean() == pytest.approx(0.683, abs=0.05)


def aims(evening: Evening, style: Style) -> np.ndarray:
    """Of the heals by healers in one style: the shares on tanks, on the weakest raider, and on others."""
    fight = harmless(practised(in_the_style(evening, style, "healer"), evening.pulls[0], style_strength=2.0))
    fight = with_raid(fight, power=1e-9)
    rng = np.random.default_rng(2)
    state, log = begin(fight, rng), empty_log(ROOM)
    role, entity = fight.raid["role"], fight.raid["entity"]
    weakest = int(np.flatnonzero(role == DAMAGE_DEALER)[0])
    state.raid["health"] = np.rint(0.8 * fight.raid["max_health"])
    state.raid["health"][weakest] = np.rint(0.3 * fight.raid["max_health"][weakest])
    engine.play(fight, state, log, rng, 300.0)
    rows = log.rows[: state.counts[Count.LOGGED]]
    target = rows["target"][(rows["event_type"] == engine.HEAL) & np.isin(rows["source"], entity[role == HEALER])]
    on_tank, on_weakest = np.isin(target, entity[role == TANK]).mean(), (target == entity[weakest]).mean()
    return np.array([on_tank, on_weakest, 1 - on_tank - on_weakest])


def test_healers_choose_whom_they_heal_by_their_style(evenings: list[Evening]) -> None:
    styles: tuple[Style, ...] = ("tank", "rescue", "raid")
    shares = np.array([aims(evenings[0], style) for style in styles])
    assert shares.argmax(axis=0).tolist() == [0, 1, 2], "each style does its own most"


def test_styles_of_no_strength_are_no_styles(evenings: list[Evening]) -> None:
    evening, played = evenings[0], evenings[0].pulls[0]
    one, other = (in_the_style(evening, style, "healer") for style in ("tank", "rescue"))
    assert (
        prepared(one, played, style_strength=0.0).raid.tobytes()
        == prepared(other, played, style_strength=0.0).raid.tobytes()
    )
    assert (
        prepared(one, played, style_strength=1.0).raid.tobytes()
        != prepared(other, played, style_strength=1.0).raid.tobytes()
    )


def test_a_tank_who_taunts_takes_the_next_hit(pulls: list[Played]) -> None:
    swaps = 0
    for played in pulls:
        rows, raid = played.pull.rows, played.fight.raid
        hit = played.fight.boss_abilities[BossAbility.TANK_HIT]
        taunts = dict(zip(raid["entity"].tolist(), raid["taunt"].tolist(), strict=True))
        is_taunt = [
            row["event_type"] == engine.CAST and row["ability"] == taunts.get(int(row["source"]), NONE) != NONE
            for row in rows
        ]
        for place in np.flatnonzero(is_taunt):
            later = rows[place + 1 :]
            if len(later) == 0:
                continue
            happens = (later["ability"] == hit) & (later["event_type"] == engine.DAMAGE)
            happens |= (later["event_type"] == engine.DEATH) & (later["target"] == rows[place]["source"])
            happens |= np.array(is_taunt[place + 1 :])
            if not happens.any():
                continue
            first = later[np.argmax(happens)]
            if first["event_type"] == engine.DAMAGE:
                assert first["target"] == rows[place]["source"]
                swaps += 1
    assert swaps > 0


def test_a_tank_who_lives_again_takes_the_boss_back(known: list[Fight]) -> None:
    fight = with_raid(with_boss(harmless(known[0]), tank_hit_s=2.0), reaction_s=1.0)
    one, other = np.flatnonzero(fight.raid["role"] == TANK)[:2]
    rng = np.random.default_rng(1)
    state = begin(fight, rng)
    dead = state.raid.copy()
    state.raid["is_alive"][other] = False
    engine.play(fight, state, empty_log(0), rng, 60.0)
    assert state.counts[Count.TANK] == one
    assert state.counts[Count.STACKS] > 2 * engine.SWAP_AT_STACKS
    state.raid[other] = dead[other]
    # The next hit, at most 3.2 s away, calls for a taunt, which comes within 2 s; hits are 0.8 s apart or more.
    engine.play(fight, state, empty_log(0), rng, 65.3)
    assert state.counts[Count.TANK] == other
    seen = set()
    for until_s in np.arange(66.0, 180.0, 0.5):
        engine.play(fight, state, empty_log(0), rng, until_s)
        seen.add((int(state.counts[Count.TANK]), int(state.counts[Count.STACKS])))
    assert {tank for tank, _ in seen} == {one, other}
    assert engine.SWAP_AT_STACKS <= max(stacks for _, stacks in seen) <= engine.SWAP_AT_STACKS + 3


def test_spells_are_answered_in_turns_and_by_volunteers(known: list[Fight]) -> None:
    fight = with_boss(harmless(known[0]), spell_s=5.0)
    fight = with_raid(fight, interrupt=0, reaction_s=0.0, ready=0.0, turn=NONE)
    fight.raid["ready"][:, Ready.INTERRUPT] = 1.0
    fight.raid["turn"][:ON_DUTY, Ready.INTERRUPT] = np.arange(ON_DUTY)
    rows = played_until(fight, 3000.0)[1]
    answers = rows[(rows["event_type"] == engine.CAST) & (rows["target"] == fight.boss["entity"][0])]
    answers = answers[answers["ability"] == 0]
    on_duty = np.isin(answers["source"], fight.raid["entity"][:ON_DUTY]).mean()
    expected = engine.ASSIGNED + (1 - engine.ASSIGNED) * ON_DUTY / len(fight.raid)
    assert len(answers) > 200
    assert on_duty == pytest.approx(expected, abs=0.1)


def test_the_readiest_have_the_first_turns(known: list[Fight]) -> None:
    for fight in known:
        ready, turn = (fight.raid[name][:, Ready.INTERRUPT] for name in ("ready", "turn"))
        assert sorted(turn[turn != NONE]) == list(range(min(ON_DUTY, (ready > 0).sum())))
        assert ready[turn == NONE].max() <= ready[turn != NONE].min()


def test_a_raid_that_is_low_is_healed_at_once_and_then_not_for_a_while(known: list[Fight]) -> None:
    fight = harmless(known[0])
    healer = int(np.flatnonzero(fight.raid["role"] == HEALER)[0])
    others = np.arange(len(fight.raid)) != healer
    fight = with_raid(fight, cooldown=np.where(others, 0.0, 1000.0), gap_s=np.where(others, 1e9, 1.0), pet=NONE)
    rng = np.random.default_rng(2)
    state, log = begin(fight, rng), empty_log(ROOM)
    state.due[: len(fight.raid)][others] = np.inf
    state.raid["health"] = 0.1 * fight.raid["max_health"]
    engine.play(fight, state, log, rng, engine.COOLDOWN_S - 5.0)
    rows = log.rows[: state.counts[Count.LOGGED]]
    heals = rows[(rows["event_type"] == engine.HEAL) & (rows["source"] == fight.raid["entity"][healer])]
    at_once = heals[heals["ms"] == heals["ms"][0]]
    assert sorted(at_once["target"]) == sorted(fight.raid["entity"])
    assert all((heals["ms"] == ms).sum() == 1 for ms in heals["ms"][len(at_once) :])


def test_a_raid_that_is_well_keeps_its_cooldowns(known: list[Fight]) -> None:
    fight = harmless(known[0])
    state, _, _ = played_until(fight, 60.0)
    assert (state.raid["cooldown_until"] == 0).all()


@pytest.mark.parametrize(("share", "what"), [("phase_power", "dealt"), ("phase_harm", "suffered")])
def test_a_further_phase_adds_to_amounts(known: list[Fight], share: str, what: str) -> None:
    fight = with_boss(harmless(known[0]), tank_hit_s=2.0, tank_hit=1000.0, phase_power=0.0, phase_harm=0.0)
    fight = with_boss(fight, **{share: 0.5})

    def mean(phase: int) -> float:
        rng = np.random.default_rng(3)
        state, log = begin(fight, rng), empty_log(ROOM)
        state.counts[Count.PHASE] = phase
        engine.play(fight._replace(phases=np.zeros(0)), state, log, rng, 60.0)
        rows = log.rows[: state.counts[Count.LOGGED]]
        is_boss = rows["source"] == fight.boss["entity"][0]
        blows = rows[(rows["event_type"] == engine.DAMAGE) & (is_boss if what == "suffered" else ~is_boss)]
        absorbed = np.nan_to_num(blows["absorbed_amount"])
        return float((blows["damage_amount"] + absorbed).mean())

    assert mean(3) / mean(1) == pytest.approx(2.0, rel=0.12)


def test_who_is_interrupted_does_not_land_the_spell(pulls: list[Played]) -> None:
    stopped = landed = 0
    for played in pulls:
        rows, fight = played.pull.rows, played.fight
        interrupts = rows[(rows["event_type"] == engine.CAST) & np.isin(rows["ability"], fight.raid["interrupt"])]
        spell = fight.boss_abilities[BossAbility.SPELL]
        hits = rows[(rows["event_type"] == engine.DAMAGE) & (rows["ability"] == spell)]
        stopped += len(interrupts)
        landed += len(hits)
        since = hits["ms"][:, None] - interrupts["ms"][None, :]
        assert not ((since >= 0) & (since <= 1000 * engine.SPELL_CAST_S + 1)).any()
    assert stopped > 0
    assert landed > 0


def test_battle_resurrections_have_charges_that_come_with_time(known: list[Fight]) -> None:
    can = with_boss(without_trials(known[0]), health=1e15, enrage_s=np.inf, call_at=1.0, resurrection_chance=1.0)
    can = with_raid(can, resurrect=can.raid["entity"] * 0, ready=1.0)
    in_all = []
    for seed in range(6):
        # Somebody dies now and then: a hit that nobody survives, on who does not look out.
        deadly = with_boss(can, avoidable=1e7, avoidable_s=10.0, avoidable_chance=0.02, tank_hit=1.0)
        _, rows, _ = played_until(with_raid(deadly, carelessness=1.0), 4 * engine.CHARGE_EVERY_S, seed)
        at_s = rows["ms"][rows["event_type"] == engine.RESURRECT] / 1000
        assert (np.arange(1, len(at_s) + 1) <= 1 + at_s // engine.CHARGE_EVERY_S).all()
        in_all.append(len(at_s))
    assert max(in_all) > 1


# --- what the enemy does, and what comes of the answers


def suffered(fight: Fight, rows: Rows, what: BossAbility) -> Rows:
    """The hits by one of the boss's doings."""
    hits: Rows = rows[(rows["event_type"] == engine.DAMAGE) & (rows["ability"] == fight.boss_abilities[what])]
    return hits


def test_a_failed_trial_hits_everybody_and_one_done_right_nobody(known: list[Fight]) -> None:
    fight = with_boss(idle(harmless(known[0])), failure=1000.0)
    met = int((fight.trials["at_s"] <= 200.0).sum())
    assert met > 5
    for failure, failed in ((1.0, met), (0.0, 0)):
        state, rows, _ = played_until(with_trials(fight, failure), 200.0)
        hits = suffered(fight, rows, BossAbility.FAILURE)
        assert state.counts[Count.TRIALS] == met
        at_ms = (1000 * fight.trials["at_s"][:failed]).astype(int)
        assert hits["ms"].tolist() == np.repeat(at_ms, len(fight.raid)).tolist()
        assert hits["target"].tolist() == np.tile(fight.raid["entity"], failed).tolist()


def test_who_plays_without_care_is_met_more_often(known: list[Fight]) -> None:
    fight = with_boss(idle(harmless(known[0])), avoidable=10.0, avoidable_s=0.5, avoidable_chance=0.1)
    fight = with_raid(fight, carelessness=np.arange(len(fight.raid)) % 4)
    rows = played_until(fight, 500.0)[1]
    hits = suffered(fight, rows, BossAbility.AVOIDABLE)
    assert (hits["is_avoidable"] == 1).all()
    count = np.array([(hits["target"] == entity).sum() for entity in fight.raid["entity"]])
    met = np.array([count[fight.raid["carelessness"] == careless].mean() for careless in range(4)])
    assert met[0] == 0
    assert met / 1000 == pytest.approx([0.0, 0.1, 0.2, 0.3], abs=0.03)


def test_a_curse_that_nobody_takes_off_ticks_on(known: list[Fight]) -> None:
    fight = with_raid(with_boss(idle(harmless(known[0])), curse=100.0, curse_s=20.0), ready=0.0, turn=NONE)
    ticks = suffered(fight, played_until(fight, 120.0)[1], BossAbility.CURSE)
    mine = ticks["ms"][ticks["target"] == ticks["target"][0]]
    assert np.diff(mine) == pytest.approx(1000 * engine.CURSE_TICK_S, abs=1)
    assert mine[-1] > 120_000 - 1000 * engine.CURSE_TICK_S
    assert len(np.unique(ticks["target"])) > 1
    assert (ticks["is_periodic"] == 1).all()


def test_a_dispelled_curse_stops_ticking(known: list[Fight]) -> None:
    fight = with_boss(idle(harmless(known[0])), curse=100.0)
    fight = with_raid(fight, dispel=0, ready=1.0, turn=NONE, reaction_s=2 * engine.CURSE_TICK_S)
    endured = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        state = begin(fight, rng)
        state.raid["cursed"][3] = True
        state.due[2 * len(fight.raid) + Due.CURSE_TICK] = engine.CURSE_TICK_S
        rows, _ = played_on(fight, state, rng, 300.0)
        rows = rows[rows["ability"] != fight.boss_abilities[BossAbility.TANK_HIT]]
        # Ticks, the dispel in place of the next, and nothing more.
        assert rows["event_type"].tolist() == [engine.DAMAGE] * (len(rows) - 1) + [engine.CAST]
        assert rows["ms"].tolist() == [int(1000 * engine.CURSE_TICK_S) * n for n in range(1, len(rows) + 1)]
        assert (rows["target"] == fight.raid["entity"][3]).all()
        assert not state.raid["cursed"].any()
        endured.append(len(rows) - 1)
    # A reaction between 0 and four ticks' time is quick enough in one case of four.
    assert np.mean(endured) == pytest.approx(3.0, abs=2.0)


def test_a_defensive_takes_its_part_off_hits_for_a_while(known: list[Fight]) -> None:
    fight, who = busy_with(with_boss(harmless(known[0]), pulse=200.0, pulse_s=0.5), "defensive", 20.0)
    rows = played_until(fight, 400.0)[1]
    mine = fight.raid["entity"][who]
    used_ms = rows["ms"][(rows["event_type"] == engine.CAST) & (rows["source"] == mine)]
    hits = suffered(fight, rows, BossAbility.PULSE)
    hits = hits[hits["target"] == mine]
    since = hits["ms"][:, None] - used_ms[None, :]
    guarded = ((since >= 0) & (since < 1000 * engine.DEFENSIVE_S)).any(axis=1)
    assert min(guarded.sum(), (~guarded).sum()) > 100
    amounts = hits["damage_amount"] / np.where(guarded, 1 - engine.DEFENSIVE_TAKES_OFF, 1.0)
    assert amounts[guarded].mean() == pytest.approx(200.0, rel=0.06)
    assert amounts[~guarded].mean() == pytest.approx(200.0, rel=0.06)


def blows_by_boss(fight: Fight, who: int) -> np.ndarray:
    """The amounts of a hundred seconds of tank hits on one raider, with all tanks but that one dead."""
    fight = with_boss(idle(harmless(fight)), tank_hit=20.0, tank_hit_s=1.0)
    rng = np.random.default_rng(4)
    state = begin(fight, rng)
    tanks = fight.raid["role"] == TANK
    state.raid["is_alive"] = ~tanks | (np.arange(len(tanks)) == who)
    state.counts[Count.TANK] = who
    hits = suffered(fight, played_on(fight, state, rng, 100.0)[0], BossAbility.TANK_HIT)
    assert (hits["target"] == fight.raid["entity"][who]).all()
    amounts: np.ndarray = hits["damage_amount"]
    return amounts


def test_each_stack_makes_the_next_tank_hit_harder(known: list[Fight]) -> None:
    amounts = blows_by_boss(known[0], int(np.argmax(known[0].raid["role"] == TANK)))
    stacks = np.arange(len(amounts))
    relative = amounts / (20.0 * (1 + engine.STACK_ADDS * stacks))
    assert len(amounts) > 60
    for part in np.array_split(relative, 3):
        assert part.mean() == pytest.approx(1.0, abs=4 * engine.HIT_CV / np.sqrt(len(part)))


def test_who_is_no_tank_is_hit_harder(known: list[Fight]) -> None:
    tank, other = (int(np.argmax(known[0].raid["role"] == role)) for role in (TANK, DAMAGE_DEALER))
    np.testing.assert_allclose(
        blows_by_boss(known[0], other), engine.BARE * blows_by_boss(known[0], tank), atol=1.01, rtol=0
    )


def test_a_potion_heals_a_part_of_health(known: list[Fight]) -> None:
    fight, who = busy_with(harmless(known[0]), "consumable", 5.0)
    rng = np.random.default_rng(6)
    state = begin(fight, rng)
    state.raid["health"] = np.rint(0.1 * fight.raid["max_health"])
    rows, _ = played_on(fight, state, rng, 30.0)
    heals = rows[rows["event_type"] == engine.HEAL]
    most, mine = fight.raid["max_health"][who], fight.raid["entity"][who]
    assert (heals["source"] == mine).all()
    assert (heals["target"] == mine).all()
    assert (heals["healing_amount"] == np.rint(engine.POTION_HEALS * most)).all()
    assert heals["target_entity_health_pct_after"][:2] == pytest.approx(
        [100 * (0.1 + engine.POTION_HEALS), 100 * (0.1 + 2 * engine.POTION_HEALS)], abs=0.01
    )


# --- what skill, gear and style make of a raider


def traits(fight: Fight) -> dict[str, np.ndarray]:
    """What a raider is like, on the scales on which skill, gear and style add up; weights as against the filler's."""
    raid = fight.raid
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.log(np.diff(raid["slot_chance"], axis=1, prepend=0.0))
        aim = np.log(np.diff(raid["aim"], axis=1, prepend=0.0))
        return {
            **{name: np.log(raid[name]) for name in ("power", "pet_power", "cooldown", "carelessness", "reaction_s")},
            "max_health": np.log(raid["max_health"]),
            "adds_first": np.log(raid["adds_first"] / (1 - raid["adds_first"])),
            "interrupt": np.log(raid["ready"][:, Ready.INTERRUPT]),
            "dispel": np.log(raid["ready"][:, Ready.DISPEL]),
            "tank_over_weakest": aim[:, 0] - aim[:, 1],
            "anybody_over_weakest": aim[:, 2] - aim[:, 1],
            **{slot: weights[:, place] - weights[:, SLOTS.index("filler")] for place, slot in enumerate(SLOTS)},
        }


AMOUNTS = ("power", "pet_power", "cooldown")


def assert_changed(before: Fight, after: Fight, expected: dict[str, float], who: np.ndarray) -> set[str]:
    """The traits of these raiders differ by what is expected, and by nothing else; which of them anybody has."""
    one, other = traits(before), traits(after)
    had = set()
    for name in one:
        has = np.isfinite(one[name]) & who
        assert (np.isfinite(other[name]) & who == has).all(), name
        change = other[name][has] - one[name][has]
        assert change == pytest.approx(expected.get(name, 0.0), abs=1e-5), name
        had |= {name} if has.any() else set()
    return had


def test_skill_gives_power_care_and_speed(evenings: list[Evening]) -> None:
    by_skill = {
        **dict.fromkeys(AMOUNTS, setup.SKILL_POWER),
        "carelessness": setup.SKILL_CARELESSNESS,
        "reaction_s": setup.SKILL_REACTION,
    }
    assert [by_skill[name] > 0 for name in ("power", "carelessness", "reaction_s")] == [True, False, False]
    for evening in evenings:
        better = with_players(evening, lambda one: replace(one, skill=one.skill + 2.0))
        fights = [prepared(one, evening.pulls[0]) for one in (evening, better)]
        everybody = np.ones(len(fights[0].raid), dtype=bool)
        expected = {name: 2.0 * setup.SKILL_BETWEEN * value for name, value in by_skill.items()}
        assert assert_changed(fights[0], fights[1], expected, everybody) >= set(expected)
        assert fights[0].trials.tobytes() == fights[1].trials.tobytes()


def test_item_level_gives_power_and_health(evenings: list[Evening]) -> None:
    assert setup.LEVEL_POWER > 0
    expected = dict.fromkeys((*AMOUNTS, "max_health"), 10.0 * setup.LEVEL_POWER)
    for evening in evenings:
        played = evening.pulls[0]
        levels = played.attempt.item_levels
        fights = [prepared(evening, played, item_levels=levels + more) for more in (0.0, 10.0)]
        everybody = np.ones(len(fights[0].raid), dtype=bool)
        assert assert_changed(fights[0], fights[1], expected, everybody) >= set(expected)
        assert fights[0].boss.tobytes() == fights[1].boss.tobytes(), "the boss knows no gear"


def test_form_gives_power_and_fewer_failures(evenings: list[Evening]) -> None:
    assert setup.TEAM_POWER > 0 > setup.TEAM_FAILURE
    for evening in evenings:
        fights = [practised(evening, evening.pulls[0], form=form) for form in (0.5, 2.0)]
        everybody = np.ones(len(fights[0].raid), dtype=bool)
        assert_changed(fights[0], fights[1], dict.fromkeys(AMOUNTS, 1.5 * setup.TEAM_POWER), everybody)
        usual, better = (fight.trials["failure"] for fight in fights)
        free = usual < setup.HARDEST
        assert free.any()
        np.testing.assert_allclose(better[free], usual[free] * np.exp(1.5 * setup.TEAM_FAILURE))


STYLES = [(role, style) for role, rule in load().roles.items() for style in rule.styles]
MORE: dict[tuple[str, str], str] = {
    ("dps", "aggressive"): "power carelessness",
    ("dps", "mechanic"): "interrupt adds_first",
    ("dps", "utility"): "dispel defensive consumable",
    ("tank", "survival"): "defensive shield",
    ("tank", "aggressive"): "power adds_first interrupt",
    ("healer", "tank"): "tank_over_weakest",
    ("healer", "raid"): "anybody_over_weakest periodic",
    ("healer", "rescue"): "heavy",
}
"""What docs/simulator.md says of the styles."""
LESS: dict[tuple[str, str], str] = {
    ("dps", "aggressive"): "adds_first",
    ("dps", "mechanic"): "carelessness",
    ("healer", "rescue"): "tank_over_weakest anybody_over_weakest",
}


def changes_by(rule: StyleRule) -> dict[str, float]:
    """By trait, at strength 1."""
    named = {name: getattr(rule, name) for name in ("carelessness", "adds_first", "interrupt", "dispel")}
    aims = {
        "tank_over_weakest": rule.aim_tank - rule.aim_weakest,
        "anybody_over_weakest": rule.aim_anybody - rule.aim_weakest,
    }
    slots = {str(slot): value for slot, value in rule.slots.items()}
    return {**dict.fromkeys(AMOUNTS, rule.power), **named, **aims, **slots}


@pytest.mark.parametrize(("role", "style"), STYLES)
def test_a_style_changes_what_it_is_said_to_change(evenings: list[Evening], role: Role, style: Style) -> None:
    expected = changes_by(load().roles[role].styles[style])
    assert all(expected[name] > 0 for name in MORE[role, style].split())
    assert all(expected[name] < 0 for name in LESS.get((role, style), "").split())
    had = set()
    for evening in evenings:
        with_style, played = in_the_style(evening, style, role), evening.pulls[0]
        without, strong = (prepared(with_style, played, style_strength=strength) for strength in (0.0, 2.0))
        doubled = {name: 2.0 * value for name, value in expected.items()}
        is_meant = without.raid["role"] == ROLES[role]
        had |= assert_changed(without, strong, doubled, is_meant)
        as_they_are = prepared(evening, played, style_strength=2.0).raid
        assert strong.raid["power"][~is_meant].tobytes() == as_they_are["power"][~is_meant].tobytes()
    assert had >= set(MORE[role, style].split())


# --- how it ends


def test_twice_the_health_is_killed_less_often(known: list[Fight]) -> None:
    doubled = [with_boss(fight, health=2 * fight.boss["health"][0]) for fight in known]
    assert kills(doubled) < 0.7 * kills(known)


def test_the_rhythm_leaves_what_answers_the_boss_and_the_balance_of_mana(
    evenings: list[Evening], known: list[Fight]
) -> None:
    places = [SLOTS.index(slot) for slot in AT_THE_REAL_RHYTHM]
    for evening, played in ((one, pull) for one in evenings for pull in one.pulls):
        slow, fast = (practised(evening, played, rhythm=rhythm) for rhythm in (0.06, 1.0))
        for fight in (slow, fast):
            assert (np.diff(fight.raid["slot_chance"], axis=1) >= -1e-12).all()
        rates = [
            np.diff(fight.raid["slot_chance"], axis=1, prepend=0.0)[:, places] / fight.raid["gap_s"][:, None]
            for fight in (slow, fast)
        ]
        np.testing.assert_allclose(rates[0], rates[1], rtol=1e-9)
        heals = slow.raid["role"] == HEALER
        ratio = [fight.raid["gain"][heals] / fight.raid["mana_cost"][heals] for fight in (slow, fast)]
        np.testing.assert_allclose(ratio[0], ratio[1])


def test_a_raid_wins_about_as_often_at_any_rhythm(evenings: list[Evening]) -> None:
    won = {}
    for rhythm in (0.06, 1.0):
        fights = [practised(evening, played, rhythm=rhythm) for evening in evenings for played in evening.pulls]
        won[rhythm] = kills(fights, times=4) / (4 * len(fights))
    assert won[0.06] == pytest.approx(won[1.0], abs=0.15)


def test_half_the_power_kills_less_often(known: list[Fight]) -> None:
    halved = [with_raid(fight, power=fight.raid["power"] / 2, pet_power=fight.raid["pet_power"] / 2) for fight in known]
    assert kills(halved) < 0.7 * kills(known)


def test_players_of_less_skill_kill_less_often(evenings: list[Evening], known: list[Fight]) -> None:
    less = [with_players(evening, lambda one: replace(one, skill=one.skill - 6.0)) for evening in evenings]
    fights = [practised(evening, played) for evening in less for played in evening.pulls]
    assert kills(fights) < 0.9 * kills(known)


def test_a_team_in_worse_form_kills_less_often(evenings: list[Evening], known: list[Fight]) -> None:
    fights = [
        practised(evening, played, form=played.attempt.form - 3.0) for evening in evenings for played in evening.pulls
    ]
    assert kills(fights) < 0.9 * kills(known)


def test_the_middle_of_a_pull_knows_nothing_of_its_end(known: list[Fight]) -> None:
    undecided = 0
    for number, fight in enumerate(known[:16]):
        rng = np.random.default_rng(number)
        state, log = begin(fight, rng), empty_log(8192)
        whole = state.copy()
        duration_s = engine.play(fight, whole, empty_log(0), np.random.default_rng(number), FOREVER_S)
        engine.play(fight, state, log, rng, duration_s / 2)
        if state.counts[Count.IS_OVER]:
            continue
        parted_at = int(state.counts[Count.LOGGED])
        so_far = log.rows[:parted_at].tobytes()
        ends = set()
        for fresh in range(16):
            going, noted = state.copy(), empty_log(8192)
            noted.rows[:] = log.rows
            engine.play(fight, going, noted, np.random.default_rng((99, fresh)), FOREVER_S)
            assert noted.rows[:parted_at].tobytes() == so_far
            ends.add(bool(going.counts[Count.IS_KILL]))
        undecided += ends == {True, False}
    assert undecided > 0


def test_playing_on_from_a_state_leaves_it_as_it_is(known: list[Fight]) -> None:
    state, _, _ = played_until(known[0], 20.0)
    before = [array.tobytes() for array in state]
    outcome_from(known[0], state, np.random.default_rng(7))
    assert [array.tobytes() for array in state] == before


def test_a_reset_is_no_drawn_outcome(known: list[Fight]) -> None:
    reset = with_boss(known[0], mispull_s=5.0)
    state, _, duration_s = played_until(reset)
    assert duration_s == 5.0
    assert not state.counts[Count.IS_KILL]
    assert state.boss_health[0] > 0
    # Who kills the boss before the leader resets has killed it.
    state, _, duration_s = played_until(with_boss(reset, health=1.0))
    assert state.counts[Count.IS_KILL]
    assert duration_s < 5.0


@pytest.mark.parametrize("seed", range(4))
def test_the_leader_calls_when_so_many_are_dead(known: list[Fight], seed: int) -> None:
    # One after another meets a hit that nobody survives.
    fight = with_boss(idle(harmless(known[0])), avoidable=1e9, avoidable_s=4.0, avoidable_chance=0.05)
    fight = with_boss(with_raid(fight, carelessness=1.0), resurrection_chance=0.0)
    size = len(fight.raid)
    state, rows, duration_s = played_until(with_boss(fight, call_at=0.3), seed=seed)
    died_s = rows["ms"][rows["event_type"] == engine.DEATH] / 1000
    reached = int(np.argmax(np.arange(1, len(died_s) + 1) >= 0.3 * size))
    assert not state.counts[Count.IS_KILL]
    assert 0 < state.raid["is_alive"].sum() == size - len(died_s) <= 0.7 * size
    assert engine.CALL_S[0] <= duration_s - died_s[reached] <= engine.CALL_S[1] + 0.001

    state, rows, duration_s = played_until(with_boss(fight, call_at=1.0), seed=seed)
    died_s = rows["ms"][rows["event_type"] == engine.DEATH] / 1000
    assert len(died_s) == size, "who fights to the last is not called off"
    assert not state.raid["is_alive"].any()
    assert not state.counts[Count.IS_KILL]
    assert duration_s - died_s[-1] == pytest.approx(engine.LAST_DEATH_S, abs=0.002)


def test_an_enraged_boss_ends_the_pull(known: list[Fight]) -> None:
    fight = with_boss(without_trials(known[0]), health=1e15, call_at=1.0)
    lasted = [played_until(with_boss(fight, enrage_s=enrage_s))[2] for enrage_s in (20.0, 120.0)]
    assert lasted[0] < lasted[1]


# --- by structure: the outcome is set where health is gone or the end is due, and read when the pull is over

FOLDER = Path(simulate.__file__).parent


def uses_of_count(name: str, context: type[ast.expr_context], file: str) -> list[str]:
    """The functions of a module in which `….counts[Count.<name>]` is stored or loaded."""
    found = []
    for function in ast.walk(ast.parse((FOLDER / file).read_text())):
        if isinstance(function, ast.FunctionDef):
            found += [
                function.name
                for node in ast.walk(function)
                if isinstance(node, ast.Subscript)
                and isinstance(node.ctx, context)
                and ast.unparse(node.slice) == f"Count.{name}"
            ]
    return sorted(found)


def test_the_outcome_is_set_only_by_the_last_blow_or_at_the_end() -> None:
    assert uses_of_count("IS_KILL", ast.Store, "engine.py") == ["_after_hit_on_boss"]
    assert uses_of_count("IS_OVER", ast.Store, "engine.py") == ["_after_hit_on_boss", "_boss_does"]
    for file in FOLDER.glob("*.py"):
        if file.name != "engine.py":
            assert uses_of_count("IS_KILL", ast.Store, file.name) == [], file
            assert uses_of_count("IS_OVER", ast.Store, file.name) == [], file


def test_the_fight_does_not_read_its_outcome() -> None:
    assert uses_of_count("IS_KILL", ast.Load, "engine.py") == []
    assert uses_of_count("IS_OVER", ast.Load, "engine.py") == ["play"]
    for file in ("fight.py", "setup.py", "teams.py", "abilities.py", "world.py"):
        assert "killed" not in (FOLDER / file).read_text(), file
        assert uses_of_count("IS_KILL", ast.Load, file) == [], file


def test_a_pulls_outcome_is_read_only_once_it_is_played() -> None:
    for function in ast.walk(ast.parse((FOLDER / "pull.py").read_text())):
        if isinstance(function, ast.FunctionDef):
            attributes = [node for node in ast.walk(function) if isinstance(node, ast.Attribute)]
            read = [node.lineno for node in attributes if ast.unparse(node) == "Count.IS_KILL"]
            played = [node.lineno for node in attributes if ast.unparse(node) == "engine.play"]
            assert not read or min(read) > max(played), function.name


def test_effects_have_amounts_only_where_they_deal_or_heal(evenings: list[Evening]) -> None:
    abilities = evenings[0].season.abilities
    with_amount = np.isin(abilities.effect, (Effect.DAMAGE, Effect.HEAL, Effect.SHIELD))
    assert (abilities.mean[with_amount] > 0).all()
    assert (abilities.mean[~with_amount] == 0).all()


def test_a_pull_is_the_same_each_time(known: list[Fight]) -> None:
    first, second = (simulate_pull(np.random.default_rng(3), known[1]) for _ in range(2))
    assert first.rows.tobytes() == second.rows.tobytes()
