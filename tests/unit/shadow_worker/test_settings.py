from pathlib import Path

import pytest

from shieldx_runtime.shadow.cluster.settings import SettingsError, WorkerSettings

ENV = {
    "SHIELDX_SHADOW_EVALUATION": "sqli",
    "SHIELDX_SHADOW_EVALUATION_UID": "uid-1",
    "SHIELDX_SHADOW_QUESTION": "0123456789",
    "SHIELDX_SHADOW_TASK_FILE": "/etc/shieldx/shadow/task/task.json",
    "JOB_COMPLETION_INDEX": "3",
    "KUBERNETES_SERVICE_HOST": "198.19.0.1",
    "KUBERNETES_SERVICE_PORT": "443",
}


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "namespace").write_text("team\n")
    return tmp_path


def test_a_pod_knows_its_evaluation_and_its_shard(account: Path) -> None:
    got = WorkerSettings.from_environment(ENV, account)
    assert (got.evaluation.namespace, got.evaluation.name, got.evaluation.uid) == ("team", "sqli", "uid-1")
    assert (got.index, got.question, got.host, got.port) == (3, "0123456789", "198.19.0.1", 443)
    assert got.s3_credentials_dir is None


@pytest.mark.parametrize("name", sorted(ENV))
def test_a_missing_variable_is_named(account: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        WorkerSettings.from_environment({k: v for k, v in ENV.items() if k != name}, account)


@pytest.mark.parametrize(
    ("name", "value"),
    [("JOB_COMPLETION_INDEX", "64"), ("JOB_COMPLETION_INDEX", "-1"), ("KUBERNETES_SERVICE_PORT", "https")],
)
def test_a_number_out_of_bounds_is_named_with_its_value(account: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is '{value}'"):
        WorkerSettings.from_environment({**ENV, name: value}, account)


def test_outside_of_a_pod_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is this a pod"):
        WorkerSettings.from_environment(ENV, tmp_path)
