"""A whole evaluation, or one shard of it: passes over the data, in this process or in a pool of them."""

import hashlib
import itertools
import multiprocessing
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from shieldx_runtime.shadow.draw import Strata
from shieldx_runtime.shadow.errors import DataError
from shieldx_runtime.shadow.judging import Judge, Mistake, Part, Question
from shieldx_runtime.shadow.records import CHUNK_BYTES, Chunk, csv_chunks, ndjson_chunks, parquet_chunks
from shieldx_runtime.shadow.source import S3Credentials, opened
from shieldx_runtime.shadow.surprise import Bigrams
from shieldx_runtime.shadow.task import Data, S3Object, Task
from shieldx_verdict import Counts

POOL_FROM_CHUNKS: Final = 4
"""Fewer chunks are judged sooner here than by processes that must be started first."""
AHEAD: Final = 3
"""Chunks a process that are read before one is judged: what bounds the memory."""

Progress = Callable[[int], None]


class CancelledError(RuntimeError):
    """Whoever asked does not want to know any more."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was counted, the mistakes to read, and what it was counted on and by.

    `dataset_digest` is the SHA-256 of the data, decompressed; of a Parquet file, of the file.
    """

    counts: Counts
    false_positives: tuple[Mistake, ...]
    false_negatives: tuple[Mistake, ...]
    dataset_digest: str
    engine: str


@cache
def engine() -> str:
    """Name and version of what judges: results of another engine are other results."""
    return ", ".join(f"{name} {version(name)}" for name in ("shieldx-platform", "google-re2", "pyarrow"))


def evaluate(
    task: Task,
    shard: int = 0,
    *,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = bool,
    credentials: S3Credentials | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Evaluation:
    """Judge one shard of a task. `progress` is told how many samples were judged; `cancelled` is asked now and then.

    Raises:
        TaskError: a rule cannot be compiled.
        DataError: the data cannot be read.
        CancelledError: `cancelled` said so.
        RuntimeError: a process of the pool was killed.
    """
    question = Question(task.rule, task.baseline, task.seed, shard, task.shards, task.batch_size)
    judge = Judge(question)
    with ExitStack() as stack:
        data = _local(task.data, credentials, stack)
        run = _Passes(data, credentials, 1 if judge.has_state else task.workers, cancelled, chunk_bytes)
        if judge.learns:
            model = Bigrams()
            for found in run.each(question, "learned"):
                model.add(found)
            question = replace(question, model=model)
        if task.sample_size is not None:
            strata = Strata(task.sample_size)
            for tickets in run.each(question, "strata"):
                strata.add(tickets)
            question = replace(question, thresholds=strata.thresholds())
        whole = Part()
        for part in run.each(question, "judge"):
            whole.add(part)
            if progress is not None:
                progress(whole.counts.matrix.total)
    return Evaluation(
        counts=whole.counts,
        false_positives=tuple(mistake for _, mistake in whole.mistakes.get("false_positives", [])),
        false_negatives=tuple(mistake for _, mistake in whole.mistakes.get("false_negatives", [])),
        dataset_digest=run.digest,
        engine=engine(),
    )


def _local(data: Data, credentials: S3Credentials | None, stack: ExitStack) -> Data:
    """Parquet is read from its end: out of a bucket or compressed it is stored in a file first."""
    if data.format != "parquet" or (data.compression == "none" and not isinstance(data.place, S3Object)):
        return data
    file = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".parquet"))  # noqa: SIM115 - the stack closes it
    with opened(data, credentials) as stream:
        for block in stream.blocks():
            file.write(block)
    file.flush()
    return Data(file.name, "parquet", "none")


class _Passes:
    """Goes over the data as often as is asked, and hands each chunk to a process."""

    def __init__(
        self,
        data: Data,
        credentials: S3Credentials | None,
        workers: int,
        cancelled: Callable[[], bool],
        chunk_bytes: int,
    ) -> None:
        self._data = data
        self._credentials = credentials
        self._workers = workers
        self._cancelled = cancelled
        self._chunk_bytes = chunk_bytes
        self.digest = ""

    def each(self, question: Question, what: str) -> Iterator[Any]:
        """The answers of `Judge.<what>` to each chunk."""
        chunks = self._chunks()
        first = [chunk for _, chunk in zip(range(POOL_FROM_CHUNKS), chunks, strict=False)]
        if self._workers == 1 or len(first) < POOL_FROM_CHUNKS:
            ask = getattr(Judge(question), what)
            yield from map(ask, first)
            yield from map(ask, chunks)
            return
        # forked: nothing to import again, and an evaluation runs in a process without other threads
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(self._workers, context, _begin, (question,)) as pool:
            yield from self._asked(pool, what, first, chunks)

    def _asked(
        self, pool: ProcessPoolExecutor, what: str, first: list[Chunk], chunks: Iterator[Chunk]
    ) -> Iterator[Any]:
        waiting: deque[Future[Any]] = deque()
        try:
            for chunk in itertools.chain(first, chunks):
                waiting.append(pool.submit(_ask, what, chunk))
                if len(waiting) >= AHEAD * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise RuntimeError("a process that judged was killed; the memory limit may be too low") from error
        finally:
            for future in waiting:
                future.cancel()

    def _chunks(self) -> Iterator[Chunk]:
        digest = hashlib.sha256()
        for chunk in self._cut(digest):
            if self._cancelled():
                raise CancelledError("the evaluation was cancelled")
            yield chunk
        self.digest = digest.hexdigest()

    def _cut(self, digest: Any) -> Iterator[Chunk]:
        data = self._data
        if data.format == "parquet":
            path = str(data.place)
            _hash_file(path, digest)
            yield from parquet_chunks(path)
            return
        with opened(data, self._credentials) as stream:
            blocks = _hashed(stream.blocks(), digest)
            if data.format == "csv":
                yield from csv_chunks(blocks, str(data.place), self._chunk_bytes)
            else:
                yield from ndjson_chunks(blocks, self._chunk_bytes)


def _hashed(blocks: Iterable[bytes], digest: Any) -> Iterator[bytes]:
    for block in blocks:
        digest.update(block)
        yield block


def _hash_file(path: str, digest: Any) -> None:
    try:
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


_judge: Judge | None = None
"""Of a process of the pool."""


def _begin(question: Question) -> None:
    global _judge  # noqa: PLW0603 - a process of the pool has one
    _judge = Judge(question)


def _ask(what: str, chunk: Chunk) -> Any:
    return getattr(_judge, what)(chunk)
