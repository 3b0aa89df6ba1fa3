"""What a command works with: put together once, from the environment, and handed to each step."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shieldx_runtime.backup.catalog import Catalog
from shieldx_runtime.backup.clock import Deadline
from shieldx_runtime.backup.destination import Destination
from shieldx_runtime.backup.keys import KeyRing
from shieldx_runtime.backup.lease import TTL_S, Lease, held
from shieldx_runtime.backup.postgres import Address
from shieldx_runtime.backup.tools import Tools
from shieldx_runtime.core.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Context:
    destination: Destination
    service: str
    ring: KeyRing = field(repr=False)
    programs: Tools
    deadline: Deadline
    scratch_dir: Path
    scratch_bytes: int | None = None
    scratch_database_bytes: int | None = None
    ledger: Ledger | None = None
    database: Address | None = None
    database_uri_file: Path | None = None
    cache_uri: str | None = field(default=None, repr=False)
    lease_ttl_s: float = TTL_S
    keep_audit_days: int = 365

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.destination, self.service, self.ring)

    @contextlib.contextmanager
    def lease(self, name: str) -> Iterator[Lease]:
        """Raises: BusyError, another run holds it: a stream's name, or `drill`."""
        with held(self.destination, self.catalog.lease_key(name), self.deadline, ttl_s=self.lease_ttl_s) as lease:
            yield lease
