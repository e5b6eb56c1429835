"""The pictures of the play styles: what was found in, figures out."""

import textwrap
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.studies import clustering, figures
from pipeline.studies.clustering import RoleStyles, Study
from pipeline.studies.figures import FAINT, INK, ROLE_COLOURS, ROLE_NAMES, name_of, styled
from pipeline.studies.player_profiles import BEHAVIOURS
from pipeline.tables import ROLES

NAMED_BEHAVIOURS = 2


@styled
def draw_embedding(study: Study) -> Figure:
    """Every player as a dot on the two axes that last most, coloured by cluster, one panel per role."""
    figure, axes = figures.panels(1, len(ROLES), 3.4, 3.8)
    for panel, role in zip(axes, ROLES, strict=True):
        panel.set_title(_title(study, role))
        if role in study.roles:
            _dots(panel, study.roles[role])
        else:
            figures.say_empty(panel, textwrap.fill(study.refused[role], 34))
    return figure


@styled
def draw_profiles(study: Study) -> Figure:
    """How far players and styles lie from the role's mean in each behaviour, one panel per role."""
    names = [name for name in BEHAVIOURS if any(name in styles.profiles.behaviours for styles in study.roles.values())]
    figure, axes = figures.panels(1, len(ROLES), 3.4, 1.6 + 0.25 * max(len(names), 4))
    for panel, role in zip(axes, ROLES, strict=True):
        panel.set_title(_title(study, role))
        if role in study.roles:
            _profile(panel, study.roles[role], names, is_first=role == next(iter(study.roles)))
        else:
            figures.say_empty(panel, textwrap.fill(study.refused[role], 34))
    return figure


@styled
def draw_criterion(study: Study) -> Figure:
    """The evidence for each number of clusters: BIC gain and stability, with what the criterion asks for."""
    figure, axes = figures.panels(1, 2, 5, 3.2)
    for panel, score, least in zip(
        axes, ("bic_gain", "stability_ari"), (clustering.MIN_BIC_GAIN, clustering.MIN_STABILITY_ARI), strict=True
    ):
        for role, styles in study.roles.items():
            own = styles.scores[styles.scores["method"] == "playstyle"]
            panel.plot(own["k"], own[score], "o-", color=ROLE_COLOURS[role], label=ROLE_NAMES[role])
        panel.axhline(least, color=INK, lw=1, ls="--")
        panel.text(1, least, "asked for", ha="right", va="bottom", fontsize=8, transform=panel.get_yaxis_transform())
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_xlabel("number of clusters")
    axes[0].set(title="Evidence", ylabel="BIC gain over one cluster")
    axes[1].set(title="Stability", ylabel="mean adjusted Rand index", ylim=(0, 1))
    if study.roles:
        axes[0].legend()
    return figure


@styled
def draw_lasting(study: Study) -> Figure:
    """How much of what sets players apart in each behaviour lasts from pull to pull, by role."""
    shares = _lasting_shares(study)
    names = [name for name in BEHAVIOURS if any(name in role for role in shares.values())]
    figure, (panel,) = figures.panels(1, 1, 9, 1.4 + 0.27 * max(len(names), 2))
    if not names:
        figures.say_empty(panel, "no role could be studied")
        return figure
    names.sort(key=lambda name: max(role.get(name, 0.0) for role in shares.values()))
    for role, share in shares.items():
        places = [place for place, name in enumerate(names) if name in share]
        values = [share[names[place]] for place in places]
        panel.plot(values, places, "o", ms=7, alpha=0.85, color=ROLE_COLOURS[role], label=ROLE_NAMES[role])
    panel.set_yticks(range(len(names)), [name_of(BEHAVIOURS[name]) for name in names])
    panel.axvline(0.5, color=FAINT, lw=1, ls="--")
    panel.set(xlim=(-0.04, 1.04), xlabel="share of the difference between players that lasts")
    panel.set_title("What of play is the player's own")
    panel.legend(loc="lower right")
    return figure


def _lasting_shares(study: Study) -> Mapping[str, dict[str, float]]:
    """By role and behaviour, between 0 and 1: chance takes an estimate below 0 where nothing lasts."""
    return {
        role: dict(zip(styles.profiles.behaviours, np.clip(styles.lasting, 0.0, 1.0).tolist(), strict=True))
        for role, styles in study.roles.items()
    }


def _title(study: Study, role: str) -> str:
    name = name_of(ROLE_NAMES[role]) + "s"
    if role not in study.roles:
        return f"{name}\nnot possible"
    k = study.roles[role].k
    return f"{name}\n{f'{k} styles' if k > 1 else 'no styles found'}"


def _dots(panel: Axes, styles: RoleStyles) -> None:
    across = styles.points[:, 0]
    one_axis = styles.points.shape[1] == 1
    up = styles.profiles.players["n_pulls"].to_numpy() if one_axis else styles.points[:, 1]
    for cluster in range(styles.k):
        member = styles.labels == cluster
        colour = figures.PALETTE[cluster % len(figures.PALETTE)]
        label = f"style {cluster + 1} ({member.sum()})"
        panel.plot(across[member], up[member], "o", ms=5, alpha=0.75, mew=0, color=colour, label=label)
    panel.set_xlabel(f"axis 1: {_meaning(styles, 0)}")
    panel.set_ylabel("pulls" if one_axis else f"axis 2: {_meaning(styles, 1)}")
    if styles.k > 1:
        panel.legend(loc="best", handletextpad=0.1)


def _meaning(styles: RoleStyles, axis: int) -> str:
    """The behaviours that an axis goes with most, each with the sign of its correlation."""
    place = styles.points[:, axis]
    together = styles.standardised.T @ (place - place.mean()) / (len(place) * place.std())
    strongest = np.argsort(-np.abs(together), kind="stable")[:NAMED_BEHAVIOURS]
    names = [BEHAVIOURS[styles.profiles.behaviours[behaviour]] for behaviour in strongest]
    return ",\n".join(
        f"{'more' if together[behaviour] > 0 else 'less'} {name}"
        for behaviour, name in zip(strongest, names, strict=True)
    )


def _profile(panel: Axes, styles: RoleStyles, names: list[str], is_first: bool) -> None:
    """A bar for the middle half of the players, a line for 5 to 95 %, a dot per style."""
    places = [len(names) - 1 - names.index(behaviour) for behaviour in styles.profiles.behaviours]
    differences = styles.differences()
    low, lower, upper, high = np.quantile(differences, (0.05, 0.25, 0.75, 0.95), axis=0)
    panel.hlines(places, low, high, color=FAINT, lw=1.2)
    panel.hlines(places, lower, upper, color="#C9C9C9", lw=7)
    panel.axvline(0, color=INK, lw=0.8)
    for cluster in range(styles.k if styles.k > 1 else 0):
        means = differences[styles.labels == cluster].mean(axis=0)
        colour = figures.PALETTE[cluster % len(figures.PALETTE)]
        panel.plot(means, places, "o", ms=6, color=colour, label=f"{cluster + 1}")
    panel.set_yticks(range(len(names)), [name_of(BEHAVIOURS[name]) for name in reversed(names)] if is_first else [])
    panel.set_ylim(-0.7, len(names) - (0.3 if styles.k == 1 else -1.6))
    panel.set_xlabel("against the role's mean,\nstandard deviations between pulls")
    if styles.k > 1:
        panel.legend(loc="upper center", ncols=styles.k, title="style", handletextpad=0.0, columnspacing=0.8)
