from pathlib import Path

import pytest

from dev.cluster import lifecycle, owner, providers
from dev.cluster.owner import Record
from dev.cluster.place import Place
from dev.localkube.process import StepError


class FakeProvider:
    """A cluster in memory; what is done to it is kept in ``calls``."""

    kind = "local"

    def __init__(self, *, fails: bool = False) -> None:
        self.calls: list[str] = []
        self.fails = fails
        self.alive = False

    def create(self, kubeconfig: Path) -> None:
        self.calls.append("create")
        if self.fails:
            raise StepError("kind: no")
        kubeconfig.write_text("{}")
        self.alive = True

    def delete(self) -> None:
        self.calls.append("delete")
        self.alive = False

    def purge(self) -> None:
        self.calls.append("purge")

    def kubectl(self) -> list[str]:
        return ["sh", "-c", "echo ok"] if self.alive else ["false"]

    def node_command(self, *argv: str) -> list[str]:
        return list(argv)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> FakeProvider:
    fake = FakeProvider()
    monkeypatch.setattr(providers, "choose", lambda *_: fake)
    monkeypatch.setattr(providers, "of_kind", lambda *_: fake)
    monkeypatch.delenv("CONTEXT", raising=False)
    return fake


def test_a_healthy_cluster_is_reused(place: Place, provider: FakeProvider) -> None:
    lifecycle.up(place)
    lifecycle.up(place)
    assert provider.calls == ["create"]


def test_a_run_that_failed_half_way_is_removed_before_the_next_makes_the_cluster(
    place: Place, provider: FakeProvider
) -> None:
    provider.fails = True
    with pytest.raises(StepError):
        lifecycle.up(place)
    assert owner.read(place.record) == Record("local", str(place.checkout), str(place.kubeconfig), ready=False)
    provider.fails = False
    lifecycle.up(place)
    assert provider.calls == ["create", "delete", "create"]
    assert owner.read(place.record) == Record("local", str(place.checkout), str(place.kubeconfig), ready=True)


def test_a_cluster_that_no_longer_answers_is_made_anew(place: Place, provider: FakeProvider) -> None:
    lifecycle.up(place)
    provider.alive = False
    lifecycle.up(place)
    assert provider.calls == ["create", "delete", "create"]


def other_s_record(other: Path) -> Record:
    """A ready cluster of another checkout, whose kubeconfig need not be in its folder."""
    kubeconfig = other.with_name("kubeconfig-of-the-other")
    kubeconfig.write_text("{}")
    return Record("local", str(other), str(kubeconfig), ready=True)


def test_another_checkout_s_running_cluster_is_left_alone(place: Place, provider: FakeProvider, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    owner.write(place.record, other_s_record(other))
    provider.alive = True
    with pytest.raises(StepError, match=f"belongs to the checkout {other}"):
        lifecycle.up(place)
    with pytest.raises(StepError, match=f"belongs to the checkout {other}"):
        lifecycle.down(place, purge=False)
    assert provider.calls == []


@pytest.mark.parametrize("reason", ["its folder is gone", "its cluster is dead"])
def test_a_dead_owner_s_cluster_is_taken_over(
    place: Place, provider: FakeProvider, tmp_path: Path, reason: str
) -> None:
    other = tmp_path / "other"
    if reason == "its cluster is dead":
        other.mkdir()
    provider.alive = reason == "its folder is gone"
    owner.write(place.record, other_s_record(other))
    lifecycle.up(place)
    assert provider.calls == ["delete", "create"]
    assert owner.read(place.record) == Record("local", str(place.checkout), str(place.kubeconfig), ready=True)


def test_down_forgets_the_cluster_and_keeps_the_caches_unless_purged(place: Place, provider: FakeProvider) -> None:
    lifecycle.up(place)
    lifecycle.down(place, purge=False)
    assert provider.calls == ["create", "delete"]
    assert not place.kubeconfig.exists()
    assert owner.read(place.record) is None
    lifecycle.down(place, purge=True)
    assert provider.calls[-1] == "purge"


def test_down_refuses_while_the_checkout_uses_a_context_of_the_user(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONTEXT", raising=False)
    place.state.mkdir()
    place.choice.write_text('{"provider": "context", "context": "prod"}')
    with pytest.raises(StepError, match="'prod' is yours"):
        lifecycle.down(place, purge=True)


def test_kubectl_without_a_cluster_says_how_to_get_one(place: Place) -> None:
    with pytest.raises(StepError, match="run `make cluster`"):
        lifecycle.kubectl(place)


def test_the_kubeconfig_is_readable_by_its_owner_alone(place: Place, provider: FakeProvider) -> None:
    lifecycle.up(place)
    assert provider.alive
    assert place.kubeconfig.stat().st_mode & 0o777 == 0o600
