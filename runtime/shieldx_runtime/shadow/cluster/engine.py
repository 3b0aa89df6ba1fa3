"""From a worker's settings to what the evaluation engine makes of its shard."""

import json
from pathlib import Path

from shieldx_contract import SECRET_S3_ACCESS_KEY_ID, SECRET_S3_SECRET_ACCESS_KEY
from shieldx_runtime.shadow import evaluation
from shieldx_runtime.shadow.cluster.judged import Judged, Progress
from shieldx_runtime.shadow.cluster.settings import WorkerSettings
from shieldx_runtime.shadow.errors import DataError, TaskError
from shieldx_runtime.shadow.source import S3Credentials
from shieldx_runtime.shadow.task import Task


def evaluate(settings: WorkerSettings, progress: Progress) -> Judged:
    """Judge the shard that `settings` name.

    Raises:
        TaskError: the task document or a rule in it is wrong.
        DataError: the data, or the credentials for them, cannot be read.
        RuntimeError: a process of the pool was killed; another try may do.
    """
    found = evaluation.evaluate(
        read_task(settings.task_file),
        settings.index,
        progress=progress,
        credentials=_credentials(settings.s3_credentials_dir),
    )
    return Judged(found.counts.to_dict(), f"sha256:{found.dataset_digest}", found.engine)


def read_task(file: Path) -> Task:
    """The task in `file`.

    Raises:
        TaskError: the file cannot be read, is no JSON, or no task.
    """
    try:
        return Task.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        if isinstance(error, TaskError):
            raise
        raise TaskError("task", f"in {file} cannot be read: {error}") from error


def _credentials(folder: Path | None) -> S3Credentials | None:
    if folder is None:
        return None
    try:
        name = (folder / SECRET_S3_ACCESS_KEY_ID).read_text(encoding="utf-8").strip()
        secret = (folder / SECRET_S3_SECRET_ACCESS_KEY).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise DataError(f"the credentials of spec.data.s3 in {folder} cannot be read: {error.strerror}") from error
    return name, secret
