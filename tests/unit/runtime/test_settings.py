"""Settings: what is taken, and how a wrong one is named."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shieldx_contract import (
    ENV_ADMIN_KEY_FILE,
    ENV_CACHE_TTL_S,
    ENV_CACHE_URI_FILE,
    ENV_DATABASE_URI_FILE,
    ENV_DRAIN_DELAY_S,
    ENV_HEALTH_PORT,
    ENV_HTTP_PORT,
    ENV_KEY_PEPPER_FILE,
    ENV_LOG_LEVEL,
    ENV_POOL_MAX_SIZE,
    ENV_REQUEST_TIMEOUT_S,
)
from shieldx_runtime import cli
from shieldx_runtime.core.settings import SettingsError, default_pool_size, load_log, load_serve

KEY = f"sxk_0123456789abcdef_{'k' * 43}"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A complete and right environment."""
    made = {}
    for variable, text in {
        ENV_DATABASE_URI_FILE: "postgresql://u:p@h:5432/d",
        ENV_CACHE_URI_FILE: "redis://:p@h:6379/0",
        ENV_ADMIN_KEY_FILE: KEY,
        ENV_KEY_PEPPER_FILE: "p" * 32,
    }.items():
        path = tmp_path / variable
        path.write_text(text + "\n", encoding="utf-8")
        made[variable] = str(path)
    return made


def test_defaults_are_those_of_the_contract(environ: dict[str, str]) -> None:
    settings = load_serve(environ)
    assert (settings.http_host, settings.http_port, settings.health_port) == ("127.0.0.1", 8080, 9090)
    assert (settings.cache_ttl_s, settings.database.request_timeout_s) == (60, 2.0)
    assert settings.database.pool_max_size == default_pool_size()
    assert settings.admin_key == KEY
    assert load_log(environ).level == "info"


def test_secrets_are_not_part_of_what_settings_look_like(environ: dict[str, str]) -> None:
    text = repr(load_serve(environ))
    assert KEY not in text
    assert "p" * 32 not in text


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (ENV_HTTP_PORT, "http"),
        (ENV_HTTP_PORT, "0"),
        (ENV_HEALTH_PORT, "65536"),
        (ENV_POOL_MAX_SIZE, "0"),
        (ENV_POOL_MAX_SIZE, "1.5"),
        (ENV_REQUEST_TIMEOUT_S, "0"),
        (ENV_REQUEST_TIMEOUT_S, "nan"),
        (ENV_REQUEST_TIMEOUT_S, "inf"),
        (ENV_CACHE_TTL_S, "-1"),
        (ENV_DRAIN_DELAY_S, "soon"),
    ],
)
def test_a_wrong_number_is_named_with_its_range(environ: dict[str, str], variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{variable}: '{value}' is not a number from .* to .*: set one$"):
        load_serve({**environ, variable: value})


@pytest.mark.parametrize(
    "variable", [ENV_DATABASE_URI_FILE, ENV_CACHE_URI_FILE, ENV_ADMIN_KEY_FILE, ENV_KEY_PEPPER_FILE]
)
def test_a_missing_unreadable_or_empty_secret_is_named(environ: dict[str, str], variable: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}: not set: name the file"):
        load_serve({**environ, variable: ""})
    with pytest.raises(SettingsError, match=f"^{variable}: cannot read /nowhere: No such file"):
        load_serve({**environ, variable: "/nowhere"})
    Path(environ[variable]).write_text(" \n", encoding="utf-8")
    with pytest.raises(SettingsError, match=f"^{variable}: .* is empty: write the value into it"):
        load_serve(environ)
    Path(environ[variable]).write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=f"^{variable}: .* is not UTF-8"):
        load_serve(environ)


def test_a_wrong_secret_is_named_and_not_repeated(environ: dict[str, str]) -> None:
    for variable, text in ((ENV_ADMIN_KEY_FILE, "letmein"), (ENV_KEY_PEPPER_FILE, "short")):
        before = Path(environ[variable]).read_text(encoding="utf-8")
        Path(environ[variable]).write_text(text, encoding="utf-8")
        with pytest.raises(SettingsError, match=f"^{variable}: ") as caught:
            load_serve(environ)
        assert text not in str(caught.value)
        Path(environ[variable]).write_text(before, encoding="utf-8")


def test_a_wrong_log_level_is_named() -> None:
    with pytest.raises(SettingsError, match=f"^{ENV_LOG_LEVEL}: 'loud' is not a level: set one of debug, info"):
        load_log({ENV_LOG_LEVEL: "loud"})


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_a_wrong_setting_ends_a_command_with_2_and_one_line(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("SHIELDX_")]:
        monkeypatch.delenv(name)
    result = CliRunner().invoke(cli.app, ["credits", command])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("SHIELDX_")


def test_the_last_word_is_also_where_kubernetes_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    monkeypatch.setattr(cli, "_TERMINATION_LOG", log)
    result = CliRunner().invoke(cli.app, ["credits", "migrate"], env={ENV_DATABASE_URI_FILE: ""})
    assert log.read_text(encoding="utf-8") == result.stderr.strip()
    assert log.read_text(encoding="utf-8").startswith(ENV_DATABASE_URI_FILE)
