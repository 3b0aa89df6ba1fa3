"""What the operator's own Deployment tells it, by environment variables; read once, at start."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, Literal, cast

PullPolicy = Literal["Always", "IfNotPresent", "Never"]
LogLevel = Literal["debug", "info", "warning", "error"]

_PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
_LOG_LEVELS: Final = ("debug", "info", "warning", "error")

ENV_POD_NAMESPACE: Final = "POD_NAMESPACE"
ENV_POD_NAME: Final = "POD_NAME"
ENV_WATCH_NAMESPACES: Final = "SHIELDX_WATCH_NAMESPACES"
ENV_RUNTIME_IMAGE: Final = "SHIELDX_RUNTIME_IMAGE"
ENV_POSTGRES_IMAGE: Final = "SHIELDX_POSTGRES_IMAGE"
ENV_REDIS_IMAGE: Final = "SHIELDX_REDIS_IMAGE"
ENV_IMAGE_PULL_POLICY: Final = "SHIELDX_IMAGE_PULL_POLICY"
ENV_RESYNC_S: Final = "SHIELDX_RESYNC_S"
ENV_WORKERS: Final = "SHIELDX_WORKERS"
ENV_LOG_LEVEL: Final = "SHIELDX_LOG_LEVEL"
ENV_OPERATOR_PORT: Final = "SHIELDX_OPERATOR_PORT"

DEFAULT_HEALTH_PORT: Final = 8081


class SettingsError(ValueError):
    """An environment variable has a value that the operator cannot use."""


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """All that the operator is told from outside. Times are in seconds.

    `watch_namespaces` is empty for the whole cluster. `resync_s` is how often each object is looked at without any
    event. `workers` is how many objects are reconciled at once.
    """

    operator_namespace: str
    pod_name: str
    watch_namespaces: tuple[str, ...]
    runtime_image: str
    postgres_image: str
    redis_image: str
    image_pull_policy: PullPolicy
    operator_version: str
    resync_s: float
    workers: int
    log_level: LogLevel
    health_port: int

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> "OperatorSettings":
        """Read the settings out of `env` (usually `os.environ`).

        Raises:
            SettingsError: a value is not of the form that its variable needs; the message names the variable.
        """
        operator_version = version("shieldx-platform")
        return cls(
            operator_namespace=env.get(ENV_POD_NAMESPACE) or "default",
            pod_name=env.get(ENV_POD_NAME) or env.get("HOSTNAME") or "shieldx-operator",
            watch_namespaces=_names(env.get(ENV_WATCH_NAMESPACES, "")),
            runtime_image=env.get(ENV_RUNTIME_IMAGE) or f"ghcr.io/shieldx/platform:{operator_version}",
            postgres_image=env.get(ENV_POSTGRES_IMAGE) or "docker.io/library/postgres:15",
            redis_image=env.get(ENV_REDIS_IMAGE) or "docker.io/library/redis:7",
            image_pull_policy=cast(
                "PullPolicy", _choice(env, ENV_IMAGE_PULL_POLICY, default="IfNotPresent", choices=_PULL_POLICIES)
            ),
            operator_version=operator_version,
            resync_s=_number(env, ENV_RESYNC_S, default=600, least=1, most=86400),
            workers=int(_number(env, ENV_WORKERS, default=8, least=1, most=64)),
            log_level=cast("LogLevel", _choice(env, ENV_LOG_LEVEL, default="info", choices=_LOG_LEVELS)),
            health_port=int(_number(env, ENV_OPERATOR_PORT, default=DEFAULT_HEALTH_PORT, least=0, most=65535)),
        )


def _names(text: str) -> tuple[str, ...]:
    return tuple(sorted({name.strip() for name in text.split(",") if name.strip()}))


def _choice(env: Mapping[str, str], name: str, *, default: str, choices: tuple[str, ...]) -> str:
    value = env.get(name) or default
    if value not in choices:
        raise SettingsError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")
    return value


def _number(env: Mapping[str, str], name: str, *, default: float, least: float, most: float) -> float:
    text = env.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise SettingsError(f"{name} is {text!r}; it must be a number from {least:g} to {most:g}") from None
    if not least <= value <= most:
        raise SettingsError(f"{name} is {text}; it must be from {least:g} to {most:g}")
    return value
