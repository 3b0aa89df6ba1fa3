"""An operator's process that dies in the middle of a look."""

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from shieldx_operator.engine.client import Client
from shieldx_operator.engine.events import Recorder
from shieldx_operator.engine.metrics import Metrics
from shieldx_operator.engine.reconcile import Reconciler
from shieldx_operator.engine.types import Kind, Obj


class Crash(BaseException):
    """The process is gone at this point."""


@dataclass(slots=True)
class MortalClient(Client):
    """Its process dies when call number `lives` was carried out by the server and before its answer is seen."""

    lives: int = 10**9
    made: int = field(default=0)

    async def _call(self, request: Any) -> Obj:
        self.made += 1
        answer = await Client._call(self, request)
        if self.made >= self.lives:
            raise Crash
        return answer


@contextlib.asynccontextmanager
async def mortal_reconciler(client: Client, kind: Kind, lives: int) -> AsyncIterator[Reconciler]:
    """A new process, as far as its memory goes, that dies with its call number `lives`."""
    metrics = Metrics()
    mortal = MortalClient(client.api, metrics, lives=lives)
    async with aiohttp.ClientSession() as http:
        recorder = Recorder(mortal, metrics, instance="test", controller="test")
        yield Reconciler(mortal, {kind.resource: kind}, recorder, http, os.urandom)
