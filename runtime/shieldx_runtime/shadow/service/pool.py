"""Processes that judge, kept warm. The one that answers HTTP never judges: a large evaluation must not make it slow."""

import asyncio
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Final

from shieldx_runtime.shadow.evaluation import Evaluation, engine, evaluate
from shieldx_runtime.shadow.service.slate import Slate
from shieldx_runtime.shadow.task import Task

_TRIES: Final = 2


class Pool:
    """`size` processes, made anew when one was killed."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size or max(1, len(os.sched_getaffinity(0)))
        self._executor = self._made()

    def _made(self) -> ProcessPoolExecutor:
        # spawned: this process has threads, of which a fork would copy the locks
        return ProcessPoolExecutor(self.size, multiprocessing.get_context("spawn"), initializer=_warm)

    async def judge(self, task: dict[str, Any], slate: Path, timeout_s: float) -> Evaluation:
        """Judge a task in one process, which tells on `slate` how far it is and stops when that says so.

        Raises:
            TaskError, DataError: as `evaluation.evaluate`.
            CancelledError: it took longer than `timeout_s`, or was stopped.
            RuntimeError: its process was killed, twice.
        """
        for _ in range(_TRIES):
            executor = self._executor
            try:
                return await asyncio.get_running_loop().run_in_executor(executor, _judge, task, slate, timeout_s)
            except BrokenProcessPool:
                # whoever sees it first makes a new one for all
                if executor is self._executor:
                    self._executor = self._made()
                    executor.shutdown(wait=False)
        raise RuntimeError("the process that judged was killed twice; the memory limit may be too low")

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


def _warm() -> None:
    """Imports what the first evaluation would have to wait for."""
    engine()


def _judge(task: dict[str, Any], path: Path, timeout_s: float) -> Evaluation:
    until_s = time.monotonic() + timeout_s
    slate = Slate(path)
    try:
        return evaluate(
            Task.from_dict(task), progress=slate.tell, cancelled=lambda: slate.stopped or time.monotonic() > until_s
        )
    finally:
        slate.close()
