"""What belongs to this machine: addresses, credentials and worker counts, from the environment or `.env`."""

import os
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline import paths
from pipeline.errors import PipelineError


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # absent on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Settings(BaseSettings):
    """Every variable is documented in `.env.example`; none is needed for the embedded store."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    s3_endpoint_url: str | None = None
    s3_access_key: str | None = None
    s3_secret_key: SecretStr | None = None
    s3_region: str = "us-east-1"
    s3_bucket_bronze: str = "bronze"
    s3_bucket_silver: str = "silver"
    s3_bucket_gold: str = "gold"
    s3_bucket_dvc: str = "dvc"
    flask_host: str = "127.0.0.1"
    flask_port: Annotated[int, Field(ge=0, le=65535)] = 5000
    pipeline_workers: Annotated[int, Field(ge=1)] | None = None
    pseudonym_key: SecretStr | None = None

    @property
    def workers(self) -> int:
        """How many processes a map over raids uses: `PIPELINE_WORKERS`, or the cores this process may use."""
        return self.pipeline_workers or _usable_cores()


def load() -> Settings:
    """Read the environment, then the checkout's `.env`, then the defaults.

    Raises:
        PipelineError: a variable has an impossible value; the message names each one.
    """
    try:
        return Settings(_env_file=paths.home_root() / ".env")  # type: ignore[call-arg]
    except ValidationError as error:
        problems = "; ".join(
            f"{str(each['loc'][0]).upper()}: {each['msg']} (is {each['input']!r})" for each in error.errors()
        )
        raise PipelineError(f"{problems}: correct it in the environment or in .env (see .env.example)") from error


def write_env(variables: Mapping[str, str | None]) -> None:
    """Set variables in `.env`, or take them out (None), and leave its other lines as they are."""
    file = paths.home_root() / ".env"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    assigned = re.compile(rf"\s*(export\s+)?({'|'.join(variables)})\s*=")
    kept = [line for line in lines if not assigned.match(line)]
    kept += [f"{name}={_quoted(value)}" for name, value in variables.items() if value is not None]
    paths.write_private(file, "".join(f"{line}\n" for line in kept))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
