"""Progress for a person: one line a step, with the seconds since the start."""

import time


class Steps:
    """Says each step when it begins; ``report`` says what each took."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()
        self._begun: list[tuple[str, float]] = []

    def say(self, text: str) -> None:
        now_s = time.monotonic()
        print(f"{now_s - self._started_s:7.1f} s  {text}", flush=True)
        self._begun.append((text, now_s))

    def report(self) -> str:
        """The three longest steps and the total."""
        now_s = time.monotonic()
        ends = [begun for _, begun in self._begun[1:]] + [now_s]
        took = sorted(((end - begun, text) for (text, begun), end in zip(self._begun, ends, strict=True)), reverse=True)
        longest = ", ".join(f"{text.split(':')[0].split(';')[0]} {seconds:.1f} s" for seconds, text in took[:3])
        return f"{now_s - self._started_s:.1f} s in all; longest: {longest}"
