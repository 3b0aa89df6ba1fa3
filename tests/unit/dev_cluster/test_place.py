import pytest

from dev.cluster import place as places
from dev.localkube.process import StepError


def test_another_name_shares_no_file_with_the_usual_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHIELDX_CLUSTER_NAME", raising=False)
    usual = places.from_environment()
    monkeypatch.setenv("SHIELDX_CLUSTER_NAME", "other")
    monkeypatch.setenv("SHIELDX_CLUSTER_LINK", "198.18.251.0/30")
    other = places.from_environment()
    files = ("state", "kubeconfig", "choice", "record", "lock")
    assert not {getattr(usual, file) for file in files} & {getattr(other, file) for file in files}
    assert usual.settings.folder != other.settings.folder
    assert usual.settings.host_link != other.settings.host_link


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SHIELDX_CLUSTER_NAME", "a name"),
        ("SHIELDX_CLUSTER_NAME", "longerthanalink"),
        ("SHIELDX_CLUSTER_LINK", "198.18.250.0/24"),
        ("SHIELDX_CLUSTER_LINK", "nonsense"),
        ("SHIELDX_CLUSTER_LINK", "198.18.253.0/30"),  # the engine's own bridge
        ("SHIELDX_CLUSTER_LINK", "198.18.65.0/30"),  # pods
    ],
)
def test_a_wrong_name_or_network_is_named_in_the_error(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(StepError, match=f"{variable}={value}"):
        places.from_environment()
