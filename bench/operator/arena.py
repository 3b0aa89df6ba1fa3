"""The cluster side of the benchmark: namespaces and Widgets that are made, looked at and removed."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from bench.operator.measure import parse_metrics
from bench.operator.widget import CONFIG_MAPS, CRDS, crd, widget, widgets
from shieldx_operator.engine.client import ApiError, Client
from shieldx_operator.engine.connection import Cluster
from shieldx_operator.engine.metrics import Metrics
from shieldx_operator.engine.types import Obj, Query, Ref, Resource

NAMESPACES = Resource("", "v1", "Namespace", "namespaces", namespaced=False)
_CREATORS = 24
_READY_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Arena:
    """One namespace with one CRD of its own."""

    client: Client
    group: str
    namespace: str

    @property
    def resource(self) -> Resource:
        return widgets(self.group)

    def ref(self, name: str) -> Ref:
        return Ref(self.resource, self.namespace, name)

    def config_map(self, name: str) -> Ref:
        return Ref(CONFIG_MAPS, self.namespace, name)

    async def install(self) -> None:
        """The CRD, served."""
        await self.client.apply(self._crd, crd(self.group))
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while True:
            try:
                await self.client.find(Query(self.resource, "default", limit=1))
            except ApiError:
                if time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(0.2)
            else:
                return

    async def open(self) -> None:
        """The namespace."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        await self.client.apply(Ref(NAMESPACES, "", self.namespace), namespace)

    async def close(self) -> None:
        """Delete the namespace; no finalizer of the engine's keeps it."""
        for item in await self.client.find(Query(self.resource, self.namespace, limit=100_000)):
            meta = item["metadata"]
            if meta.get("finalizers"):
                await self.client.set_finalizers(self.ref(meta["name"]), [], meta["resourceVersion"])
        await self.delete(Ref(NAMESPACES, "", self.namespace))

    async def uninstall(self) -> None:
        await self.delete(self._crd)

    @property
    def _crd(self) -> Ref:
        return Ref(CRDS, "", f"widgets.{self.group}")

    async def create(self, name: str, **spec: object) -> Obj:
        return await self.client.create(self.resource, self.namespace, widget(self.group, self.namespace, name, **spec))

    async def create_many(self, names: Sequence[str]) -> None:
        slots = asyncio.Semaphore(_CREATORS)

        async def one(name: str) -> None:
            async with slots:
                try:
                    await self.create(name, data={"greeting": "hello", "name": name})
                except ApiError as error:
                    if error.status != HTTPStatus.CONFLICT:
                        raise

        await asyncio.gather(*(one(name) for name in names))

    async def delete(self, ref: Ref) -> None:
        there = await self.client.get(ref)
        if there is not None:
            await self.client.delete(ref, there["metadata"]["uid"])

    async def versions(self) -> dict[str, str]:
        """The resourceVersion of each Widget and ConfigMap there is."""
        found = {}
        for resource in (self.resource, CONFIG_MAPS):
            async for meta in self.client.all_metadata(resource, self.namespace):
                found[f"{resource.plural}/{meta['name']}"] = meta["resourceVersion"]
        return found

    async def config_maps(self) -> int:
        return sum(
            [1 async for m in self.client.all_metadata(CONFIG_MAPS, self.namespace) if m["name"] != "kube-root-ca.crt"]
        )

    async def until_there(self, ref: Ref, timeout_s: float) -> float | None:
        """Seconds until the object is there; None if it is not in time."""
        started_s = time.monotonic()
        while time.monotonic() - started_s < timeout_s:
            if await self.client.get(ref) is not None:
                return time.monotonic() - started_s
            await asyncio.sleep(0.005)
        return None

    async def until_gone(self, ref: Ref, timeout_s: float) -> bool:
        """Whether the object is gone in time."""
        started_s = time.monotonic()
        while time.monotonic() - started_s < timeout_s:
            if await self.client.get(ref) is None:
                return True
            await asyncio.sleep(0.1)
        return False

    async def server_writes(self) -> float:
        """Writes to Widgets that the API server itself has counted since its start."""
        answer = await self.client.api.call_api("GET", f"{self.client.api.configuration.host}/metrics")
        samples = parse_metrics((await answer.read()).decode())  # type: ignore[no-untyped-call]
        return sum(
            v
            for n, labels, v in samples
            if n == "apiserver_request_total"
            and labels.get("group") == self.group
            and labels.get("verb") in ("POST", "PUT", "PATCH", "APPLY", "DELETE")
        )


@contextlib.asynccontextmanager
async def arena(kubeconfig: str, group: str, namespace: str) -> AsyncIterator[Arena]:
    """A prepared arena, removed at the end whatever happens."""
    async with await Cluster(kubeconfig=kubeconfig).client() as api:
        made = Arena(Client(api, Metrics()), group, namespace)
        await made.install()
        try:
            await made.open()
            yield made
        finally:
            await made.close()
            await made.uninstall()
