"""Settings come from the environment, then `.env`, then the defaults."""

from pathlib import Path

import pytest

from pipeline import settings
from pipeline.errors import PipelineError


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for name in settings.Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path


def test_nothing_is_needed(checkout: Path) -> None:
    loaded = settings.load()
    assert loaded.s3_endpoint_url is None
    assert (loaded.flask_host, loaded.flask_port) == ("127.0.0.1", 5000)
    assert loaded.workers >= 1


def test_the_environment_goes_before_the_file(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / ".env").write_text("FLASK_PORT=6000\nS3_BUCKET_GOLD=treasure\nPIPELINE_WORKERS=\n")
    monkeypatch.setenv("FLASK_PORT", "7000")
    loaded = settings.load()
    assert (loaded.flask_port, loaded.s3_bucket_gold) == (7000, "treasure")


def test_an_impossible_value_is_named(checkout: Path) -> None:
    (checkout / ".env").write_text("FLASK_PORT=a door\n")
    with pytest.raises(PipelineError, match=r"FLASK_PORT: .*integer.* \(is 'a door'\): correct it in .*\.env"):
        settings.load()


def test_a_secret_does_not_show(checkout: Path) -> None:
    (checkout / ".env").write_text("S3_SECRET_KEY=hush\n")
    assert "hush" not in repr(settings.load())
