"""The pages for people draw in a browser that cannot reach anything."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import notebooks, plots_page
from pipeline.offline import outside_references
from tests.test_notebooks import ROOT, write_notebook

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DEADLINE_S = 120

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here to open the pages with"),
]
PICTURE = """
from pipeline.studies.figures import Picture
Picture(b'<svg xmlns="http://www.w3.org/2000/svg" width="9"/>', "boss health")
"""


def drawn_dom(page: Path, profile: Path, script: str = "") -> str:
    """The page as chromium has it after loading, with no name resolving anywhere; `script` runs last in the page."""
    if script:
        page.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=10000", f"--user-data-dir={profile}"),
        *("--dump-dom", page.as_uri()),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE_S).stdout


def test_a_notebook_page_shows_its_pictures_without_a_network(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    write_notebook(home, PICTURE)
    notebooks.run("01-eda")
    page = home / "reports/notebooks/01-eda.html"
    assert outside_references(page.read_text()) == []
    dom = drawn_dom(
        page, tmp_path / "profile", "document.title = [...document.images].map(i => i.naturalWidth + 'px').join()"
    )
    assert "<title>9px</title>" in dom
    assert 'alt="boss health"' in dom


def dvc(home: Path, *arguments: str) -> str:
    """Run DVC in a checkout."""
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_page_of_dvc_plots_draws_without_a_network(home: Path, tmp_path: Path) -> None:
    (home / "dvc.yaml").write_text(
        json.dumps({"plots": [{"outcomes.csv": {"template": "bar_horizontal", "x": "pulls", "y": "group"}}]})
    )
    (home / "outcomes.csv").write_text('group,pulls\n"mythic, kill",3\n"mythic, wipe",40\n')
    dvc(home, "init", "--no-scm")
    dvc(home, "config", "plots.html_template", plots_page.NAME)
    plots_page.run()
    dvc(home, "plots", "show")
    page = home / "dvc_plots/index.html"
    assert outside_references(page.read_text()) == []
    dom = drawn_dom(page, tmp_path / "profile")
    assert re.search(r"<canvas[^>]* class=\"marks\"|<svg[^>]* class=\"marks\"", dom)


def test_the_template_of_dvc_plots_is_whole() -> None:
    page = plots_page.page()
    assert outside_references(page) == []
    assert page.count("{plot_divs}") == 1
    assert "{scripts}" not in page
    assert page == plots_page.page()
