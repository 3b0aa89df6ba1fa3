import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from shieldx_runtime.shadow.cluster.engine import evaluate, read_task
from shieldx_runtime.shadow.cluster.settings import WorkerSettings
from shieldx_runtime.shadow.errors import DataError, TaskError
from tests.unit.shadow_worker.test_settings import ENV

RULE = {"type": "signature", "pattern": "union select"}
COLD = """
import sys, time
from pathlib import Path
from shieldx_runtime.shadow import worker
from shieldx_runtime.shadow.cluster.engine import evaluate
from shieldx_runtime.shadow.cluster.settings import WorkerSettings
env = dict(line.split("=", 1) for line in sys.argv[1].split("\\n"))
judged = evaluate(WorkerSettings.from_environment(env, Path(sys.argv[2])), lambda samples: None)
print(judged.counts["matrix"]["tp"], time.process_time(), *sorted(sys.modules))
"""


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    """A task on a thousand samples, half of them attacks that the rule sees."""
    data = tmp_path / "samples.ndjson"
    lines = (
        json.dumps({"payload": f"{n} union select" if n % 2 else f"{n}", "label": "attack" if n % 2 else "benign"})
        for n in range(1000)
    )
    data.write_text("\n".join(lines))
    task = tmp_path / "task.json"
    task.write_text(json.dumps({"rule": RULE, "data": {"path": str(data)}, "workers": 2}))
    (tmp_path / "namespace").write_text("team")
    made = WorkerSettings.from_environment({**ENV, "JOB_COMPLETION_INDEX": "0"}, tmp_path)
    return replace(made, task_file=task)


def test_a_shard_is_judged_by_the_engine(settings: WorkerSettings) -> None:
    judged = evaluate(settings, lambda _: None)
    assert judged.counts["matrix"] == {"tp": 500, "fp": 0, "tn": 500, "fn": 0}
    assert judged.dataset_digest.startswith("sha256:")
    assert "google-re2" in judged.engine


def test_shards_judge_every_sample_once(settings: WorkerSettings) -> None:
    task = json.loads(settings.task_file.read_text())
    settings.task_file.write_text(json.dumps({**task, "shards": 3}))
    parts = [evaluate(replace(settings, index=index), lambda _: None) for index in range(3)]
    assert sum(part.counts["matrix"]["tp"] for part in parts) == 500
    assert sum(part.counts["matrix"]["tn"] for part in parts) == 500
    assert len({part.dataset_digest for part in parts}) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"rule": {}}'])
def test_a_document_that_is_no_task_is_the_tasks_fault(settings: WorkerSettings, text: str) -> None:
    settings.task_file.write_text(text)
    with pytest.raises(TaskError):
        read_task(settings.task_file)


def test_a_missing_task_is_named(settings: WorkerSettings) -> None:
    with pytest.raises(TaskError, match="nowhere"):
        read_task(settings.task_file.with_name("nowhere"))


def test_missing_credentials_are_the_datas_fault(settings: WorkerSettings, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"spec\.data\.s3"):
        evaluate(replace(settings, s3_credentials_dir=tmp_path / "nowhere"), lambda _: None)


def test_a_cold_worker_takes_little_time_and_loads_nothing_that_it_does_not_need(
    settings: WorkerSettings, tmp_path: Path
) -> None:
    variables = {**ENV, "JOB_COMPLETION_INDEX": "0", "SHIELDX_SHADOW_TASK_FILE": str(settings.task_file)}
    command = [sys.executable, "-c", COLD, "\n".join(f"{k}={v}" for k, v in variables.items()), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    hits, cpu_s, *modules = done.stdout.split()
    assert int(hits) == 500
    # processor time: what others do on the machine is not counted
    assert float(cpu_s) <= 0.6
    assert not {"typer", "structlog", "fastapi", "pydantic", "pyarrow", "numpy", "asyncpg", "aiohttp"} & set(modules)
