import json
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import NoReturn

import pytest

from dev.cluster import providers
from dev.cluster.place import Place
from dev.localkube.process import StepError


def machine(
    monkeypatch: pytest.MonkeyPatch, *, engine: str | None, image: bool = False, registry: bool = False
) -> None:
    monkeypatch.setattr(providers, "answering_engine", lambda: engine)
    monkeypatch.setattr(providers, "has_node_image", lambda _engine: image)
    monkeypatch.setattr(providers, "registry_answers", lambda _url: registry)


@pytest.mark.parametrize(
    ("engine", "image", "registry", "kind"),
    [
        (None, False, False, "local"),
        (None, False, True, "local"),
        ("docker", False, False, "local"),
        ("docker", False, True, "docker"),
        ("podman", False, True, "podman"),
        ("docker", True, False, "docker"),
    ],
)
def test_the_public_image_needs_an_engine_and_either_the_image_or_a_registry(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    engine: str | None,
    image: bool,
    registry: bool,
    kind: str,
) -> None:
    machine(monkeypatch, engine=engine, image=image, registry=registry)
    assert providers.choose(place, print, "").kind == kind


def test_a_named_context_wins_over_everything(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, engine="docker", image=True, registry=True)
    assert providers.choose(place, print, "mine").kind == "context"


def test_it_says_why_it_makes_an_engine_of_its_own(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, engine="docker")
    said: list[str] = []
    providers.choose(place, said.append, "")
    assert "docker runs" in said[0]
    assert providers.REGISTRY in said[0]


@pytest.mark.parametrize(("code", "speaks"), [(401, True), (403, False), (502, False)])
def test_a_registry_that_asks_for_a_login_answers_and_a_proxy_s_refusal_does_not(
    monkeypatch: pytest.MonkeyPatch, code: int, speaks: bool
) -> None:
    def refuse(url: str, timeout: float) -> NoReturn:
        assert timeout <= 5
        raise urllib.error.HTTPError(url, code, "", Message(), None)

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert providers.registry_answers("https://registry.example/v2/") is speaks


def test_an_engine_that_hangs_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> NoReturn:
        raise StepError("took longer than 4 s")

    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(providers, "run", hang)
    assert providers.answering_engine() is None


def test_the_context_s_cluster_is_named_and_an_unknown_context_is_refused() -> None:
    view = json.dumps({"clusters": [{"cluster": {"server": "https://10.0.0.1:6443"}}]})
    assert providers.server_of(view, "mine") == "https://10.0.0.1:6443"
    with pytest.raises(StepError, match="CONTEXT=other: your kubeconfig has no such context"):
        providers.server_of('{"clusters": null}', "other")


def test_a_context_s_cluster_is_never_deleted() -> None:
    provider = providers.ContextProvider(print, "prod")
    for refuse in (provider.delete, provider.purge):
        with pytest.raises(StepError, match="'prod' is yours and is not deleted"):
            refuse()


def test_using_a_context_writes_only_that_context_and_says_which_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "kubectl"
    view = json.dumps({"clusters": [{"cluster": {"server": "https://10.0.0.1:6443"}}]})
    fake.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/asked\necho '{view}'\n")
    fake.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda _name: str(fake))
    said: list[str] = []
    providers.ContextProvider(said.append, "mine").create(tmp_path / "kubeconfig")
    assert json.loads((tmp_path / "kubeconfig").read_text()) == json.loads(view)
    assert "--context=mine" in (tmp_path / "asked").read_text()
    assert "https://10.0.0.1:6443" in said[0]
