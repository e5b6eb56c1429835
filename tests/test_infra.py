"""The containers and the example settings, checked statically: there is no Docker here, so nothing of this has run."""

import re
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline.settings import Settings

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "infra" / "docker-compose.yml"
DOCKERFILE = ROOT / "infra" / "Dockerfile.receiver"
VARIABLES = {name.upper() for name in Settings.model_fields}
BUCKETS = {name: Settings.model_fields[name.lower()].default for name in VARIABLES if name.startswith("S3_BUCKET_")}


@pytest.fixture
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return services


def documented() -> dict[str, str]:
    """The variables of .env.example with their example values."""
    lines = re.findall(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), flags=re.MULTILINE)
    return dict(lines)


def installed_in_the_image() -> set[str]:
    """The packages that the Dockerfile names."""
    command = re.search(r"pip install (.*?)\n\n", DOCKERFILE.read_text(), flags=re.DOTALL)
    assert command
    words = command[1].replace("\\\n", " ").split()
    assert words[:3] == ["--no-cache-dir", "--constraint", "requirements/main.txt"]
    return {canonicalize_name(word) for word in words[3:]}


@cache
def needed_by(package: str) -> frozenset[str]:
    """A package and all that it needs here, by the installed metadata."""
    try:
        needed = [Requirement(text) for text in requires(package) or ()]
    except PackageNotFoundError:
        return frozenset({package})
    here = [each for each in needed if not each.marker or each.marker.evaluate({"extra": ""})]
    return frozenset({package}).union(*(needed_by(canonicalize_name(each.name)) for each in here))


def test_every_setting_is_in_the_example_with_its_default() -> None:
    assert set(documented()) == VARIABLES
    for name, value in documented().items():
        default = Settings.model_fields[name.lower()].default
        assert default is None or value == str(default), name


def test_the_example_changes_nothing_until_it_is_edited() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert all(not line or line.startswith("#") for line in lines)


def test_every_image_is_pinned(services: dict[str, Any]) -> None:
    pinned = r"quay\.io/minio/minio:RELEASE\.2025-09-07T16-13-09Z@sha256:[0-9a-f]{64}"
    assert re.fullmatch(pinned, services["minio"]["image"])
    assert services["buckets"]["image"] == services["minio"]["image"]
    assert {name for name, service in services.items() if "image" not in service} == {"receiver"}


def test_nothing_is_published_beyond_this_machine(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert not [service for service in services.values() if "network_mode" in service]


def test_keys_come_from_env_and_nothing_starts_without(services: dict[str, Any]) -> None:
    used = re.findall(r"\$\{(S3_(?:ACCESS|SECRET)_KEY)([^}]*)\}", COMPOSE.read_text())
    assert {name for name, _ in used} == {"S3_ACCESS_KEY", "S3_SECRET_KEY"}
    assert all(rest.startswith(":?") for _, rest in used)
    assert set(services["minio"]["environment"]) >= {"MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"}


def test_every_variable_is_documented() -> None:
    used = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", COMPOSE.read_text()))
    assert used
    assert used <= set(documented())
    assert not re.search(r"(?<![$])[$][A-Z]", COMPOSE.read_text()), "write ${NAME}, or $$NAME for the container's shell"


def test_the_buckets_are_those_of_the_settings(services: dict[str, Any]) -> None:
    environment = services["buckets"]["environment"]
    given = {name: value for name, value in environment.items() if name in BUCKETS}
    assert given == {name: f"${{{name}:-{default}}}" for name, default in BUCKETS.items()}
    (script,) = services["buckets"]["command"]
    assert set(re.findall(r"\$\$(S3_BUCKET_\w+)", script)) == set(BUCKETS)
    assert services["receiver"]["environment"].items() >= given.items()


def test_services_wait_for_what_they_need(services: dict[str, Any]) -> None:
    assert services["buckets"]["depends_on"] == {"minio": {"condition": "service_healthy"}}
    assert services["receiver"]["depends_on"] == {
        "minio": {"condition": "service_healthy"},
        "buckets": {"condition": "service_completed_successfully"},
    }
    assert services["minio"]["healthcheck"]["test"] == ["CMD", "mc", "ready", "local"]
    assert "http://127.0.0.1:5000/health/ready" in services["receiver"]["healthcheck"]["test"][-1]


def test_the_healthcheck_is_python_that_compiles(services: dict[str, Any]) -> None:
    command = services["receiver"]["healthcheck"]["test"]
    assert command[:3] == ["CMD", "python", "-c"]
    compile(command[3], "healthcheck", "exec")


def test_the_receiver_does_not_run_as_root() -> None:
    lines = DOCKERFILE.read_text().splitlines()
    assert lines[1] == "FROM python:3.11-slim"
    assert "USER receiver" in lines[: next(number for number, line in enumerate(lines) if line.startswith("CMD"))]


def test_what_the_image_copies_exists_and_is_let_through() -> None:
    copied = re.findall(r"^COPY (\S+) \S+$", DOCKERFILE.read_text(), flags=re.MULTILINE)
    let_through = (ROOT / "infra" / "Dockerfile.receiver.dockerignore").read_text().splitlines()
    assert let_through[0] == "*"
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in let_through


def test_the_image_takes_its_versions_from_the_lock_file() -> None:
    locked = {canonicalize_name(line.split("==")[0]) for line in (ROOT / "requirements/main.txt").read_text().split()}
    assert installed_in_the_image() <= locked


# What gunicorn and pyarrow import where it is there, and do without where it is not.
OPTIONAL = {"cloudpickle", "setproctitle"}


def test_the_image_has_all_that_the_receiver_imports() -> None:
    imports = "import pipeline.cli, pipeline.embedded_store, pipeline.receiver"
    code = f"import sys; before = set(sys.modules); {imports}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    packages = packages_distributions()
    imported = {name.partition(".")[0] for name in done.stdout.split()} - {"pipeline"}
    needed = {canonicalize_name(packages[name][0]) for name in imported if name in packages}
    image = frozenset[str]().union(*(needed_by(name) for name in installed_in_the_image()))
    assert needed - image - OPTIONAL == set()
