"""The settings of one process: defaults < file < environment < arguments.

Read once, in the command line or at the start of a live app, then passed on as arguments.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from lake.errors import SettingsError
from lake.table import Lake

PREFIX = "STRIKELAKE_"
DEFAULT_FILE = Path("strikelake.toml")
_APP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


SHORT_NAMES = {
    "ALERT_WEBHOOK_TOKEN": "alert_webhook_token",
    "ALERT_WEBHOOK_URL": "alert_webhook_url",
    "ENABLE_RAW_STREAM": "enable_raw_stream_capture",
    "RAW_STREAM_FLUSH_SECONDS": "raw_stream_flush_seconds",
    "RAW_STREAM_ROOT_DIR": "raw_stream_root_dir",
}
"""Variables that are read under their own names, too; `STRIKELAKE_<NAME>` wins over them."""

SeverityName = Literal["INFO", "WARN", "CRITICAL"]


class AppriseEntry(BaseModel):
    """One Apprise URL that alerts go to.

    Attributes:
        name: What messages call it, since the URL is a secret.
        url: The URL.
        tags: It takes the alerts of rules with one of these tags, and of those without any; none takes all.
        minimum_severity: The least bad it takes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    url: SecretStr
    tags: tuple[str, ...] = ()
    minimum_severity: SeverityName = "WARN"


class _ShortNames(PydanticBaseSettingsSource):
    """Reads the environment by `SHORT_NAMES`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        del field
        short = next((s for s, name in SHORT_NAMES.items() if name == field_name), "")
        return os.environ.get(short), field_name, False

    def __call__(self) -> dict[str, Any]:
        return {name: os.environ[short] for short, name in SHORT_NAMES.items() if short in os.environ}


class Settings(BaseSettings):
    """Every setting, its unit and default; each is also read from `STRIKELAKE_<NAME>`.

    Attributes:
        root: Folder of the lake.
        raw_stream_root_dir: Folder of the captured tables, `<root>/raw_stream` by default; also read
            from `RAW_STREAM_ROOT_DIR`.
        enable_raw_stream_capture: Whether `enqueue_raw_stream_event` captures anything; also read from
            `ENABLE_RAW_STREAM`. Off by default: a live app that calls it opts in.
        raw_stream_flush_seconds: Seconds between two micro-batches; also read from
            `RAW_STREAM_FLUSH_SECONDS`.
        raw_stream_spool_seconds: Seconds between two moves from memory to the spool: what a power cut
            can cost.
        raw_stream_queue_size: Updates held in memory before the oldest is dropped.
        raw_stream_spool_max_bytes: Bytes the spool may hold while commits fail, before updates are dropped.
        app_id: Name of this app's stream: letters, digits, `-` and `_`. One running app an id.
        committer: `thread` to commit within the app, `process` to leave it to `strikelake ingest commit`.
        catalog_url: SQLAlchemy URL of the catalog, `sqlite:///<root>/catalog.db` by default.
        export_url: SQLAlchemy URL that `strikelake lake export` writes serving tables to. A secret, since it
            may hold a password.
        timezone: Zone in which times without an offset are read and times are shown.
        models_dir: Folder of the trained models and their reports.
        reports_dir: Folder of drift reports.
        phase2_metrics_dir: Folder of the summaries that trackers write, `<EXCHANGE>_summary.json`.
        rules_file: The user's changes to the monitors' rules, `<root>/rules.yaml` by default.
        heartbeat_url: Address that is asked after every health check, for a watcher elsewhere that misses
            it; a secret, since who knows it can keep the watcher quiet.
        alerts_log: File of the alert log.
        alert_webhook_url: Where alerts are POSTed; also read from `ALERT_WEBHOOK_URL`. A secret.
        alert_webhook_token: Bearer token sent there; also read from `ALERT_WEBHOOK_TOKEN`. A secret.
        alert_webhook_minimum_severity: The least bad that is POSTed.
        alert_apprise: Apprise URLs that alerts go to, see `AppriseEntry`. Secrets.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", validate_default=False, frozen=True, hide_input_in_errors=True
    )

    root: Path = Path("data")
    raw_stream_root_dir: Path | None = None
    enable_raw_stream_capture: bool = False
    raw_stream_flush_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    raw_stream_spool_seconds: Annotated[float, Field(gt=0, le=60)] = 0.25
    raw_stream_queue_size: Annotated[int, Field(ge=1)] = 10_000
    raw_stream_spool_max_bytes: Annotated[int, Field(ge=1_000_000)] = 8_000_000_000
    app_id: str = "live"
    committer: Literal["thread", "process"] = "thread"
    catalog_url: str | None = None
    export_url: SecretStr | None = None
    timezone: str = "Asia/Kolkata"
    models_dir: Path = Path("models")
    reports_dir: Path = Path("reports")
    phase2_metrics_dir: Path = Path("metrics/phase2_metrics")
    rules_file: Path | None = None
    heartbeat_url: SecretStr | None = None
    alerts_log: Path = Path("logs/alerts.log")
    alert_webhook_url: SecretStr | None = None
    alert_webhook_token: SecretStr | None = None
    alert_webhook_minimum_severity: SeverityName = "INFO"
    alert_apprise: tuple[AppriseEntry, ...] = ()

    @field_validator("app_id")
    @classmethod
    def _app_id_is_a_file_name(cls, value: str) -> str:
        if not _APP_ID.fullmatch(value):
            raise ValueError("use 1 to 64 letters, digits, '-' or '_'")
        return value

    @field_validator("alert_webhook_url", "alert_webhook_token", mode="before")
    @classmethod
    def _empty_is_not_set(cls, value: object) -> object:
        return value or None

    @field_validator("timezone")
    @classmethod
    def _timezone_is_known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError("not a time zone of the IANA database") from error
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, which wins over the file."""
        del dotenv_settings, file_secret_settings
        file = Path(os.environ.get(f"{PREFIX}CONFIG", DEFAULT_FILE))
        return (
            init_settings,
            env_settings,
            _ShortNames(settings_cls),
            TomlConfigSettingsSource(settings_cls, toml_file=file),
        )

    @property
    def lake(self) -> Lake:
        """The folders these settings name."""
        return Lake(
            root=self.root,
            raw_stream=self.raw_stream_root_dir or self.root / "raw_stream",
            timezone=self.timezone,
        )

    @property
    def catalog(self) -> str:
        """SQLAlchemy URL of the catalog."""
        return self.catalog_url or f"sqlite:///{(self.root / 'catalog.db').as_posix()}"


def load_settings(**given: Any) -> Settings:
    """Read the settings; arguments that are None count as not given.

    Raises:
        SettingsError: A value is not valid, or the file cannot be read; the message names the key.
    """
    file = os.environ.get(f"{PREFIX}CONFIG")
    if file is not None and not Path(file).is_file():
        raise SettingsError(f"{PREFIX}CONFIG: there is no file {file}")
    try:
        return Settings(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in e['loc'])}: {e['msg'].removeprefix('Value error, ')}"
            + ("" if _may_be_secret(e["loc"]) else f" (got {e['input']!r})")
            for e in error.errors()
        )
        raise SettingsError(problems) from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"the settings file cannot be read: {error}") from error


def _may_be_secret(place: tuple[int | str, ...]) -> bool:
    """Whether a value is not to be shown: of a secret, or of a name that is not known, like one misspelt."""
    field = Settings.model_fields.get(str(place[0])) if place else None
    return field is None or str(place[0]) == "alert_apprise" or field.annotation == SecretStr | None
