"""What the process that answers and the one that judges tell each other while an evaluation runs: a shared page."""

import mmap
import struct
from pathlib import Path
from typing import Final

_JUDGED: Final = struct.Struct("=Q")
_STOP_AT: Final = _JUDGED.size
_SIZE_BYTES: Final = 16


class Slate:
    """A file of 16 bytes, mapped by both: one writes how many samples it has judged, the other when to stop."""

    def __init__(self, path: Path) -> None:
        """Raises: OSError, the file cannot be made or mapped."""
        with path.open("a+b") as file:
            file.truncate(_SIZE_BYTES)
            self._page = mmap.mmap(file.fileno(), _SIZE_BYTES)

    @property
    def judged(self) -> int:
        return int(_JUDGED.unpack_from(self._page)[0])

    def tell(self, judged: int) -> None:
        # eight bytes at a multiple of eight: a reader sees the old number or the new one
        _JUDGED.pack_into(self._page, 0, judged)

    @property
    def stopped(self) -> bool:
        return self._page[_STOP_AT] != 0

    def stop(self) -> None:
        self._page[_STOP_AT] = 1

    def close(self) -> None:
        self._page.close()
