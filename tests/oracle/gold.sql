-- The six Gold tables as docs/gold.md defines them, in plain DuckDB SQL, written without sight of pipeline/gold.
-- It favours the words of the definition over speed. oracle.py provides the two relations it starts from:
--   silver      the Silver rows of all raids
--   parameters  one row: success_boss_hp_pct, time_limit_s, max_deaths, reset_s
-- Every statement materialises its result, since most of them are read several times.

---------------------------------------------------------------------------------------------------------------- terms

CREATE TABLE silver_events AS
SELECT * REPLACE (make_timestamp(epoch_us("timestamp")) AS "timestamp")
FROM silver;

CREATE TABLE fight_events AS
SELECT
    * EXCLUDE (damage_amount, healing_amount, overheal_amount, absorbed_amount, is_critical_hit),
    coalesce(damage_amount, 0) AS damage,
    coalesce(healing_amount, 0) - coalesce(overheal_amount, 0) AS healing,
    coalesce(overheal_amount, 0) AS overheal,
    coalesce(absorbed_amount, 0) AS absorbed,
    coalesce(is_critical_hit, false) AS is_critical
FROM silver_events
WHERE encounter_id IS NOT NULL;

CREATE TABLE pulls AS
WITH bounds AS (
    SELECT
        raid_id,
        encounter_id,
        coalesce(min("timestamp") FILTER (WHERE event_type = 'encounter_start'), min("timestamp")) AS pull_start,
        coalesce(max("timestamp") FILTER (WHERE event_type = 'encounter_end'), max("timestamp")) AS pull_end
    FROM fight_events
    GROUP BY raid_id, encounter_id
),
durations AS (
    SELECT *, CAST(floor((epoch_us(pull_end) - epoch_us(pull_start)) / 1000.0) AS BIGINT) AS duration_ms
    FROM bounds
)
SELECT *, greatest(1, CAST(ceil(duration_ms / 1000.0) AS BIGINT)) AS n_seconds
FROM durations;

CREATE TABLE timed_events AS
SELECT
    e.*,
    p.pull_start,
    p.duration_ms,
    CAST(floor((epoch_us(e."timestamp") - epoch_us(p.pull_start)) / 1000.0) AS BIGINT) AS since_start_ms,
    least(
        CAST(floor((epoch_us(e."timestamp") - epoch_us(p.pull_start)) / 1000000.0) AS BIGINT), p.n_seconds - 1
    ) AS "second"
FROM fight_events AS e
JOIN pulls AS p USING (raid_id, encounter_id);

CREATE TABLE player_ids AS
SELECT raid_id, encounter_id, source_player_id AS player_id
FROM fight_events
WHERE event_type = 'roster' AND source_player_id <> 'environment'
UNION
SELECT raid_id, encounter_id, source_player_id
FROM fight_events
WHERE
    (source_player_role IS NOT NULL OR source_player_class IS NOT NULL)
    AND source_owner_id IS NULL
    AND source_player_id <> 'environment'
UNION
SELECT raid_id, encounter_id, target_entity_id
FROM fight_events
WHERE target_entity_type = 'player' AND target_entity_id IS NOT NULL AND target_entity_id <> 'environment';

CREATE TABLE players AS
WITH as_source AS (
    SELECT
        raid_id,
        encounter_id,
        source_player_id AS player_id,
        first(source_player_name ORDER BY event_type <> 'roster', "timestamp", event_id)
            FILTER (WHERE source_player_name IS NOT NULL) AS player_name,
        first(source_player_class ORDER BY event_type <> 'roster', "timestamp", event_id)
            FILTER (WHERE source_player_class IS NOT NULL) AS player_class,
        first(source_player_specialization ORDER BY event_type <> 'roster', "timestamp", event_id)
            FILTER (WHERE source_player_specialization IS NOT NULL) AS specialization,
        first(source_player_role ORDER BY event_type <> 'roster', "timestamp", event_id)
            FILTER (WHERE source_player_role IS NOT NULL) AS "role",
        first(source_item_level ORDER BY event_type <> 'roster', "timestamp", event_id)
            FILTER (WHERE source_item_level IS NOT NULL) AS item_level
    FROM fight_events
    GROUP BY raid_id, encounter_id, source_player_id
),
as_target AS (
    SELECT
        raid_id,
        encounter_id,
        target_entity_id AS player_id,
        first(target_entity_name ORDER BY event_type <> 'roster', "timestamp", event_id)
            FILTER (WHERE target_entity_name IS NOT NULL) AS target_name
    FROM fight_events
    GROUP BY raid_id, encounter_id, target_entity_id
)
SELECT
    i.raid_id,
    i.encounter_id,
    i.player_id,
    coalesce(s.player_name, t.target_name) AS player_name,
    s.player_class,
    s.specialization,
    s."role",
    s.item_level
FROM player_ids AS i
LEFT JOIN as_source AS s USING (raid_id, encounter_id, player_id)
LEFT JOIN as_target AS t USING (raid_id, encounter_id, player_id);

-- One row per event and player to whom it is credited.
CREATE TABLE credited AS
SELECT
    p.player_id,
    e.*,
    e.source_player_id = p.player_id AS is_own,
    coalesce(e.source_owner_id = p.player_id, false) AS is_pet
FROM players AS p
JOIN timed_events AS e USING (raid_id, encounter_id)
WHERE e.source_player_id = p.player_id OR e.source_owner_id = p.player_id;

-- One row per event that is credited to any player.
CREATE TABLE credited_once AS
SELECT *
FROM timed_events AS e
WHERE EXISTS (
    FROM players AS p
    WHERE
        p.raid_id = e.raid_id
        AND p.encounter_id = e.encounter_id
        AND (p.player_id = e.source_player_id OR p.player_id = e.source_owner_id)
);

-- One row per event whose target is a player.
CREATE TABLE received AS
SELECT p.player_id, e.*
FROM players AS p
JOIN timed_events AS e
    ON e.raid_id = p.raid_id AND e.encounter_id = p.encounter_id AND e.target_entity_id = p.player_id;

CREATE TABLE seconds AS
SELECT raid_id, encounter_id, pull_start, unnest(generate_series(0, n_seconds - 1)) AS "second"
FROM pulls;

CREATE TABLE alive AS
SELECT
    p.raid_id,
    p.encounter_id,
    p.player_id,
    s."second",
    coalesce(last(r.event_type ORDER BY r."timestamp", r.event_id), 'nothing') <> 'player_death' AS is_alive
FROM players AS p
JOIN seconds AS s USING (raid_id, encounter_id)
LEFT JOIN received AS r
    ON
        r.raid_id = p.raid_id
        AND r.encounter_id = p.encounter_id
        AND r.player_id = p.player_id
        AND r.event_type IN ('player_death', 'resurrect')
        AND epoch_us(r."timestamp") < epoch_us(s.pull_start) + s."second" * 1000000
GROUP BY p.raid_id, p.encounter_id, p.player_id, s."second";

---------------------------------------------------------------------------------------------------------- raid_summary

CREATE TABLE raid_summary AS
WITH facts AS (
    SELECT
        raid_id,
        encounter_id,
        first(team_id ORDER BY event_type <> 'encounter_start', "timestamp", event_id)
            FILTER (WHERE team_id IS NOT NULL) AS team_id,
        first(boss_id ORDER BY event_type <> 'encounter_start', "timestamp", event_id)
            FILTER (WHERE boss_id IS NOT NULL) AS boss_id,
        first(encounter_name ORDER BY event_type <> 'encounter_start', "timestamp", event_id)
            FILTER (WHERE encounter_name IS NOT NULL) AS encounter_name,
        first(encounter_difficulty ORDER BY event_type <> 'encounter_start', "timestamp", event_id)
            FILTER (WHERE encounter_difficulty IS NOT NULL) AS encounter_difficulty,
        first(raid_size ORDER BY event_type <> 'encounter_start', "timestamp", event_id)
            FILTER (WHERE raid_size IS NOT NULL) AS raid_size,
        min(target_entity_health_pct_after) FILTER (WHERE target_entity_type = 'boss') AS boss_min_hp_pct,
        max(target_entity_health_pct_before) FILTER (WHERE target_entity_type = 'boss') AS boss_max_hp_pct,
        last(encounter_success ORDER BY "timestamp", event_id)
            FILTER (WHERE event_type = 'encounter_end' AND encounter_success IS NOT NULL) AS verdict,
        count(*) AS n_events
    FROM fight_events
    GROUP BY raid_id, encounter_id
),
done AS (
    SELECT
        raid_id,
        encounter_id,
        sum(damage) FILTER (WHERE event_type = 'combat_damage') AS total_damage,
        sum(healing) FILTER (WHERE event_type = 'heal') AS total_healing,
        sum(overheal) FILTER (WHERE event_type = 'heal') AS total_overheal,
        sum(absorbed) FILTER (WHERE event_type = 'absorb') AS total_absorbed
    FROM credited_once
    GROUP BY raid_id, encounter_id
),
suffered AS (
    SELECT
        raid_id,
        encounter_id,
        sum(damage) FILTER (WHERE event_type = 'combat_damage') AS total_damage_taken,
        count(*) FILTER (WHERE event_type = 'player_death') AS total_player_deaths
    FROM received
    GROUP BY raid_id, encounter_id
),
heads AS (
    SELECT
        raid_id,
        encounter_id,
        count(*) AS n_players,
        count(*) FILTER (WHERE "role" = 'tank') AS n_tanks,
        count(*) FILTER (WHERE "role" = 'healer') AS n_healers,
        count(*) FILTER (WHERE "role" = 'dps') AS n_dps
    FROM players
    GROUP BY raid_id, encounter_id
),
totals AS (
    SELECT
        pulls.raid_id,
        pulls.encounter_id,
        CAST(pulls.pull_start AS DATE) AS event_date,
        facts.team_id,
        facts.boss_id,
        facts.encounter_name,
        facts.encounter_difficulty,
        facts.raid_size,
        pulls.pull_start AS start_timestamp,
        pulls.duration_ms,
        coalesce(done.total_damage, 0) AS total_damage,
        coalesce(done.total_healing, 0) AS total_healing,
        coalesce(done.total_overheal, 0) AS total_overheal,
        coalesce(done.total_absorbed, 0) AS total_absorbed,
        coalesce(suffered.total_damage_taken, 0) AS total_damage_taken,
        coalesce(suffered.total_player_deaths, 0) AS total_player_deaths,
        coalesce(heads.n_players, 0) AS n_players,
        coalesce(heads.n_tanks, 0) AS n_tanks,
        coalesce(heads.n_healers, 0) AS n_healers,
        coalesce(heads.n_dps, 0) AS n_dps,
        facts.boss_min_hp_pct,
        facts.boss_max_hp_pct,
        facts.verdict,
        facts.n_events
    FROM pulls
    JOIN facts USING (raid_id, encounter_id)
    LEFT JOIN done USING (raid_id, encounter_id)
    LEFT JOIN suffered USING (raid_id, encounter_id)
    LEFT JOIN heads USING (raid_id, encounter_id)
)
SELECT
    t.* EXCLUDE (verdict),
    row_number() OVER (
        PARTITION BY t.raid_id, t.encounter_name, t.encounter_difficulty
        ORDER BY t.start_timestamp, t.encounter_id
    ) AS pull_number,
    t.total_damage / nullif(t.duration_ms / 1000.0, 0) AS raid_dps,
    t.total_healing / nullif(t.duration_ms / 1000.0, 0) AS raid_hps,
    t.verdict IS NOT NULL AS has_verdict,
    CASE
        WHEN t.verdict THEN 'success'
        WHEN NOT t.verdict THEN 'wipe'
        WHEN t.boss_min_hp_pct IS NULL THEN 'unknown'
        WHEN
            t.boss_min_hp_pct <= parameters.success_boss_hp_pct
            AND t.duration_ms / 1000.0 <= parameters.time_limit_s
            AND (parameters.max_deaths IS NULL OR t.total_player_deaths <= parameters.max_deaths)
            THEN 'success'
        ELSE 'wipe'
    END AS raid_outcome,
    raid_outcome <> 'success'
    AND t.total_player_deaths = 0
    AND t.duration_ms / 1000.0 < parameters.reset_s AS is_reset
FROM totals AS t
CROSS JOIN parameters;

------------------------------------------------------------------------------------------------------ player_timeline

CREATE TABLE player_timeline AS
WITH done AS (
    SELECT
        raid_id,
        encounter_id,
        player_id,
        "second",
        sum(damage) FILTER (WHERE event_type = 'combat_damage') AS damage,
        sum(healing) FILTER (WHERE event_type = 'heal') AS healing,
        count(*) FILTER (WHERE event_type = 'spell_cast' AND is_own) AS casts
    FROM credited
    GROUP BY raid_id, encounter_id, player_id, "second"
),
suffered AS (
    SELECT raid_id, encounter_id, player_id, "second", sum(damage) AS damage_taken
    FROM received
    WHERE event_type = 'combat_damage'
    GROUP BY raid_id, encounter_id, player_id, "second"
)
SELECT
    a.raid_id,
    a.encounter_id,
    a.player_id,
    a."second",
    coalesce(d.damage, 0) AS damage,
    coalesce(d.healing, 0) AS healing,
    coalesce(s.damage_taken, 0) AS damage_taken,
    coalesce(d.casts, 0) AS casts,
    a.is_alive
FROM alive AS a
LEFT JOIN done AS d USING (raid_id, encounter_id, player_id, "second")
LEFT JOIN suffered AS s USING (raid_id, encounter_id, player_id, "second");

-------------------------------------------------------------------------------------------------------- raid_timeline

CREATE TABLE raid_timeline AS
WITH done AS (
    SELECT
        raid_id,
        encounter_id,
        "second",
        sum(damage) FILTER (WHERE event_type = 'combat_damage') AS damage,
        sum(healing) FILTER (WHERE event_type = 'heal') AS healing
    FROM credited_once
    GROUP BY raid_id, encounter_id, "second"
),
suffered AS (
    SELECT
        raid_id,
        encounter_id,
        "second",
        sum(damage) FILTER (WHERE event_type = 'combat_damage') AS damage_taken,
        count(*) FILTER (WHERE event_type = 'player_death') AS deaths
    FROM received
    GROUP BY raid_id, encounter_id, "second"
),
living AS (
    SELECT raid_id, encounter_id, "second", count(*) FILTER (WHERE is_alive) AS players_alive
    FROM alive
    GROUP BY raid_id, encounter_id, "second"
),
boss_hits AS (
    SELECT raid_id, encounter_id, "second", "timestamp", event_id, target_entity_health_pct_after AS hp_pct
    FROM timed_events
    WHERE target_entity_type = 'boss' AND target_entity_health_pct_after IS NOT NULL
),
boss AS (
    SELECT
        s.raid_id,
        s.encounter_id,
        s."second",
        last(h.hp_pct ORDER BY h."timestamp", h.event_id) AS boss_hp_pct
    FROM seconds AS s
    JOIN boss_hits AS h
        ON h.raid_id = s.raid_id AND h.encounter_id = s.encounter_id AND h."second" <= s."second"
    GROUP BY s.raid_id, s.encounter_id, s."second"
)
SELECT
    seconds.raid_id,
    seconds.encounter_id,
    seconds."second",
    coalesce(done.damage, 0) AS damage,
    coalesce(done.healing, 0) AS healing,
    coalesce(suffered.damage_taken, 0) AS damage_taken,
    coalesce(suffered.deaths, 0) AS deaths,
    boss.boss_hp_pct,
    coalesce(living.players_alive, 0) AS players_alive
FROM seconds
LEFT JOIN done USING (raid_id, encounter_id, "second")
LEFT JOIN suffered USING (raid_id, encounter_id, "second")
LEFT JOIN boss USING (raid_id, encounter_id, "second")
LEFT JOIN living USING (raid_id, encounter_id, "second");

---------------------------------------------------------------------------------------------------- player_raid_stats

CREATE TABLE player_raid_stats AS
WITH done AS (
    SELECT
        c.raid_id,
        c.encounter_id,
        c.player_id,
        sum(c.damage) FILTER (WHERE c.event_type = 'combat_damage' AND c.is_own) AS damage_own,
        sum(c.damage) FILTER (WHERE c.event_type = 'combat_damage' AND c.is_pet) AS damage_pets,
        sum(c.damage) FILTER (WHERE c.event_type = 'combat_damage') AS damage_total,
        sum(c.damage) FILTER (WHERE c.event_type = 'combat_damage' AND c.target_entity_type = 'boss') AS damage_to_boss,
        sum(c.damage) FILTER (WHERE c.event_type = 'combat_damage' AND c.target_entity_type = 'add') AS damage_to_adds,
        count(*) FILTER (WHERE c.event_type = 'combat_damage') AS damage_events,
        count(*) FILTER (WHERE c.event_type = 'heal') AS healing_events,
        sum(c.healing) FILTER (WHERE c.event_type = 'heal') AS healing_total,
        sum(c.overheal) FILTER (WHERE c.event_type = 'heal') AS overheal_total,
        sum(c.healing) FILTER (WHERE c.event_type = 'heal' AND c.target_entity_id = c.player_id) AS healing_to_self,
        sum(c.healing) FILTER (WHERE c.event_type = 'heal' AND met."role" = 'tank') AS healing_to_tanks,
        sum(c.absorbed) FILTER (WHERE c.event_type = 'absorb') AS absorb_total,
        count(*) FILTER (WHERE c.event_type IN ('combat_damage', 'heal') AND c.is_critical) AS crit_events
    FROM credited AS c
    LEFT JOIN players AS met
        ON met.raid_id = c.raid_id AND met.encounter_id = c.encounter_id AND met.player_id = c.target_entity_id
    GROUP BY c.raid_id, c.encounter_id, c.player_id
),
cast_counts AS (
    SELECT
        raid_id,
        encounter_id,
        player_id,
        count(*) AS casts,
        count(*) FILTER (WHERE ability_category = 'interrupt') AS interrupts,
        count(*) FILTER (WHERE ability_category = 'dispel') AS dispels,
        count(*) FILTER (WHERE ability_category = 'defensive') AS defensives,
        count(*) FILTER (WHERE ability_category = 'taunt') AS taunts,
        count(*) FILTER (WHERE ability_category = 'resurrect') AS resurrects,
        count(*) FILTER (WHERE ability_category = 'consumable') AS consumables
    FROM credited
    WHERE is_own AND event_type = 'spell_cast'
    GROUP BY raid_id, encounter_id, player_id
),
suffered AS (
    SELECT
        raid_id,
        encounter_id,
        player_id,
        count(*) FILTER (WHERE event_type = 'player_death') AS player_deaths,
        min(since_start_ms) FILTER (WHERE event_type = 'player_death') AS first_death_ms,
        sum(damage) FILTER (WHERE event_type = 'combat_damage') AS damage_taken,
        sum(damage) FILTER (WHERE event_type = 'combat_damage' AND is_avoidable) AS avoidable_damage_taken,
        sum(damage) FILTER (WHERE event_type = 'combat_damage' AND is_avoidable IS NOT NULL) AS judged_damage_taken
    FROM received
    GROUP BY raid_id, encounter_id, player_id
),
active AS (
    SELECT DISTINCT raid_id, encounter_id, player_id, "second"
    FROM credited
    WHERE is_own AND event_type IN ('combat_damage', 'heal', 'absorb', 'spell_cast')
),
lives AS (
    SELECT
        alive.raid_id,
        alive.encounter_id,
        alive.player_id,
        count(*) FILTER (WHERE alive.is_alive) AS alive_s,
        count(*) FILTER (WHERE alive.is_alive AND active."second" IS NOT NULL) AS active_s
    FROM alive
    LEFT JOIN active USING (raid_id, encounter_id, player_id, "second")
    GROUP BY alive.raid_id, alive.encounter_id, alive.player_id
)
SELECT
    players.raid_id,
    players.encounter_id,
    players.player_id,
    players.player_name,
    players.player_class,
    players.specialization,
    players."role",
    players.item_level,
    pull.team_id,
    coalesce(done.damage_own, 0) AS damage_own,
    coalesce(done.damage_pets, 0) AS damage_pets,
    coalesce(done.damage_total, 0) AS damage_total,
    coalesce(done.damage_to_boss, 0) AS damage_to_boss,
    coalesce(done.damage_to_adds, 0) AS damage_to_adds,
    coalesce(done.damage_events, 0) AS damage_events,
    coalesce(done.healing_events, 0) AS healing_events,
    coalesce(done.healing_total, 0) AS healing_total,
    coalesce(done.overheal_total, 0) AS overheal_total,
    coalesce(done.healing_to_self, 0) AS healing_to_self,
    coalesce(done.healing_to_tanks, 0) AS healing_to_tanks,
    coalesce(done.absorb_total, 0) AS absorb_total,
    done.overheal_total / nullif(done.healing_total + done.overheal_total, 0) AS overheal_share,
    coalesce(cast_counts.casts, 0) AS casts,
    coalesce(cast_counts.interrupts, 0) AS interrupts,
    coalesce(cast_counts.dispels, 0) AS dispels,
    coalesce(cast_counts.defensives, 0) AS defensives,
    coalesce(cast_counts.taunts, 0) AS taunts,
    coalesce(cast_counts.resurrects, 0) AS resurrects,
    coalesce(cast_counts.consumables, 0) AS consumables,
    coalesce(suffered.player_deaths, 0) AS player_deaths,
    suffered.first_death_ms,
    coalesce(done.crit_events, 0) AS crit_events,
    done.crit_events / nullif(done.damage_events + done.healing_events, 0) AS crit_rate,
    coalesce(suffered.damage_taken, 0) AS damage_taken,
    coalesce(suffered.avoidable_damage_taken, 0) AS avoidable_damage_taken,
    coalesce(suffered.avoidable_damage_taken, 0) / nullif(suffered.judged_damage_taken, 0) AS avoidable_share,
    lives.alive_s,
    lives.active_s / nullif(lives.alive_s, 0) AS activity,
    coalesce(done.damage_total, 0) / nullif(pull.duration_ms / 1000.0, 0) AS dps,
    coalesce(done.healing_total, 0) / nullif(pull.duration_ms / 1000.0, 0) AS hps,
    coalesce(done.damage_total, 0) / nullif(pull.total_damage, 0) AS damage_share,
    coalesce(done.healing_total, 0) / nullif(pull.total_healing, 0) AS healing_share
FROM players
JOIN raid_summary AS pull USING (raid_id, encounter_id)
JOIN lives USING (raid_id, encounter_id, player_id)
LEFT JOIN done USING (raid_id, encounter_id, player_id)
LEFT JOIN cast_counts USING (raid_id, encounter_id, player_id)
LEFT JOIN suffered USING (raid_id, encounter_id, player_id);

----------------------------------------------------------------------------------------------------------- dimensions

CREATE TABLE dim_player AS
SELECT
    s.player_id,
    last(s.player_name ORDER BY p.start_timestamp, s.raid_id, s.encounter_id)
        FILTER (WHERE s.player_name IS NOT NULL) AS player_name,
    last(s.player_class ORDER BY p.start_timestamp, s.raid_id, s.encounter_id)
        FILTER (WHERE s.player_class IS NOT NULL) AS player_class,
    last(s.specialization ORDER BY p.start_timestamp, s.raid_id, s.encounter_id)
        FILTER (WHERE s.specialization IS NOT NULL) AS specialization,
    last(s."role" ORDER BY p.start_timestamp, s.raid_id, s.encounter_id)
        FILTER (WHERE s."role" IS NOT NULL) AS "role",
    min(p.start_timestamp) AS first_seen,
    max(p.start_timestamp) AS last_seen,
    count(DISTINCT s.raid_id) AS n_raids,
    count(*) AS n_pulls,
    count(*) FILTER (WHERE p.raid_outcome = 'success') AS n_kills,
    sum(s.damage_total) AS damage_total,
    sum(s.healing_total) AS healing_total,
    CAST(sum(s.player_deaths) AS BIGINT) AS player_deaths
FROM player_raid_stats AS s
JOIN raid_summary AS p USING (raid_id, encounter_id)
GROUP BY s.player_id;

CREATE TABLE dim_raid AS
WITH logs AS (
    SELECT
        raid_id,
        first(team_id ORDER BY "timestamp", event_id) FILTER (WHERE team_id IS NOT NULL) AS team_id,
        CAST(min("timestamp") AS DATE) AS event_date,
        min("timestamp") AS first_event,
        max("timestamp") AS last_event,
        count(*) AS n_events,
        first(source_system ORDER BY "timestamp", event_id) FILTER (WHERE source_system IS NOT NULL) AS source_system
    FROM silver_events
    GROUP BY raid_id
),
fights AS (
    SELECT
        raid_id,
        count(*) AS n_pulls,
        count(*) FILTER (WHERE raid_outcome = 'success') AS n_kills,
        count(*) FILTER (WHERE raid_outcome = 'wipe') AS n_wipes
    FROM raid_summary
    GROUP BY raid_id
),
heads AS (
    SELECT raid_id, count(DISTINCT player_id) AS n_players
    FROM players
    GROUP BY raid_id
)
SELECT
    logs.*,
    coalesce(fights.n_pulls, 0) AS n_pulls,
    coalesce(fights.n_kills, 0) AS n_kills,
    coalesce(fights.n_wipes, 0) AS n_wipes,
    coalesce(heads.n_players, 0) AS n_players
FROM logs
LEFT JOIN fights USING (raid_id)
LEFT JOIN heads USING (raid_id);
