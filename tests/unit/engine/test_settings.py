import pytest

from shieldx_operator.settings import OperatorSettings, SettingsError


def test_an_empty_environment_gives_usable_settings() -> None:
    settings = OperatorSettings.from_environment({})
    assert settings.watch_namespaces == ()
    assert settings.runtime_image == f"ghcr.io/shieldx/platform:{settings.operator_version}"
    assert (settings.postgres_image, settings.redis_image) == (
        "docker.io/library/postgres:15",
        "docker.io/library/redis:7",
    )
    assert (settings.resync_s, settings.workers, settings.health_port) == (600, 8, 8081)


def test_namespaces_are_a_list_without_order_spaces_or_repetition() -> None:
    settings = OperatorSettings.from_environment({"SHIELDX_WATCH_NAMESPACES": " b, a,,b "})
    assert settings.watch_namespaces == ("a", "b")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SHIELDX_WORKERS", "many", "SHIELDX_WORKERS is 'many'; it must be a number from 1 to 64"),
        ("SHIELDX_WORKERS", "0", "SHIELDX_WORKERS is 0; it must be from 1 to 64"),
        ("SHIELDX_RESYNC_S", "nan", "SHIELDX_RESYNC_S is nan; it must be from 1 to 86400"),
        ("SHIELDX_IMAGE_PULL_POLICY", "Sometimes", "SHIELDX_IMAGE_PULL_POLICY is 'Sometimes'; it must be one of"),
        ("SHIELDX_LOG_LEVEL", "loud", "SHIELDX_LOG_LEVEL is 'loud'; it must be one of debug, info, warning, error"),
    ],
)
def test_a_value_that_cannot_be_used_names_its_variable(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        OperatorSettings.from_environment({name: value})
