"""Settings: where each comes from, which one wins, and what is said about a bad one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lake.errors import SettingsError
from lake.settings import Settings, load_settings

# What one setting is called in the file, in the environment (two names), and as an argument.
SHORT = {
    "enable_raw_stream_capture": "ENABLE_RAW_STREAM",
    "raw_stream_flush_seconds": "RAW_STREAM_FLUSH_SECONDS",
    "raw_stream_root_dir": "RAW_STREAM_ROOT_DIR",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without a settings file, an environment without our names."""
    for name in (*SHORT.values(), *(f"STRIKELAKE_{n.upper()}" for n in Settings.model_fields)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("STRIKELAKE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_file(folder: Path, text: str, name: str = "strikelake.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_hold_where_nothing_is_set() -> None:
    settings = load_settings()

    assert settings.root == Path("data")
    assert settings.lake.raw_stream == Path("data/raw_stream")
    assert settings.enable_raw_stream_capture is False
    assert settings.raw_stream_flush_seconds == 60
    assert settings.catalog == "sqlite:///data/catalog.db"
    assert settings.lake.timezone == "Asia/Kolkata"


def test_the_folders_follow_the_root_unless_they_are_set(folder: Path) -> None:
    assert load_settings(root=folder / "x").lake.raw_stream == folder / "x" / "raw_stream"
    settings = load_settings(root=folder / "x", raw_stream_root_dir=folder / "y")
    assert (settings.lake.root, settings.lake.raw_stream) == (folder / "x", folder / "y")
    assert settings.catalog == f"sqlite:///{(folder / 'x' / 'catalog.db').as_posix()}"
    assert load_settings(catalog_url="postgresql://db/x").catalog == "postgresql://db/x"


@pytest.mark.parametrize(
    ("name", "in_file", "in_environment", "as_argument", "expected"),
    [
        ("raw_stream_flush_seconds", "5", "7", 9, (5.0, 7.0, 9.0)),
        ("enable_raw_stream_capture", "true", "false", True, (True, False, True)),
        ("raw_stream_root_dir", "'f'", "e", "a", (Path("f"), Path("e"), Path("a"))),
        ("raw_stream_queue_size", "5", "7", 9, (5, 7, 9)),
        ("app_id", "'f'", "e", "a", ("f", "e", "a")),
        ("committer", "'process'", "thread", "process", ("process", "thread", "process")),
        ("timezone", "'UTC'", "Asia/Dubai", "Asia/Tokyo", ("UTC", "Asia/Dubai", "Asia/Tokyo")),
    ],
)
def test_arguments_win_over_the_environment_and_that_over_the_file(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    in_file: str,
    in_environment: str,
    as_argument: Any,
    expected: tuple[Any, Any, Any],
) -> None:
    write_file(folder, f"{name} = {in_file}\n")
    assert getattr(load_settings(), name) == expected[0]
    for variable in filter(None, (f"STRIKELAKE_{name.upper()}", SHORT.get(name))):
        monkeypatch.setenv(variable, in_environment)
        assert getattr(load_settings(), name) == expected[1]
        assert getattr(load_settings(**{name: as_argument}), name) == expected[2]
        assert getattr(load_settings(**{name: None}), name) == expected[1], "None is not given"
        monkeypatch.delenv(variable)


def test_the_file_may_stand_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(folder, "app_id = 'here'\n")
    monkeypatch.setenv("STRIKELAKE_CONFIG", str(write_file(folder, "app_id = 'there'\n", "other.toml")))

    assert load_settings().app_id == "there"


def test_a_file_that_was_asked_for_and_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIKELAKE_CONFIG", "typo.toml")
    with pytest.raises(SettingsError, match=r"STRIKELAKE_CONFIG.*typo\.toml"):
        load_settings()


def test_an_unknown_key_in_the_file_is_named(folder: Path) -> None:
    write_file(folder, "raw_stream_flush_secs = 5\n")
    with pytest.raises(SettingsError, match="raw_stream_flush_secs"):
        load_settings()


def test_a_file_that_is_no_toml_is_an_error(folder: Path) -> None:
    write_file(folder, "root = \n")
    with pytest.raises(SettingsError, match="settings file"):
        load_settings()
    (folder / "strikelake.toml").write_bytes(b"root = '\xff'\n")
    with pytest.raises(SettingsError, match="settings file"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("raw_stream_flush_seconds", 0),
        ("raw_stream_flush_seconds", -5),
        ("raw_stream_flush_seconds", float("nan")),
        ("raw_stream_flush_seconds", float("inf")),
        ("raw_stream_flush_seconds", "soon"),
        ("raw_stream_spool_seconds", 0),
        ("raw_stream_spool_seconds", 61),
        ("raw_stream_queue_size", 0),
        ("raw_stream_spool_max_bytes", 10),
        ("enable_raw_stream_capture", "perhaps"),
        ("app_id", ""),
        ("app_id", "a/b"),
        ("app_id", "../x"),
        ("app_id", "a" * 65),
        ("app_id", "x\n"),
        ("committer", "cron"),
        ("timezone", "Mars/Olympus"),
        ("timezone", "Mars"),
        ("timezone", ""),
        ("timezone", "../etc/passwd"),
    ],
)
def test_a_bad_value_is_named_with_its_key_in_one_line(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        load_settings(**{name: value})
    assert repr(value) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_value_in_the_environment_is_named_by_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAW_STREAM_FLUSH_SECONDS", "-1")
    with pytest.raises(SettingsError, match=r"raw_stream_flush_seconds.*'-1'"):
        load_settings()


def test_all_problems_are_reported_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(folder, "nonsense = 1\n")
    monkeypatch.setenv("STRIKELAKE_TIMEZONE", "Mars")

    with pytest.raises(SettingsError) as caught:
        load_settings(raw_stream_queue_size=0)

    assert all(key in str(caught.value) for key in ("nonsense", "timezone", "raw_stream_queue_size"))


def test_settings_do_not_change_once_they_are_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().app_id = "other"


def test_the_prefixed_name_wins_over_the_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAW_STREAM_FLUSH_SECONDS", "5")
    monkeypatch.setenv("STRIKELAKE_RAW_STREAM_FLUSH_SECONDS", "7")
    assert load_settings().raw_stream_flush_seconds == 7
