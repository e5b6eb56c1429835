"""Progress: a bar on a terminal, plain lines elsewhere."""

import os
import pty
import subprocess
import sys

import pytest

from pipeline import progress

WORK = """
from pipeline.progress import progress
with progress("silver", 3, "raids") as advance:
    for _ in range(3):
        advance()
"""


def test_elsewhere_there_are_plain_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "PLAIN_LINE_EVERY_S", 0.0)
    with progress.progress("silver", 2000, "raids") as advance:
        advance(1500)
        advance(500)
    assert capsys.readouterr().err == "silver: 1,500 of 2,000 raids\nsilver: 2,000 raids\n"


def test_an_unknown_total_is_not_made_up(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "PLAIN_LINE_EVERY_S", 0.0)
    with progress.progress("delivered", None, "events") as advance:
        advance(7)
    assert capsys.readouterr().err == "delivered: 7 events\ndelivered: 7 events\n"


def test_a_terminal_shows_a_bar() -> None:
    controller, terminal = pty.openpty()
    subprocess.run([sys.executable, "-c", WORK], stderr=terminal, check=True, env=os.environ | {"TERM": "xterm"})
    os.close(terminal)
    shown = os.read(controller, 65536).decode()
    os.close(controller)
    assert "3/3" in shown
    assert "\x1b[" in shown
    assert "3 raids" not in shown
