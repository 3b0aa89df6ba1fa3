"""Shadow evaluations on a real cluster: real Jobs and pods, and an operator of our own that watches one namespace."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from dev import platform
from dev.cluster import place as places
from shieldx_contract import API_GROUP
from shieldx_operator.blocks.resources import CONFIG_MAP, JOB, POD
from shieldx_operator.engine.client import Client
from shieldx_operator.engine.connection import Cluster
from shieldx_operator.engine.metrics import Metrics
from shieldx_operator.engine.types import Obj, Query, Ref, Resource
from tests.e2e.conftest import AS_INSTALLED
from tests.e2e.waiting import eventually

ROOT = Path(__file__).parents[3]
EVALUATIONS = Resource(API_GROUP, "v1alpha1", "ShadowEvaluation", "shadowevaluations")
NAMESPACES = Resource("", "v1", "Namespace", "namespaces", namespaced=False)
CRDS = Resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)
POLICIES = Resource(
    "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", namespaced=False
)
BINDINGS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybindings",
    namespaced=False,
)
ANSWER_WITHIN_S = 180.0
"""A worker needs two seconds; a busy machine, minutes."""


NAME, LINK = "sxshadow", "198.18.248.0/30"
"""A cluster of these tests' own: an operator of the whole cluster would work on their objects as well."""
UP_TIMEOUT_S = 1800


def environment() -> dict[str, str]:
    """This process's own, but for the names that lead to another cluster."""
    kept = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "CONTEXT")}
    return {**kept, "SHIELDX_CLUSTER_NAME": NAME, "SHIELDX_CLUSTER_LINK": LINK}


def front_door(*arguments: str, stdin: str | None = None, timeout_s: float = 60, check: bool = True) -> str:
    """`python -m dev.cluster` about this cluster: what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "dev.cluster", *arguments],
        cwd=ROOT,
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert not check or done.returncode == 0, f"{' '.join(arguments)}: {(done.stdout + done.stderr)[-3000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[str]:
    """Of the cluster, with the images of this checkout in it. Whoever made it removes it."""
    if os.environ.get("CONTEXT"):
        pytest.skip("CONTEXT names your own cluster; these tests kill operators and workers in one of their own")
    patch = pytest.MonkeyPatch()
    patch.setenv("SHIELDX_CLUSTER_NAME", NAME)
    patch.setenv("SHIELDX_CLUSTER_LINK", LINK)
    place = places.from_environment()
    patch.undo()
    was_up = place.kubeconfig.is_file() and "ok" in front_door("kubectl", "get", "--raw=/readyz", check=False)
    front_door("up", timeout_s=UP_TIMEOUT_S)
    try:
        if not os.environ.get(AS_INSTALLED):
            platform.shown(sys.executable, "-m", "dev.images", "build")
            front_door("load", *(image["archive"] for image in platform.images()), timeout_s=600)
        yield str(place.kubeconfig)
    finally:
        if not was_up:
            front_door("down", timeout_s=300)
            for folder in (place.settings.folder, place.state):
                shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def image() -> str:
    """The runtime's image as this checkout built it; it is in the node and nowhere else."""
    return next(i["name"] for i in platform.images() if "/platform:" in i["name"])


@pytest.fixture(scope="session")
def prepared(kubeconfig: str) -> None:
    """The CRDs of this checkout, and the policy that confines workers."""

    async def install() -> None:
        async with await Cluster(kubeconfig=kubeconfig).client() as api:
            client = Client(api, Metrics())
            for path in sorted((ROOT / "crds").glob("*s.yaml")):
                definition = yaml.safe_load(path.read_text())
                await client.apply(Ref(CRDS, "", definition["metadata"]["name"]), definition)
            policy = (ROOT / "charts" / "shieldx-platform" / "files" / "shadow-workers.yaml").read_text()
            for body, resource in zip(yaml.safe_load_all(policy), (POLICIES, BINDINGS), strict=True):
                await client.apply(Ref(resource, "", body["metadata"]["name"]), body)
            await eventually(lambda: _served(client), 30, "the CRD is served")

    asyncio.run(install())


async def _served(client: Client) -> bool:
    with contextlib.suppress(Exception):
        await client.find(Query(EVALUATIONS, "default", limit=1))
        return True
    return False


@dataclass
class OperatorProcess:
    """An operator as a process of its own, which watches one namespace."""

    process: subprocess.Popen[str]
    output: Path
    killed: bool = False

    def kill(self) -> None:
        """As the kernel does it: no warning, no last word."""
        self.killed = True
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


@dataclass
class Ground:
    """One namespace whose pods must be restricted, its operators, and questions about its evaluations."""

    client: Client
    namespace: str
    kubeconfig: str
    image: str
    folder: Path
    operators: list[OperatorProcess] = field(default_factory=list)

    def start_operator(self) -> OperatorProcess:
        number = len(self.operators)
        output = self.folder / f"operator-{number}.log"
        environment = {
            **os.environ,
            "POD_NAMESPACE": self.namespace,
            "POD_NAME": f"op-{number}",
            "SHIELDX_WATCH_NAMESPACES": self.namespace,
            "SHIELDX_RUNTIME_IMAGE": self.image,
            "SHIELDX_IMAGE_PULL_POLICY": "Never",
            "SHIELDX_OPERATOR_PORT": "0",
        }
        command = [sys.executable, "-m", "shieldx_operator", "run", "--kubeconfig", self.kubeconfig]
        with output.open("w") as sink:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT, text=True
            )
        made = OperatorProcess(process, output)
        self.operators.append(made)
        return made

    def revive(self) -> None:
        """As the kubelet does it: an operator that ended by itself (a busy machine cost it its lease) starts again."""
        if self.operators and self.operators[-1].process.poll() is not None and not self.operators[-1].killed:
            self.start_operator()

    def stop_operators(self) -> None:
        for operator in self.operators:
            if operator.process.poll() is None:
                operator.kill()

    def ref(self, name: str) -> Ref:
        return Ref(EVALUATIONS, self.namespace, name)

    async def config_map(self, name: str, data: dict[str, str]) -> None:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        await self.client.apply(Ref(CONFIG_MAP, self.namespace, name), body)

    async def ask(self, name: str, **spec: Any) -> Obj:
        body = {
            "apiVersion": EVALUATIONS.api_version,
            "kind": EVALUATIONS.kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        return await self.client.create(EVALUATIONS, self.namespace, body)

    async def change(self, name: str, **spec: Any) -> None:
        """Merge fields into a spec, as a person's `kubectl apply` of a changed file does; None removes one."""
        for _ in range(10):
            there = await self.there(name)
            wanted = {k: v for k, v in {**there["spec"], **spec}.items() if v is not None}
            with contextlib.suppress(Exception):
                await self.client.replace(self.ref(name), {**there, "spec": wanted})
                return
        raise AssertionError(f"{name} could not be changed")

    async def there(self, name: str) -> Obj:
        found = await self.client.get(self.ref(name))
        assert found is not None, f"{name} is not there"
        return found

    async def status(self, name: str) -> Obj:
        told: Obj = (await self.there(name)).get("status") or {}
        return told

    async def condition(self, name: str, kind: str) -> Obj:
        conditions = (await self.status(name)).get("conditions") or []
        return next((c for c in conditions if c["type"] == kind), {})

    async def answer(self, name: str, timeout_s: float = ANSWER_WITHIN_S) -> Obj:
        """The status once it is Ready for the present generation."""

        async def ready() -> Obj | None:
            self.revive()
            there = await self.there(name)
            told: Obj = there.get("status") or {}
            now = told.get("observedGeneration") == there["metadata"]["generation"]
            good = any(c["type"] == "Ready" and c["status"] == "True" for c in told.get("conditions") or ())
            return told if now and good else None

        try:
            found: Obj = await eventually(ready, timeout_s, f"the answer of {name}")
        except AssertionError as late:
            raise AssertionError(f"{late}; status: {json.dumps(await self.status(name), indent=1)[:3000]}") from None
        return found

    async def pods(self, name: str) -> list[Obj]:
        selector = f"app.kubernetes.io/name=shadow-evaluation,app.kubernetes.io/instance={name}"
        return await self.client.find(Query(POD, self.namespace, label_selector=selector))

    async def jobs(self, name: str) -> list[Obj]:
        selector = f"app.kubernetes.io/name=shadow-evaluation,app.kubernetes.io/instance={name}"
        return await self.client.find(Query(JOB, self.namespace, label_selector=selector))

    async def delete(self, ref: Ref) -> None:
        there = await self.client.get(ref)
        if there is not None:
            await self.client.delete(ref, there["metadata"]["uid"])


@pytest_asyncio.fixture
async def ground(kubeconfig: str, image: str, prepared: None, tmp_path: Path) -> AsyncIterator[Ground]:  # noqa: ARG001
    namespace = f"shieldx-shadow-{secrets.token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    async with await Cluster(kubeconfig=kubeconfig).client() as api:
        made = Ground(Client(api, Metrics()), namespace, kubeconfig, image, tmp_path)
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
        await made.client.apply(Ref(NAMESPACES, "", namespace), body)
        try:
            yield made
        finally:
            made.stop_operators()
            await made.delete(Ref(NAMESPACES, "", namespace))


@pytest.fixture
def kubectl(ground: Ground) -> Callable[..., str]:
    """kubectl in the test's namespace."""
    return lambda *arguments, stdin=None: front_door("kubectl", "-n", ground.namespace, *arguments, stdin=stdin)
