"""The pictures of the exploration: frames in, figures out."""

from typing import Any, cast

import numpy as np
import pandas as pd
import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from pipeline.studies import figures
from pipeline.studies.eda import (
    DIFFICULTIES,
    FIGHT_PARTS,
    OUTCOMES,
    PULL,
    ROLES,
    counted,
    deaths_along_fight,
    grouped,
    ingest_latency,
    pulls,
    rates_by_class,
    role_shares,
)
from pipeline.studies.figures import (
    FAINT,
    INK,
    OUTCOME_COLOURS,
    OUTCOME_NAMES,
    ROLE_COLOURS,
    ROLE_NAMES,
    name_of,
    styled,
)

MOST_FIGHTS = 12
MOST_POINTS = 60
FEW_PULLS = 6
NO_PULLS = "no pull in these data"


@styled
def draw_outcomes(raid_summary: pd.DataFrame) -> Figure:
    """Kills and wipes of every boss, one panel per difficulty."""
    groups = list(grouped(pulls(raid_summary), "difficulty", DIFFICULTIES))
    columns = max(len(groups), 1) if len(groups) <= 3 else 2
    rows = max(-(-len(groups) // columns), 1)
    longest = max((group["boss"].nunique() for _, group in groups), default=1)
    figure, axes = figures.panels(rows, columns, 9 / columns, 1.2 + 0.27 * longest)
    for panel in axes[len(groups) :]:
        panel.set_axis_off()
    if not groups:
        figures.say_empty(axes[0], NO_PULLS)
    for panel, (difficulty, group) in zip(axes, groups, strict=False):
        counts = group.groupby(["boss", "raid_outcome"]).size().unstack(fill_value=0)
        counts = counts.reindex(columns=list(OUTCOMES), fill_value=0)
        counts = counts.loc[sorted(counts.index, key=lambda boss: (counts.loc[boss].sum(), boss))]
        _stack(panel, counts, OUTCOME_COLOURS)
        panel.set(title=name_of(difficulty), xlabel="pulls")
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panel.grid(axis="y", visible=False)
    _outcome_legend(figure, raid_summary)
    return figure


@styled
def draw_boss_health(raid_timeline: pd.DataFrame, raid_summary: pd.DataFrame) -> Figure:
    """Boss health over time in every pull, one panel per boss and difficulty, the most pulled first."""
    named = pulls(raid_summary)
    counts = named.groupby("fight").size()
    fights = sorted(counts.index, key=lambda fight: (-counts[fight], fight))[:MOST_FIGHTS]
    return _health_panels(raid_timeline, named, fights, label_pulls=False)


@styled
def draw_raid_boss_health(raid_timeline: pd.DataFrame, raid_summary: pd.DataFrame, raid_id: str | None) -> Figure:
    """Boss health over time in the pulls of one raid, one panel per fight in the order of play, pulls numbered."""
    named = pulls(raid_summary).query("raid_id == @raid_id")
    return _health_panels(raid_timeline, named, list(named["fight"].unique()), label_pulls=True)


@styled
def draw_rates_by_class(player_raid_stats: pd.DataFrame) -> Figure:
    """Damage per second of damage dealers and healing per second of healers, by class."""
    wanted = (
        ("dps", "dps", "Damage dealers", "damage per second"),
        ("hps", "healer", "Healers", "net healing per second"),
    )
    groups = [rates_by_class(player_raid_stats, rate, role) for rate, role, _, _ in wanted]
    longest = max(3, *(len(group) for group in groups))
    figure, axes = figures.panels(1, 2, 4.6, 1.2 + 0.3 * longest)
    for panel, group, (_, _, title, quantity) in zip(axes, groups, wanted, strict=True):
        if group:
            _boxes(panel, group)
            panel.set_ylim(longest + 0.6, 0.4)
        else:
            figures.say_empty(panel, "nobody with this role")
        panel.set(title=title, xlabel=quantity)
    return figure


@styled
def draw_role_shares(player_raid_stats: pd.DataFrame) -> Figure:
    """What each role has of damage, healing, damage taken and deaths, beside its share of the players."""
    shares = role_shares(player_raid_stats).iloc[::-1]
    figure, (panel,) = figures.panels(1, 1, 9, 2.9)
    _stack(panel, shares.fillna(0.0), ROLE_COLOURS)
    left = shares.fillna(0.0).cumsum(axis=1) - shares.fillna(0.0)
    for row, name in enumerate(shares.index):
        for role in ROLES:
            share = shares.loc[name, role]
            if share >= 0.04:
                middle = left.loc[name, role] + share / 2
                ink = "white" if role in {"tank", "healer"} else INK
                panel.text(middle, row, f"{share:.0%}", ha="center", va="center", fontsize=9, color=ink)
    panel.set(title="Who does what: shares by role", xlabel="share of all players' total", xlim=(0, 1))
    panel.xaxis.set_major_formatter(PercentFormatter(1.0))
    panel.grid(axis="y", visible=False)
    used = [role for role in ROLES if (shares[role] > 0).any()]
    _legend(figure, {ROLE_NAMES[role]: ROLE_COLOURS[role] for role in used})
    return figure


@styled
def draw_raid_deaths(raid_timeline: pd.DataFrame, raid_summary: pd.DataFrame, raid_id: str | None) -> Figure:
    """Every pull of one raid as a line from its start to its end, with a mark for each second in which players died."""
    named = pulls(raid_summary).query("raid_id == @raid_id").reset_index(drop=True)
    figure, (panel,) = figures.panels(1, 1, 9, 1.5 + 0.27 * max(len(named), 2))
    if named.empty:
        figures.say_empty(panel, NO_PULLS)
        return figure
    for row, (_, pull) in enumerate(named.iterrows()):
        colour = OUTCOME_COLOURS[pull["raid_outcome"]]
        panel.plot([0, pull["duration_s"]], [row, row], color=colour, lw=5, alpha=0.35, solid_capstyle="butt")
        panel.plot(pull["duration_s"], row, "|", color=colour, ms=13, mew=2.5)
    rows = named[PULL].assign(row=named.index)
    deaths = raid_timeline[raid_timeline["deaths"] > 0].merge(rows, on=PULL)
    panel.scatter(
        deaths["second"] + 0.5, deaths["row"], s=18 * deaths["deaths"], color=INK, lw=0, zorder=3, clip_on=False
    )
    labels = [f"{fight} #{number}" for fight, number in zip(named["fight"], named["pull_number"], strict=True)]
    panel.set_yticks(range(len(named)), labels)
    panel.set_ylim(len(named) - 0.4, -0.6)
    panel.set(title=f"Deaths in {raid_id}", xlabel="seconds since the pull's start")
    panel.set_xlim(left=0)
    panel.grid(axis="y", visible=False)
    _outcome_legend(figure, named, {"deaths": INK})
    return figure


@styled
def draw_deaths_along_fight(raid_timeline: pd.DataFrame, raid_summary: pd.DataFrame) -> Figure:
    """When in a fight players die: deaths per pull along the fight's relative time, kills and wipes apart."""
    figure, (panel,) = figures.panels(1, 1, 9, 3.2)
    if raid_summary.empty:
        figures.say_empty(panel, NO_PULLS)
        return figure
    edges = np.linspace(0, 1, FIGHT_PARTS + 1)
    n_pulls = raid_summary.groupby("raid_outcome").size()
    along = deaths_along_fight(raid_timeline, raid_summary)
    for outcome, group in grouped(along, "outcome", OUTCOMES):
        label = f"{OUTCOME_NAMES[outcome]} ({counted(n_pulls[outcome], 'pull')})"
        panel.stairs(group["deaths_per_pull"], edges, color=OUTCOME_COLOURS[outcome], lw=2, label=label, baseline=None)
    panel.set(
        title="When players die",
        xlabel="part of the fight that has passed",
        ylabel="deaths per pull and 5 % of the fight",
    )
    panel.set(xlim=(0, 1), yscale="log" if _spans_decades(along["deaths_per_pull"]) else "linear")
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_major_formatter(PercentFormatter(1.0))
    panel.legend(loc="upper left")
    return figure


@styled
def draw_event_mix(mix: pd.DataFrame) -> Figure:
    """Silver's events by type."""
    figure, (panel,) = figures.panels(1, 1, 9, 1.2 + 0.27 * len(mix))
    rows = mix.iloc[::-1]
    labels = [f"{events:,}  ({_percent(share)})" for events, share in zip(rows["events"], rows["share"], strict=True)]
    _counted_bars(panel, [name_of(kind) for kind in rows["event_type"]], rows["events"], labels)
    panel.set(title="Events in Silver by type", xlabel="events")
    return figure


@styled
def draw_ingest_latency(events: pl.LazyFrame) -> Figure:
    """How much of a source's events had arrived after how long: the distribution of ingest latency."""
    curve = ingest_latency(events, tuple(np.round(np.linspace(0, 1, 201), 3).tolist()))
    figure, (panel,) = figures.panels(1, 1, 9, 3.2)
    for colour, (source, group) in zip(figures.PALETTE * len(curve), curve.groupby("source"), strict=False):
        label = f"{source} ({counted(group['events'].iloc[0], 'event')})"
        panel.plot(group["latency_s"], group["quantile"], color=colour, lw=2, label=label)
        middle = float(group.loc[group["quantile"] == 0.5, "latency_s"].iloc[0])
        panel.plot(middle, 0.5, "o", color=colour)
        panel.annotate(f"half within {middle:,.1f} s", (middle, 0.5), (8, -4), textcoords="offset points", fontsize=9)
    if (curve["latency_s"] > 0).all() and curve["latency_s"].max() > 50 * curve["latency_s"].median():
        panel.set_xscale("log")
    panel.set(
        title="From event to arrival",
        xlabel="ingest latency, s",
        ylabel="share of events that had arrived",
        ylim=(0, 1),
    )
    panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    panel.legend(loc="lower right")
    return figure


@styled
def draw_removed(books: pd.DataFrame) -> Figure:
    """How many events did not reach Silver, by reason; a reason that never applied stands there with its zero."""
    removed = books[~books["fate"].isin(["in Bronze", "in Silver"])].iloc[::-1]
    figure, (panel,) = figures.panels(1, 1, 9, 1.2 + 0.27 * len(removed))
    labels = [
        f"{events:,}" + (f"  ({_percent(share)} of Bronze)" if events else "")
        for events, share in zip(removed["events"], removed["share"], strict=True)
    ]
    _counted_bars(panel, list(removed["fate"]), removed["events"], labels)
    panel.set(title="What did not reach Silver, and why", xlabel="events")
    return figure


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "< 0.1%"


def _spans_decades(values: "pd.Series[float]") -> bool:
    return bool(values.max() > 20 * values[values > 0].median())


def _thousands(axis: Any) -> None:
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value / 1000:,.0f}k" if value >= 10_000 else f"{value:,.0f}")
    )


def _legend(figure: Figure, colours: dict[str, str]) -> None:
    handles = [figures.swatch(colour) for colour in colours.values()]
    figure.legend(handles, list(colours), loc="outside lower center", ncols=max(len(colours), 1))


def _outcome_legend(figure: Figure, shown: pd.DataFrame, more: dict[str, str] | None = None) -> None:
    """A legend of the outcomes that the pulls shown have."""
    used = [outcome for outcome in OUTCOMES if (shown["raid_outcome"] == outcome).any()]
    _legend(figure, {OUTCOME_NAMES[outcome]: OUTCOME_COLOURS[outcome] for outcome in used} | (more or {}))


def _stack(panel: Axes, rows: pd.DataFrame, colours: dict[str, str]) -> None:
    """One stacked horizontal bar per row, one piece per column."""
    left = np.zeros(len(rows))
    for column in rows.columns:
        panel.barh(range(len(rows)), rows[column], left=left, color=colours[column], height=0.72)
        left += rows[column].to_numpy(dtype=float)
    panel.set_yticks(range(len(rows)), [str(name) for name in rows.index])


def _counted_bars(panel: Axes, names: list[str], values: "pd.Series[int]", labels: list[str]) -> None:
    """One horizontal bar per name with its number beside it."""
    bars = panel.barh(range(len(names)), values, color=figures.PALETTE[0], height=0.72)
    panel.bar_label(bars, labels, padding=4, fontsize=9)
    panel.set_yticks(range(len(names)), names)
    panel.set_xlim(0, max(float(values.max()) if len(values) else 0.0, 1.0) * 1.22)
    panel.grid(axis="y", visible=False)
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _thousands(panel.xaxis)


def _boxes(panel: Axes, groups: dict[str, "pd.Series[float]"]) -> None:
    """One horizontal box per class in its colour, the first on top; whiskers reach to 5 and 95 %."""
    drawn = panel.boxplot(
        [values.to_numpy() for values in groups.values()],
        orientation="horizontal",
        whis=(5, 95),
        showfliers=False,
        widths=0.68,
        patch_artist=True,
        medianprops={"color": "#222222", "linewidth": 1.6},
        tick_labels=[f"{name_of(name)} ({len(values):,})" for name, values in groups.items()],
    )
    for box, name in zip(drawn["boxes"], groups, strict=True):
        cast("Any", box).set(facecolor=figures.CLASS_COLOURS[name], edgecolor="#555555")
    panel.set_xlim(left=0)
    panel.grid(axis="y", visible=False)
    _thousands(panel.xaxis)


def _health_panels(raid_timeline: pd.DataFrame, named: pd.DataFrame, fights: list[str], label_pulls: bool) -> Figure:
    columns = min(3, max(len(fights), 1))
    rows = -(-max(len(fights), 1) // columns)
    figure, axes = figures.panels(rows, columns, 9 / columns, 2.5 if columns > 1 else 3.2)
    seen = raid_timeline.dropna(subset=["boss_hp_pct"])
    for panel, fight in zip(axes, fights, strict=False):
        tries = named[named["fight"] == fight]
        _health_lines(panel, tries, seen[seen["raid_id"].isin(tries["raid_id"])], label_pulls)
        kills = int((tries["raid_outcome"] == "success").sum())
        panel.set_title(f"{fight}\n{counted(len(tries), 'pull')}, {counted(kills, 'kill')}", fontsize=9.5)
        panel.set(ylim=(0, 103))
    for panel in axes[len(fights) :]:
        panel.set_axis_off()
    for panel in axes[max(len(fights) - columns, 0) : len(fights)]:
        panel.set_xlabel("seconds since the pull's start")
    for panel in axes[: len(fights) : columns]:
        panel.set_ylabel("boss health, %")
    if not fights:
        figures.say_empty(axes[0], NO_PULLS)
    _outcome_legend(figure, named)
    return figure


def _health_lines(panel: Axes, tries: pd.DataFrame, seen: pd.DataFrame, label_pulls: bool) -> None:
    """A line per pull and a dot at its end; the wipes and all dots on top, since the kills lie close together."""
    lines: dict[str, list[Any]] = {outcome: [] for outcome in OUTCOMES}
    labelled = _worth_a_label(tries) if label_pulls else set()
    for pull in tries.itertuples():
        seconds = seen[(seen["raid_id"] == pull.raid_id) & (seen["encounter_id"] == pull.encounter_id)]
        if seconds.empty:
            continue
        points = _thinned(seconds[["second", "boss_hp_pct"]].to_numpy(dtype=float))
        lines[str(pull.raid_outcome)].append(points)
        if pull.Index in labelled:
            panel.annotate(f"#{pull.pull_number}", points[-1], (4, 3), textcoords="offset points", fontsize=8)
    for layer, (outcome, drawn) in enumerate((outcome, drawn) for outcome, drawn in lines.items() if drawn):
        colour = OUTCOME_COLOURS[outcome]
        look = {"linewidths": 1.4, "alpha": 1.0} if len(tries) <= FEW_PULLS else {"linewidths": 1.1, "alpha": 0.5}
        panel.add_collection(LineCollection(drawn, colors=colour, zorder=2 + layer, **look))
        ends = np.array([points[-1] for points in drawn])
        panel.plot(ends[:, 0], ends[:, 1], "o", color=colour, ms=3.2, mew=0, clip_on=False, zorder=6 + layer)
    last = [points[-1][0] for drawn in lines.values() for points in drawn]
    panel.set_xlim(0, max(last, default=1) * 1.05 + 1)
    if not last:
        panel.text(0.5, 0.5, "boss health was never seen", ha="center", color=FAINT, transform=panel.transAxes)


def _worth_a_label(tries: pd.DataFrame) -> set[Any]:
    """All of a few tries; of many the first, the last and the best, since more labels would cover each other."""
    if len(tries) <= FEW_PULLS:
        return set(tries.index)
    best = tries["boss_min_hp_pct"].dropna()
    return {tries.index[0], tries.index[-1], *best[best == best.min()].index[:1]}


def _thinned(points: Any) -> Any:
    """Some sixty of a line's points, first and last among them: they look the same in a fraction of the bytes."""
    step = max(1, -(-len(points) // MOST_POINTS))
    return np.concatenate([points[:-1:step], points[-1:]])
