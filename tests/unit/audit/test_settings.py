"""Keys of audit and privacy out of files: which may be missing, and what is said about those that are of no use."""

import base64
from pathlib import Path

import pytest

from shieldx_contract import ENV_AUDIT_SIGNING_KEY_FILE, ENV_MASTER_KEYS_FILE, ENV_SEAL_INTERVAL_S
from shieldx_runtime.core.settings import SettingsError
from shieldx_runtime.credits import sealing_settings
from shieldx_runtime.credits.sealing_settings import load_audit

SECRET = base64.b64encode(bytes(range(32))).decode()


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_without_keys_it_starts_and_says_what_that_means(capsys: pytest.CaptureFixture[str]) -> None:
    settings = load_audit({})
    assert settings.signing_key is None
    assert settings.masters.current() is None
    assert settings.seal_interval_s == 10
    settings.warn()
    said = "".join(capsys.readouterr())
    assert "nothing is sealed: the audit log can be changed unseen" in said
    assert "stored unencrypted and cannot be erased" in said
    assert ENV_AUDIT_SIGNING_KEY_FILE in said
    assert ENV_MASTER_KEYS_FILE in said


def test_with_keys_it_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = load_audit(
        {
            ENV_AUDIT_SIGNING_KEY_FILE: written(tmp_path, "signing", SECRET),
            ENV_MASTER_KEYS_FILE: written(tmp_path, "masters", f"k1 {SECRET}\n"),
            ENV_SEAL_INTERVAL_S: "0.5",
        }
    )
    settings.warn()
    assert "".join(capsys.readouterr()) == ""
    keys = settings.masters.current()
    assert keys
    assert keys.active_id == "k1"
    assert settings.seal_interval_s == 0.5


@pytest.mark.parametrize(
    ("variable", "text", "problem"),
    [
        (ENV_AUDIT_SIGNING_KEY_FILE, "no key", "no private key"),
        (ENV_AUDIT_SIGNING_KEY_FILE, "", "is empty"),
        (ENV_MASTER_KEYS_FILE, "k1 short", "line 1 is not"),
        (ENV_MASTER_KEYS_FILE, "", "is empty"),
    ],
)
def test_a_key_file_of_no_use_is_refused_at_the_start(tmp_path: Path, variable: str, text: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as caught:
        load_audit({variable: written(tmp_path, "file", text)})
    assert variable in str(caught.value)


@pytest.mark.parametrize("variable", [ENV_AUDIT_SIGNING_KEY_FILE, ENV_MASTER_KEYS_FILE])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, variable: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable}: cannot read {tmp_path}/absent"):
        load_audit({variable: str(tmp_path / "absent")})


@pytest.mark.parametrize("text", ["often", "0", "-1", "3601", "nan"])
def test_an_interval_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is not a number from"):
        load_audit({ENV_SEAL_INTERVAL_S: text})


def test_rotated_master_keys_are_taken_up_and_a_broken_file_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing_settings, "_LOOK_AGAIN_S", 0.0)
    path = written(tmp_path, "masters", f"k1 {SECRET}")
    masters = load_audit({ENV_MASTER_KEYS_FILE: path}).masters
    for text, active in ((f"k2 {SECRET}\nk1 {SECRET}", "k2"), ("nonsense", "k2"), (f"k3 {SECRET}", "k3")):
        Path(path).write_text(text, encoding="utf-8")
        keys = masters.current()
        assert keys
        assert keys.active_id == active
