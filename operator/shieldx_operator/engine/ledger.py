"""What is known of each watch, from the answers that it gets: is it alive? Pure; times are arguments.

kopf retries, waits and gives up inside of itself. What cannot lie is the traffic: each watch must be answered with
200 at least once in the server's timeout, and must not be refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

START_GRACE_S: Final = 45.0
REFUSAL_GRACE_S: Final = 10.0
SILENCE_MARGIN_S: Final = 120.0
"""kopf gives a silent stream up after 70 s and waits between attempts."""


@dataclass(slots=True)
class _Stream:
    answered_s: float | None = None
    tried_s: float | None = None
    refused_since_s: float | None = None
    refusal: str = ""


@dataclass(slots=True)
class WatchLedger:
    """One entry for each watch, by its URL path. `server_timeout_s` is how long the server keeps one watch open."""

    server_timeout_s: float
    started_s: float
    dead: str = ""
    """Why no watch can be alive at all; empty while the watcher runs."""
    deaf: dict[str, str] = field(default_factory=dict)
    """Watches that are open but did not tell of a change that a list showed."""
    _streams: dict[str, _Stream] = field(default_factory=dict)

    def expect(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._streams.setdefault(path, _Stream())

    def answered(self, path: str, status: int, now_s: float) -> None:
        """A watch or its list was answered."""
        stream = self._streams.get(path)
        if stream is None:
            return
        stream.tried_s = now_s
        if status < HTTPStatus.BAD_REQUEST:
            stream.answered_s, stream.refused_since_s, stream.refusal = now_s, None, ""
        elif status not in (HTTPStatus.GONE, HTTPStatus.TOO_MANY_REQUESTS):
            stream.refused_since_s = stream.refused_since_s if stream.refused_since_s is not None else now_s
            stream.refusal = f"HTTP {status}"

    def unreachable(self, path: str, now_s: float) -> None:
        """The server could not be asked. The watch lives: it tried; that the server is away is the lease's matter."""
        if path in self._streams:
            self._streams[path].tried_s = now_s

    def problems(self, now_s: float) -> dict[str, str]:
        """What is wrong, by path; empty if every watch is alive."""
        if self.dead:
            return dict.fromkeys(self._streams or ("watcher",), self.dead)
        found = dict(self.deaf)
        for path, stream in self._streams.items():
            problem = self._problem(stream, now_s)
            if problem:
                found[path] = problem
        return found

    def _problem(self, stream: _Stream, now_s: float) -> str:
        if stream.refused_since_s is not None and now_s - stream.refused_since_s > REFUSAL_GRACE_S:
            return f"refused with {stream.refusal} for {now_s - stream.refused_since_s:.0f} s"
        if stream.tried_s is None:
            waited_s = now_s - self.started_s
            return f"not opened within {waited_s:.0f} s: is its CRD installed?" if waited_s > START_GRACE_S else ""
        silent_s = now_s - stream.tried_s
        if silent_s > self.server_timeout_s + SILENCE_MARGIN_S:
            return f"no answer for {silent_s:.0f} s"
        return ""

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self._streams)
