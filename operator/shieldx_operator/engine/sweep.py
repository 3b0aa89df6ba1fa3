"""The list that checks the watch: finds objects that no event told of, and watches that tell nothing any more."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from shieldx_operator.engine.client import ApiError, Client, path_of
from shieldx_operator.engine.types import Ref, Resource
from shieldx_operator.engine.watch import Watcher

_PATIENCE_S: Final = 30.0
_MAX_CHECKED: Final = 10
_log = structlog.get_logger(__name__)


def suspects(listed: Mapping[Ref, str], seen: Mapping[Ref, str]) -> dict[Ref, str | None]:
    """Objects that a list shows otherwise than the watch did, with what the watch knows of them.

    Versions are compared for equality only: they are opaque.
    """
    found = {ref: seen.get(ref) for ref, version in listed.items() if seen.get(ref) != version}
    gone = {ref: version for ref, version in seen.items() if ref not in listed}
    return {**found, **gone}


def still_suspect(before: Mapping[Ref, str | None], seen: Mapping[Ref, str]) -> list[Ref]:
    """Of the suspects, those of which the watch has told nothing since."""
    return sorted(ref for ref, version in before.items() if seen.get(ref) == version)


@dataclass(slots=True)
class Sweep:
    """Every `period_s` seconds, one list of metadata for each kind and namespace."""

    client: Client
    watcher: Watcher
    resources: Sequence[Resource]
    namespaces: Sequence[str]
    add: Callable[[Ref], None]
    known: Callable[[Ref], bool]
    period_s: float

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.period_s)
            for resource in self.resources:
                for namespace in self.namespaces or ("",):
                    try:
                        await self.once(resource, namespace)
                    except ApiError as error:
                        _log.warning("sweep failed", resource=resource.plural, reason=error.reason)

    async def once(self, resource: Resource, namespace: str) -> None:
        listed = {}
        async for metadata in self.client.all_metadata(resource, namespace):
            ref = Ref(resource, metadata.get("namespace", ""), metadata["name"])
            listed[ref] = metadata["resourceVersion"]
            if not self.known(ref):
                _log.info("found without an event", of=str(ref))
                self.add(ref)
        path = path_of(resource, namespace)
        before = suspects(listed, self._seen(resource, namespace))
        if before:
            await asyncio.sleep(_PATIENCE_S)
        missed = [
            ref
            for ref in still_suspect(before, self._seen(resource, namespace))[:_MAX_CHECKED]
            if await self._differs(ref)
        ]
        if missed:
            self.watcher.ledger.deaf[path] = f"did not tell of a change of {missed[0]} and {len(missed) - 1} others"
        else:
            self.watcher.ledger.deaf.pop(path, None)

    async def _differs(self, ref: Ref) -> bool:
        """Whether the watch is still wrong about an object: it may have come and gone since the list."""
        live = await self.client.get(ref)
        version = None if live is None else live["metadata"]["resourceVersion"]
        return self.watcher.seen.get(ref) != version

    def _seen(self, resource: Resource, namespace: str) -> dict[Ref, str]:
        return {
            ref: version
            for ref, version in list(self.watcher.seen.items())
            if ref.resource == resource and namespace in ("", ref.namespace)
        }
