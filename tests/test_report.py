"""The paper states only what the other stages measured, says where it is wrong, and is the same bytes each time."""

import csv
import json
import re
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import report
from pipeline.errors import PipelineError
from pipeline.offline import outside_references
from pipeline.report.numbers import Formats
from pipeline.report.source import Numbers
from pipeline.report.typeset import SOURCE
from tests.conftest import make_home

ROOT = Path(__file__).parents[1]
AUTHORS = ["A. Author", "B. Author"]
EN = f"{SOURCE}/report.en.md"
ENGLISH = Numbers(decimal=".", thousands=",", group_from=4, before_percent="", between=", ", unknown="n/a")
SPANISH = Numbers(decimal=",", thousands="\u202f", group_from=5, before_percent="\u00a0", between="; ", unknown="n. d.")
FIGURES = [
    *(f"eda/{name}" for name in ("outcomes", "deaths-along-fight", "boss-health", "event-mix")),
    *(f"classification/{name}" for name in ("curves", "reliability", "importance")),
    *(f"clustering/{name}" for name in ("criterion", "embedding", "profiles", "lasting")),
]
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:dc="http://purl.org/dc/elements/1.1/" width="90" height="40">'
    "<metadata><dc:title>{title} &amp; more</dc:title></metadata><rect width='80' height='30' fill='#0072B2'/></svg>"
)
SCORES = ("roc_auc", "pr_auc", "log_loss", "brier", "accuracy", "f1")
MODELS = ("winner", "logistic", "history", "base_rate")
NOT_POSSIBLE = "there is *one* team_id only [a|b]"

METRICS: dict[str, Any] = {
    "simulate": {"teams": 12, "raids": 120},
    "import_logs": {"logs": 0, "lines": 0, "pulls": 0, "lines_not_understood": 0},
    "ingest": {"batches": 1021, "events_sent": 964_888, "events_delivered": 964_888, "events_rejected": 0},
    "silver": {
        "bronze_events": 964_888,
        "silver_rows": 964_880,
        "duplicates_removed": 5,
        "quarantined": {"clock_skew": 3, "wrong_raid": 0},
        "massive_hits": 22_175,
    },
    "gold": {
        "raids": 120,
        "pulls": 670,
        "players": 236,
        "outcomes": {"success": 269, "wipe": 401, "unknown": 0},
        "kill_share": 0.4015,
        "total_player_deaths": 6350,
        "events_in_pulls": 964_880,
        "events_outside_pulls": 0,
    },
    "classification": {
        "status": "ok",
        "horizon_s": 60,
        "n_pulls": 654,
        "n_ended_before": 16,
        "n_teams": 12,
        "n_heldout_teams": 3,
        "kill_share": 0.4113,
        "winner": "rf",
        "roc_auc": {"value": 0.7667, "low": 0.7199, "high": 0.8048},
        "heldout": {"roc_auc": 0.7821, "log_loss": 0.5572},
    },
    "clustering": {
        "status": "ok",
        "criterion": {"min_bic_gain": 10.0, "min_stability_ari": 0.7, "min_cluster_players": 5},
        "players": 216,
        "left_out": {"unknown_role_or_class": 0, "few_pulls": 19, "alone_in_kit": 1},
        "roles": {
            "tank": {"status": "not possible", "reason": "too few"},
            "dps": {
                "status": "no styles found",
                "n_players": 134,
                "k": 1,
                "k_scored": 2,
                "stability_ari": {"playstyle": 0.53, "kmeans": 0.81, "gmm": 0.84},
                "silhouette": {"playstyle": 0.18, "kmeans": 0.21, "gmm": None},
                "association": {},
            },
        },
    },
    "score": {
        "status": "ok",
        "outcome": {
            "status": "ok",
            "horizon_s": 60,
            "pulls": 63,
            "ceiling": {"roc_auc": 0.9589, "log_loss": 0.2574, "brier": 0.0771},
            **{
                model: {"roc_auc": 0.8252, "log_loss": 0.3385, "brier": 0.105}
                for model in ("winner", "logistic", "history", "base_rate")
            },
            "distance_from_truth": 0.1063,
        },
        "play_styles": {"dps": {"players": 134, "styles": 3, "found": 1, "ari": 0.4321}},
        "faults": {
            kind: {"brought_in": count, "caught": count}
            for kind, count in {"invalid": 55, "duplicate": 1318, "clock_skew": 143, "outside_pull": 133}.items()
        },
    },
}
TABLES: dict[str, list[dict[str, Any]]] = {
    "plots/outcomes": [
        {"difficulty": difficulty, "outcome": outcome, "pulls": 41}
        for difficulty, outcome in product(("normal", "mythic"), ("success", "wipe", "unknown"))
    ],
    "tables/classification-models": [{"model": kind, **dict.fromkeys(SCORES, 0.5693)} for kind in ("rf", "lr")],
    "tables/classification-scores": [
        {"sample": "cross-fitted", "model": model, "metric": metric, "value": 0.565, "low": 0.5127, "high": 0.61}
        | {"difference": 0.0253, "difference_low": 0.0032, "difference_high": ""}
        for model, metric in product(MODELS, SCORES)
    ],
    "tables/classification-difficulty": [
        {"difficulty": "mythic", "n_pulls": 106, "n_teams": 3, "kill_share": 0.17, "model": "winner", "metric": metric}
        | {"value": 0.71, "low": "", "high": ""}
        for metric in SCORES
    ],
    "tables/classification-importance": [
        {"kind": "family", "name": name, "rise": rise}
        for name, rise in (("boss", 0.06), ("deaths", 0.05), ("healing", 0))
    ],
    "tables/clustering-scores": [
        {"role": "dps", "method": method, "k": 2, "bic_gain": -10.3, "chosen": False}
        for method in ("playstyle", "kmeans", "gmm")
    ],
}


def write_metrics(home: Path, **changes: dict[str, Any]) -> None:
    for stage, content in (METRICS | changes).items():
        (home / f"reports/metrics/{stage}.json").write_text(json.dumps(content))


def write_table(home: Path, name: str, rows: list[dict[str, Any]]) -> None:
    target = home / f"reports/{name}.csv"
    target.parent.mkdir(exist_ok=True)
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(TABLES[name][0]))
        writer.writeheader()
        writer.writerows(rows)


def write_run(home: Path) -> Path:
    """What the stages before the report leave behind, in small."""
    shutil.copytree(ROOT / "reports/source", home / "reports/source")
    shutil.copytree(ROOT / "requirements", home / "requirements")
    (home / "reports/metrics").mkdir()
    write_metrics(home)
    for name, rows in TABLES.items():
        write_table(home, name, rows)
    for name in FIGURES:
        target = home / f"reports/figures/{name}.svg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(SVG.format(title=name))
    return home


@pytest.fixture
def run_of_stages(home: Path) -> Path:
    return write_run(home)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, report.Paper]:
    """The paper of that run in each language."""
    home = write_run(make_home(tmp_path_factory.mktemp("run")))
    return {language: build(home, language) for language in report.LANGUAGES}


def build(home: Path, language: str = "en") -> report.Paper:
    return report.build(home, language, AUTHORS)


def words_of(page: str) -> str:
    """The text of a page, blanks made single."""
    return re.sub("[ \n]+", " ", re.sub(r"<[^>]*>", "", page.split("<body>")[1]))


def plant(home: Path, old: str, new: str, file: str = EN) -> tuple[str, int]:
    """Replace the first such piece of a file; says which file and on which line the new piece ends."""
    text = (home / file).read_text()
    before, found, after = text.partition(old)
    assert found, f"{old} is not in {file}"
    (home / file).write_text(before + new + after)
    return file, (before + new.rstrip()).count("\n") + 1


def test_a_run_writes_the_paper_in_both_languages(run_of_stages: Path) -> None:
    report.run()
    written = {file.name: file for file in (run_of_stages / "reports").glob("*.*")}
    assert sorted(written) == ["report.en.html", "report.en.pdf", "report.es.html", "report.es.pdf"]
    for language in report.LANGUAGES:
        assert written[f"report.{language}.pdf"].read_bytes().startswith(b"%PDF-")
        assert f'lang="{language}"' in written[f"report.{language}.html"].read_text()


def test_each_page_holds_all_that_it_shows(papers: dict[str, report.Paper]) -> None:
    for paper in papers.values():
        assert outside_references(paper.html) == []
        assert paper.html.count("data:image/svg+xml") == len(paper.document.figures) == 8


def test_two_builds_in_two_places_give_the_same_bytes(run_of_stages: Path, papers: dict[str, report.Paper]) -> None:
    for language, paper in papers.items():
        again = build(run_of_stages, language)
        assert again.pdf == paper.pdf
        assert again.html == paper.html


def test_both_languages_stand_on_the_same_values_figures_tables_and_works(papers: dict[str, report.Paper]) -> None:
    english, spanish = papers["en"], papers["es"]
    assert english.values == spanish.values
    assert list(english.document.labels) == list(spanish.document.labels)
    assert list(english.document.figures) == list(spanish.document.figures)
    assert english.document.citations == spanish.document.citations
    assert len(english.document.citations) > 15


def test_both_languages_have_the_same_sections() -> None:
    ids = [
        re.findall(r"^#+ .*", (ROOT / SOURCE / f"report.{language}.md").read_text(), re.M) for language in ("en", "es")
    ]
    levels = [[(line.count("#"), *re.findall(r"\{(.*)\}", line)) for line in lines] for lines in ids]
    assert levels[0] == levels[1]


def test_results_are_written_as_the_language_writes_numbers(papers: dict[str, report.Paper]) -> None:
    english, spanish = words_of(papers["en"].html), words_of(papers["es"].html)
    assert "269 of the pulls were kills (40.2%)" in english
    assert "964,888" in english
    assert "0.77 [0.72, 0.80]" in english
    assert "victorias (40,2\u00a0%)" in spanish
    assert "964\u202f888" in spanish
    assert "0,77 [0,72; 0,80]" in spanish


def test_another_metric_makes_another_paper(run_of_stages: Path, papers: dict[str, report.Paper]) -> None:
    write_metrics(run_of_stages, gold=METRICS["gold"] | {"kill_share": 0.1234})
    other = build(run_of_stages)
    assert "12.3%" in words_of(other.html)
    assert other.pdf != papers["en"].pdf


def test_figures_and_tables_are_numbered_in_order_and_their_references_agree(papers: dict[str, report.Paper]) -> None:
    labels = papers["es"].document.labels
    for kind, name in (("fig", "Figura"), ("tbl", "Tabla")):
        numbers = [text for label, text in labels.items() if label.startswith(kind)]
        assert numbers == [f"{name}\u00a0{number}" for number in range(1, len(numbers) + 1)]
    page = papers["es"].html
    for label, text in labels.items():
        assert f'href="#{label}">{text}</a>' in page
        assert f'id="{label}"' in page
        assert f"<strong>{text}.</strong>" in page


def test_a_figure_says_in_words_what_it_shows(papers: dict[str, report.Paper]) -> None:
    assert 'alt="eda/outcomes &amp; more"' in papers["en"].html


# What is planted in place of what (the fault stands on the last line of it), and what the message says.
FAULTS: dict[str, tuple[str, str, str]] = {
    "a digit in the results": ("# Results {#results}", "# Results {#results}\n\nThere were\n42 raids.", "`42`"),
    "a digit in the abstract": ("Studies of team play", "Studies of 5-player team play", "`5-player`"),
    "a digit in a caption": ("![The way of the data.", "![The 4 ways of the data.", "`4`"),
    "a digit in a table's caption": (": Pulls by difficulty", ": The 670 pulls by difficulty", "`670`"),
    "a digit inside an expression": ("{{ metrics.gold.players | integer }}", "{{ 236 | integer }}", "`236`"),
    "a digit computed with": ("metrics.gold.players | integer", "(metrics.gold.players + 1) | integer", "`1`"),
    "a digit in the heading of a table": ('"wipe": "Wipes"', '"wipe": "Wipes of 2020"', "`Wipes of 2020`"),
    "a digit set aside in a variable": (
        "A pull's features",
        "{% set kills %}269{% endset %}A pull's features",
        "`269`",
    ),
    "a digit in a word of the data": ("  success: kills", "  success: 269 kills", "`269 kills`"),
    "a metric that does not exist": (
        "metrics.gold.kill_share",
        "metrics.gold.kil_share",
        "has no `kil_share`",
    ),
    "a metric of no stage": ("metrics.gold.players", "metrics.golden.players", "golden.json cannot be read"),
    "a parameter that does not exist": ("params.classify.folds", "params.classify.fold", "no `classify.fold`"),
    "a package that is not pinned": ("versions.main.polars", "versions.main.polar", "no `polar`"),
    "a table that does not exist": ('table("plots/outcomes"', 'table("plots/outcome"', "plots/outcome.csv cannot be"),
    "a column that does not exist": ('"n_teams": "Teams"', '"n_team": "Teams"', "has no `n_team`"),
    "a cell that is not there": ('cell("tables/clustering-scores", ', 'cell("plots/outcomes", ', "has no `role`"),
    "a format that does not exist": ('"kill_share": "percent:1"', '"kill_share": "promille"', "no format `promille`"),
    "a number without a format": ("metrics.gold.kill_share | percent", "metrics.gold.kill_share", "say how to write"),
    "a group of values": ("metrics.gold.players | integer", "metrics.gold.outcomes", "a group of values"),
    "a name that is nothing": ("metrics.gold.players", "metric.gold.players", "'metric' is undefined"),
    "a filter that is nothing": ("metrics.gold.players | integer", "metrics.gold.players | whole", "No filter named"),
    "an expression that is not closed": (
        "metrics.gold.players | integer }}",
        "metrics.gold.players | integer }",
        "'}'",
    ),
    "a work that is not in the bibliography": ("[@schubert2016]", "[@schubert2061]", "`@schubert2061` is not in"),
    "a reference to no figure": ("[@fig:architecture]", "[@fig:architektur]", "labelled `fig:architektur`"),
    "a figure without a label": (" {#tbl:models}", "", "needs a caption and a label"),
    "a label that is there twice": ("{#fig:deaths ", "{#fig:outcomes ", "there twice"),
    "a figure that does not exist": ("eda/outcomes.svg", "eda/outcome.svg", "eda/outcome.svg is missing"),
    "a figure shown and left out": ("  - eda/role-shares\n", "  - eda/outcomes\n", "`eda/outcomes` is shown"),
    "a figure from elsewhere": ("figures/eda/outcomes.svg", "https://x.org/a.svg", "is named `figures/"),
    "a typo in the front matter": ("lang: en", "lang: en\nkeyword: x", "`keyword`"),
    "a front matter that is not YAML": ("lang: en", "lang: en: x", "not YAML"),
}
# An error inside a table's expression is told with the expression's first line.
LINES_ABOVE = {"a column that does not exist": 1, "a format that does not exist": 2}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_fails_with_file_and_line(run_of_stages: Path, fault: str) -> None:
    old, new, said = FAULTS[fault]
    file, line = plant(run_of_stages, old, new)
    with pytest.raises(PipelineError) as raised:
        build(run_of_stages)
    assert f"{file}:{line - LINES_ABOVE.get(fault, 0)}:" in str(raised.value)
    assert said in str(raised.value)


def test_a_figure_that_nobody_refers_to_fails_where_it_stands(run_of_stages: Path) -> None:
    file, line = plant(run_of_stages, "{#fig:reliability ", "{#fig:reliability ")
    plant(run_of_stages, "[@fig:reliability] holds", "A figure holds")
    with pytest.raises(PipelineError, match=re.escape(f"{file}:{line}: the text never refers to `fig:reliability`")):
        build(run_of_stages)


@pytest.mark.parametrize("study", ["classification", "clustering", "eda"])
def test_a_figure_that_a_study_drew_and_nobody_uses_fails(run_of_stages: Path, study: str) -> None:
    (run_of_stages / f"reports/figures/{study}/new.svg").write_text(SVG.format(title="new"))
    with pytest.raises(PipelineError, match=rf"report\.en\.md:\d+: reports/figures/{study}/new\.svg is not used"):
        build(run_of_stages)


def test_a_block_that_is_not_closed_fails_with_file_and_line(run_of_stages: Path) -> None:
    plant(run_of_stages, "# References", "{% if metrics.gold.pulls %}\n\n# References")
    with pytest.raises(PipelineError, match=rf"{re.escape(EN)}:\d+: .*'if'"):
        build(run_of_stages)


def test_a_source_without_results_fails(run_of_stages: Path) -> None:
    plant(run_of_stages, "# Results {#results}", "# Findings {#findings}")
    with pytest.raises(PipelineError, match=r"no section `# … \{#results\}`"):
        build(run_of_stages)


def test_digits_may_stand_in_names_and_outside_the_results(run_of_stages: Path) -> None:
    plant(run_of_stages, "# Methods {#methods}", "# Methods {#methods}\n\nWe tried 17 things.")
    plant(run_of_stages, "names_with_digits: [F1]", "names_with_digits: [F1, T-800]")
    plant(run_of_stages, "# Results {#results}", "# Results {#results}\n\nSo says the T-800, with F1.")
    assert "We tried 17 things." in words_of(build(run_of_stages).html)
    plant(run_of_stages, "T-800, with", "T-8000, with")
    with pytest.raises(PipelineError, match="T-8000"):
        build(run_of_stages)


def test_a_font_that_typst_does_not_bring_fails_with_file_and_line(run_of_stages: Path) -> None:
    plant(run_of_stages, '"Libertinus Serif"', '"Comic Sans MS"', f"{SOURCE}/template.typ")
    with pytest.raises(PipelineError, match=rf"{re.escape(str(SOURCE))}/template\.typ:\d+: .*unknown font family"):
        build(run_of_stages)


def test_a_mistake_in_the_template_fails_with_file_and_line(run_of_stages: Path) -> None:
    file, line = plant(run_of_stages, 'paper: "a4"', 'papier: "a4"', f"{SOURCE}/template.typ")
    with pytest.raises(PipelineError, match=re.escape(f"{file}:{line}: Typst says: unexpected argument: papier")):
        build(run_of_stages)


@pytest.mark.parametrize("name", ["references.bib", "template.typ", "page.html", "report.en.md"])
def test_a_missing_file_is_named(run_of_stages: Path, name: str) -> None:
    (run_of_stages / SOURCE / name).unlink()
    with pytest.raises(PipelineError, match=re.escape(name)):
        build(run_of_stages)


def test_a_bibliography_that_cannot_be_read_fails_with_its_name(run_of_stages: Path) -> None:
    plant(run_of_stages, "  year = {2020},", "  year = {2020,", f"{SOURCE}/references.bib")
    with pytest.raises(PipelineError, match=r"references\.bib"):
        build(run_of_stages)


def test_a_picture_without_its_texts_fails(run_of_stages: Path) -> None:
    plant(run_of_stages, '  bronze: "', '  brass: "')
    with pytest.raises(PipelineError, match="no text for `bronze`"):
        build(run_of_stages)


def test_a_damaged_metrics_file_is_named(run_of_stages: Path) -> None:
    (run_of_stages / "reports/metrics/gold.json").write_text("{")
    with pytest.raises(PipelineError, match=r"reports/metrics/gold\.json is damaged"):
        build(run_of_stages)


def test_what_fails_in_one_language_leaves_all_files_as_they_were(run_of_stages: Path) -> None:
    before = run_of_stages / "reports/report.en.pdf"
    before.write_bytes(b"the paper before")
    plant(run_of_stages, "[@schubert2016]", "[@nobody]", f"{SOURCE}/report.es.md")
    with pytest.raises(PipelineError, match=r"report\.es\.md"):
        report.run()
    assert before.read_bytes() == b"the paper before"
    assert [file.name for file in (run_of_stages / "reports").glob("*.*")] == ["report.en.pdf"]


def write_season_of_one_real_log(home: Path, outcomes: int = 3, **changes: dict[str, Any]) -> None:
    """No simulated raid, nothing a study could work on, and a reason that looks like markup."""
    reason = {"status": "not possible", "reason": NOT_POSSIBLE}
    write_metrics(
        home,
        simulate={"teams": 0, "raids": 0},
        import_logs={"logs": 1, "lines": 10_433, "pulls": 1, "lines_not_understood": 2},
        classification={**reason, "horizon_s": 60},
        clustering=METRICS["clustering"] | reason | {"roles": {}},
        score={"status": "no truth"},
        **changes,
    )
    for name in TABLES:
        write_table(home, name, TABLES[name][:outcomes] if name == "plots/outcomes" else [])


@pytest.mark.parametrize(
    ("language", "truth", "numbers"),
    [
        ("en", "Beside the truth", ("0.959", "0.43", "1,318 second deliveries", "off the true chance by 0.106")),
        ("es", "Junto a la verdad", ("0,959", "0,43", "1318 segundas entregas", "aparta de la verdadera en 0,106")),
    ],
)
def test_scores_stand_beside_the_truth_where_there_is_one(
    run_of_stages: Path, papers: dict[str, report.Paper], language: str, truth: str, numbers: tuple[str, ...]
) -> None:
    for said in (truth, *numbers):
        assert said in words_of(papers[language].html)
    write_season_of_one_real_log(run_of_stages)
    without = build(run_of_stages, language)
    assert truth not in words_of(without.html)
    assert not {"tbl:ceiling", "tbl:truth"} & set(without.document.labels)


@pytest.mark.parametrize("language", report.LANGUAGES)
def test_a_truth_of_too_few_pulls_and_players_still_makes_a_paper(run_of_stages: Path, language: str) -> None:
    few = {"outcome": {"status": "too few pulls", "horizon_s": 60, "pulls": 2}, "play_styles": {}}
    write_metrics(run_of_stages, score=METRICS["score"] | few)
    assert not {"tbl:ceiling", "tbl:truth"} & set(build(run_of_stages, language).document.labels)


@pytest.mark.parametrize(("language", "said"), [("en", "not possible with these data"), ("es", "no fue posible")])
def test_studies_that_were_not_possible_are_said_to_be(run_of_stages: Path, language: str, said: str) -> None:
    write_season_of_one_real_log(run_of_stages)
    paper = build(run_of_stages, language)
    assert words_of(paper.html).count(said) >= 2
    assert words_of(paper.html).count(NOT_POSSIBLE) == 2
    assert not [name for name in paper.document.figures if name.startswith(("classification", "clustering"))]


def test_a_season_without_a_pull_still_makes_a_paper(run_of_stages: Path) -> None:
    write_season_of_one_real_log(run_of_stages, outcomes=0, gold=METRICS["gold"] | {"pulls": 0, "kill_share": None})
    assert "(n/a)" in words_of(build(run_of_stages).html)


def test_styles_that_were_found_are_shown(run_of_stages: Path) -> None:
    clustering = json.loads(json.dumps(METRICS["clustering"]))
    found = {"class": {"ami": 0.01, "p_value": 0.3}, "team": {"ami": 0.42, "p_value": 0.001}}
    clustering["roles"]["dps"] |= {"status": "styles found", "k": 2, "association": found}
    write_metrics(run_of_stages, clustering=clustering)
    write_table(
        run_of_stages,
        "tables/clustering-scores",
        [row | {"chosen": True} for row in TABLES["tables/clustering-scores"]],
    )
    paper = build(run_of_stages)
    assert "clustering/profiles" in paper.document.figures
    assert "0.42 with the team" in words_of(paper.html)


@pytest.mark.parametrize(
    ("numbers", "value", "written"),
    [
        (ENGLISH, 1234, "1,234"),
        (ENGLISH, 1234567.0, "1,234,567"),
        (SPANISH, 1234, "1234"),
        (SPANISH, 12345, "12\u202f345"),
        (ENGLISH, -5, "−5"),
        (ENGLISH, None, "n/a"),
        (SPANISH, float("nan"), "n. d."),
    ],
)
def test_whole_numbers_are_written_as_the_language_does(numbers: Numbers, value: float | None, written: str) -> None:
    assert Formats(numbers).integer(value) == written


def test_shares_decimals_and_intervals_are_written_as_the_language_does() -> None:
    assert Formats(ENGLISH).percent(0.4015) == "40.2%"
    assert Formats(SPANISH).percent(0.4015) == "40,2\u00a0%"
    assert Formats(ENGLISH).decimal(-0.0001) == "0.00"
    assert Formats(SPANISH).interval((0.7199, 0.8048)) == "\\[0,72; 0,80\\]"


@pytest.mark.parametrize("numbers", [ENGLISH, SPANISH])
@given(value=st.integers(-(10**15), 10**15))
def test_a_whole_number_can_be_read_back(numbers: Numbers, value: int) -> None:
    written = Formats(numbers).integer(value)
    assert int(written.replace(numbers.thousands, "").replace("−", "-")) == value
