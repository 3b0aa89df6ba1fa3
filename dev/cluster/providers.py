"""Three ways to a cluster, one interface: the user's context, kind with the public image, kind made on this machine."""

import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from dev.cluster import kindconfig
from dev.cluster.place import Place
from dev.localkube import binaries
from dev.localkube.cluster import LocalKind
from dev.localkube.process import StepError, run

# kind v0.30.0 with the image that its release was tested with.
PUBLIC_NODE_IMAGE = "kindest/node:v1.34.0@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a"
REGISTRY = "https://registry-1.docker.io/v2/"
PROBE_TIMEOUT_S = 4
CREATE_TIMEOUT_S = 900  # the image is 1 GB, and lines are slow

Say = Callable[[str], None]


class Provider(Protocol):
    """A way to a cluster. ``kubectl`` is a command's beginning; every method may raise StepError."""

    kind: str

    def create(self, kubeconfig: Path) -> None: ...

    def delete(self) -> None: ...

    def purge(self) -> None: ...

    def kubectl(self) -> list[str]: ...

    def node_command(self, *argv: str) -> list[str]: ...


class LocalProvider:
    """Engine and node image made on this machine."""

    kind = "local"

    def __init__(self, place: Place, say: Say) -> None:
        self._cluster = LocalKind(place.settings, say)

    def create(self, kubeconfig: Path) -> None:
        self._cluster.create(kindconfig.render(self._cluster.networking()), kubeconfig)

    def delete(self) -> None:
        self._cluster.delete()

    def purge(self) -> None:
        self._cluster.purge()

    def kubectl(self) -> list[str]:
        return self._cluster.kubectl()

    def node_command(self, *argv: str) -> list[str]:
        return self._cluster.node_command(*argv)


class PublicProvider:
    """The public node image on the user's engine (``docker`` or ``podman``)."""

    def __init__(self, place: Place, say: Say, engine: str) -> None:
        self.kind = engine
        self._place, self._say = place, say

    def create(self, kubeconfig: Path) -> None:
        config = kubeconfig.with_name("kind.json")
        config.write_text(kindconfig.render())
        self._say(f"kind create cluster (with {self.kind} and {PUBLIC_NODE_IMAGE.partition('@')[0]})")
        arguments = [
            "create",
            "cluster",
            f"--name={self._place.name}",
            f"--image={PUBLIC_NODE_IMAGE}",
            f"--config={config}",
        ]
        run(
            [*self._kind(), *arguments, f"--kubeconfig={kubeconfig}", "--wait=120s"],
            timeout_s=CREATE_TIMEOUT_S,
            env=self._environment(),
        )

    def delete(self) -> None:
        run([*self._kind(), "delete", "cluster", f"--name={self._place.name}"], timeout_s=120, env=self._environment())

    def purge(self) -> None:
        run([self.kind, "image", "rm", "--force", PUBLIC_NODE_IMAGE], timeout_s=120, check=False)
        shutil.rmtree(self._place.settings.cache, ignore_errors=True)

    def kubectl(self) -> list[str]:
        return system_kubectl()

    def node_command(self, *argv: str) -> list[str]:
        return [self.kind, "exec", "--interactive", f"{self._place.name}-control-plane", *argv]

    def _kind(self) -> list[str]:
        return [str(binaries.build_program(binaries.KIND, self._place.settings.cache, self._say))]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "KIND_EXPERIMENTAL_PROVIDER": self.kind}


class ContextProvider:
    """A context of the user's own kubeconfig: used, never made and never deleted."""

    kind = "context"

    def __init__(self, say: Say, context: str) -> None:
        self._say, self._context = say, context

    def create(self, kubeconfig: Path) -> None:
        view = ["config", "view", "--minify", "--flatten", f"--context={self._context}"]
        text = run([*self.kubectl(), *view, "--output=json"], timeout_s=20).stdout
        self._say(
            f"context {self._context}: this touches the cluster at {server_of(text, self._context)}; nothing is made"
        )
        kubeconfig.write_text(text)

    def delete(self) -> None:
        raise StepError(
            f"the cluster of context {self._context!r} is yours and is not deleted; "
            "remove what you installed there with kubectl or helm, and unset CONTEXT"
        )

    def purge(self) -> None:
        self.delete()

    def kubectl(self) -> list[str]:
        return system_kubectl()

    def node_command(self, *argv: str) -> list[str]:
        raise StepError(
            f"the nodes of context {self._context!r} are not ours to enter (asked to run {argv[0]!r}); "
            "images reach that cluster through a registry"
        )


def server_of(view: str, context: str) -> str:
    """The API server's address out of a minified kubeconfig in JSON.

    Raises:
        StepError: the context names no cluster.
    """
    clusters: list[dict[str, Any]] = json.loads(view).get("clusters") or []
    if not clusters:
        raise StepError(
            f"CONTEXT={context}: your kubeconfig has no such context; `kubectl config get-contexts` lists them"
        )
    return str(clusters[0]["cluster"]["server"])


def system_kubectl() -> list[str]:
    found = shutil.which("kubectl")
    if found is None:
        raise StepError("kubectl is not on this machine: install it (https://kubernetes.io/docs/tasks/tools)")
    return [found]


def choose(place: Place, say: Say, context: str) -> Provider:
    """The user's context, else an engine with a registry, else this machine's own engine. Asks, and guesses nothing."""
    if context:
        return ContextProvider(say, context)
    engine = answering_engine()
    if engine and (has_node_image(engine) or registry_answers(REGISTRY)):
        return PublicProvider(place, say, engine)
    reason = f"{engine} runs, but {REGISTRY} does not answer" if engine else "no container engine runs"
    say(f"{reason}: engine and node image are made on this machine")
    return LocalProvider(place, say)


def of_kind(place: Place, say: Say, kind: str, context: str = "") -> Provider:
    """The provider that a record names."""
    if kind == "context":
        return ContextProvider(say, context)
    return LocalProvider(place, say) if kind == "local" else PublicProvider(place, say, kind)


def answering_engine() -> str | None:
    for engine in ("docker", "podman"):
        if shutil.which(engine) is None:
            continue
        try:
            if run([engine, "info"], timeout_s=PROBE_TIMEOUT_S, check=False).returncode == 0:
                return engine
        except StepError:  # it hangs: an engine that does not answer is none
            continue
    return None


def has_node_image(engine: str) -> bool:
    return run([engine, "image", "inspect", PUBLIC_NODE_IMAGE], timeout_s=10, check=False).returncode == 0


def registry_answers(url: str) -> bool:
    """Whether a registry speaks its protocol at ``url`` (it may ask for a login)."""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_TIMEOUT_S):  # noqa: S310 -- a constant of https
            return True
    except urllib.error.HTTPError as answer:
        return answer.code == 401  # noqa: PLR2004 -- Unauthorized is how a registry says hello
    except OSError:
        return False
