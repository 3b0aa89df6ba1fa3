"""What a worker pod is told, by its environment and its account's folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shieldx_contract import (
    ENV_SHADOW_EVALUATION,
    ENV_SHADOW_EVALUATION_UID,
    ENV_SHADOW_QUESTION,
    ENV_SHADOW_S3_CREDENTIALS_DIR,
    ENV_SHADOW_TASK_FILE,
)
from shieldx_runtime.shadow.cluster.apiserver import ACCOUNT_DIR, Evaluation

ENV_INDEX: Final = "JOB_COMPLETION_INDEX"
"""Kubernetes' own: which part of an Indexed Job a pod does."""
ENV_HOST: Final = "KUBERNETES_SERVICE_HOST"
ENV_PORT: Final = "KUBERNETES_SERVICE_PORT"
_MAX_INDEX: Final = 63
_MAX_PORT: Final = 65_535


class SettingsError(ValueError):
    """The environment does not say what a worker must know."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """All that a worker is told from outside."""

    evaluation: Evaluation
    question: str
    index: int
    task_file: Path
    host: str
    port: int
    s3_credentials_dir: Path | None = None
    account_dir: Path = ACCOUNT_DIR

    @classmethod
    def from_environment(cls, env: Mapping[str, str], account_dir: Path = ACCOUNT_DIR) -> "WorkerSettings":
        """Read the settings out of `env` (usually `os.environ`) and the account's folder.

        Raises:
            SettingsError: a variable is missing or has a value of another form; the message names it.
        """
        namespace_file = account_dir / "namespace"
        try:
            namespace = namespace_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"{namespace_file} cannot be read ({error.strerror}): is this a pod?") from None
        credentials = env.get(ENV_SHADOW_S3_CREDENTIALS_DIR)
        return cls(
            evaluation=Evaluation(namespace, _text(env, ENV_SHADOW_EVALUATION), _text(env, ENV_SHADOW_EVALUATION_UID)),
            question=_text(env, ENV_SHADOW_QUESTION),
            index=_number(env, ENV_INDEX, most=_MAX_INDEX),
            task_file=Path(_text(env, ENV_SHADOW_TASK_FILE)),
            host=_text(env, ENV_HOST),
            port=_number(env, ENV_PORT, most=_MAX_PORT),
            s3_credentials_dir=Path(credentials) if credentials else None,
            account_dir=account_dir,
        )


def _text(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set: a worker is started by the Job of a ShadowEvaluation")
    return value


def _number(env: Mapping[str, str], name: str, *, most: int) -> int:
    text = _text(env, name)
    if not text.isdecimal() or int(text) > most:
        raise SettingsError(f"{name} is {text!r}; it must be a whole number from 0 to {most}")
    return int(text)
