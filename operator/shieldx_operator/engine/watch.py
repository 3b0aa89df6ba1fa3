"""kopf as the watcher, and nothing else: each event only names a key.

kopf runs in a thread of its own with a loop of its own: it takes over signals where it runs in the main thread, and
when it ends it cancels every task of its loop that is younger than itself. If it ends (a watch that is refused ends
it), that is seen by `WatchLedger` and it is started again.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import kopf
import structlog
import uvloop
from yarl import URL

from shieldx_contract import LABEL_MANAGED_BY, LABEL_OWNER_KIND, LABEL_OWNER_NAME, MANAGED_BY
from shieldx_operator.engine.client import path_of
from shieldx_operator.engine.connection import Cluster, ssl_context
from shieldx_operator.engine.ledger import WatchLedger
from shieldx_operator.engine.metrics import Metrics
from shieldx_operator.engine.names import CONCERNS_ANNOTATION
from shieldx_operator.engine.types import Kind, Obj, Ref, Resource

SERVER_TIMEOUT_S: Final = 240
_CHUNK: Final = 250
_MAX_CONCERNED: Final = 32
_RETRIES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
_RESTART_MIN_S: Final = 2.0
_RESTART_MAX_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 8.0
_log = structlog.get_logger(__name__)

Touched = Callable[[Ref, bool], None]
"""Called in the watcher's thread with a key and whether it only appeared in the first list."""


def parent_of(obj: Obj, kinds: Mapping[tuple[str, str], Resource]) -> Ref | None:
    """The registered custom resource that an owned object belongs to, by its controller or else by its labels.

    `kinds` holds the registered resources by group and kind.
    """
    metadata = obj.get("metadata", {})
    namespace = metadata.get("namespace", "")
    for reference in metadata.get("ownerReferences") or ():
        group = str(reference.get("apiVersion", "")).rpartition("/")[0]
        resource = kinds.get((group, str(reference.get("kind"))))
        if reference.get("controller") and resource is not None:
            return Ref(resource, namespace, str(reference.get("name")))
    labels = metadata.get("labels") or {}
    for (_, kind), resource in kinds.items():
        if labels.get(LABEL_OWNER_KIND) == kind and labels.get(LABEL_OWNER_NAME):
            return Ref(resource, namespace, labels[LABEL_OWNER_NAME])
    return None


def led_to(obj: Obj, kinds: Mapping[tuple[str, str], Resource]) -> list[Ref]:
    """Every registered custom resource that must look again when `obj` changes: its own one, and those it concerns."""
    parent = parent_of(obj, kinds)
    metadata = obj.get("metadata", {})
    by_name = {kind: resource for (_, kind), resource in kinds.items()}
    concerned = str((metadata.get("annotations") or {}).get(CONCERNS_ANNOTATION, "")).split()[:_MAX_CONCERNED]
    others = [entry.partition("/") for entry in concerned]
    found = [Ref(by_name[kind], metadata.get("namespace", ""), name) for kind, _, name in others if kind in by_name]
    return [*([parent] if parent else []), *found]


@dataclass(slots=True)
class Watcher:
    """Watches the resources of `kinds` and what they own, in `namespaces` (none: everywhere)."""

    cluster: Cluster
    kinds: Sequence[Kind]
    namespaces: Sequence[str]
    touched: Touched
    metrics: Metrics
    server_timeout_s: int = SERVER_TIMEOUT_S
    seen: dict[Ref, str] = field(default_factory=dict)
    """The resourceVersion of each parent as the watch last told it."""
    ledger: WatchLedger = field(init=False)
    _thread: threading.Thread | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _task: asyncio.Task[None] | None = None
    _stopping: bool = False

    def __post_init__(self) -> None:
        self.ledger = WatchLedger(self.server_timeout_s, time.monotonic())
        for resource in self._resources():
            self.ledger.expect(path_of(resource, namespace) for namespace in self.namespaces or ("",))

    def _resources(self) -> list[Resource]:
        return sorted({r for kind in self.kinds for r in (kind.resource, *kind.owned)})

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the watches; returns when the thread is gone, or after a few seconds without it."""
        self._stopping = True
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)
        if self._thread is not None:
            self._thread.join(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._supervise())
        except asyncio.CancelledError:
            _log.debug("watcher stopped")
        finally:
            if not self._stopping:
                self.ledger.dead = "the watcher's thread ended"

    async def _supervise(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        delay_s = _RESTART_MIN_S
        while not self._stopping:
            started_s = time.monotonic()
            try:
                await self._kopf()
                why = "kopf ended"
            except Exception as error:  # noqa: BLE001 - whatever ended kopf, the operator must go on and say so
                why = f"kopf ended: {type(error).__name__}: {error}"
            if self._stopping:
                return
            self.ledger.dead = why
            _log.error("watcher ended; it is started again", why=why, delay_s=delay_s)
            await asyncio.sleep(delay_s)
            lived_s = time.monotonic() - started_s
            delay_s = _RESTART_MIN_S if lived_s > self.server_timeout_s else min(_RESTART_MAX_S, delay_s * 2)
            self.ledger.dead = ""

    async def _kopf(self) -> None:
        await kopf.operator(
            registry=self._registry(),
            settings=self._settings(),
            standalone=True,
            # of peering, which is off; kopf would make one from the user's name, and a pod's user has none
            identity="shieldx-operator",  # type: ignore[arg-type]
            clusterwide=not self.namespaces,
            namespaces=list(self.namespaces),
        )

    def _settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.scanning.disabled = True  # no permission to list CRDs and namespaces is needed
        settings.watching.server_timeout = self.server_timeout_s  # an integer: the API server refuses 240.0
        settings.watching.chunk_size = _CHUNK
        settings.networking.error_backoffs = _RETRIES_S
        settings.networking.connect_timeout = 10.0
        settings.networking.request_timeout = 60.0
        settings.queueing.idle_timeout = 0.1  # one task for each object lives this long: a burst must not hold memory
        settings.queueing.exit_timeout = 1.0
        parents = {kind.resource for kind in self.kinds}
        for resource in self._resources():
            if resource not in parents:
                key = (resource.group, resource.version, resource.plural)
                settings.watching.label_selectors[key] = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
        return settings

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        parents = {kind.resource for kind in self.kinds}
        for resource in self._resources():
            handler = self._on_parent(resource) if resource in parents else self._on_owned()
            kopf.on.event(resource.group, resource.version, resource.plural, registry=registry, id="touch")(handler)
        return registry

    def _on_parent(self, resource: Resource) -> Callable[..., Any]:
        touch_owner = self._on_owned()

        async def touch(event: Mapping[str, Any], **_: Any) -> None:
            metadata = event["object"]["metadata"]
            ref = Ref(resource, metadata.get("namespace", ""), metadata["name"])
            if event["type"] == "DELETED":
                self.seen.pop(ref, None)
            else:
                self.seen[ref] = metadata["resourceVersion"]
            self.touched(ref, event["type"] is None)
            # a custom resource may be made by another one, which waits for what comes of it
            await touch_owner(event)

        return touch

    def _on_owned(self) -> Callable[..., Any]:
        kinds = {(kind.resource.group, kind.resource.kind): kind.resource for kind in self.kinds}

        async def touch(event: Mapping[str, Any], **_: Any) -> None:
            # what was there at the start needs no look of its own: its parent is in the first list as well
            if event["type"] is not None:
                for ref in led_to(event["object"], kinds):
                    self.touched(ref, False)

        return touch

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        configuration = await self.cluster.configuration()
        token = await configuration.get_api_key_with_prefix("BearerToken")
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=ssl_context(configuration)),
            headers={"Authorization": token} if token else {},
            trace_configs=[self._trace()],
        )
        return kopf.AiohttpSession(server=configuration.host, aiohttp_session=session)

    def _trace(self) -> aiohttp.TraceConfig:
        trace = aiohttp.TraceConfig()

        async def ended(_: Any, __: Any, params: aiohttp.TraceRequestEndParams) -> None:
            self.ledger.answered(params.url.path, params.response.status, time.monotonic())
            self._count(params.url, str(params.response.status))

        async def failed(_: Any, __: Any, params: aiohttp.TraceRequestExceptionParams) -> None:
            self.ledger.unreachable(params.url.path, time.monotonic())
            self._count(params.url, "error")

        trace.on_request_end.append(ended)
        trace.on_request_exception.append(failed)
        return trace

    def _count(self, url: URL, code: str) -> None:
        if url.path in self.ledger.paths:
            verb = "watch" if url.query.get("watch") == "true" else "list"
            self.metrics.api_calls.labels(verb, url.name, code).inc()
