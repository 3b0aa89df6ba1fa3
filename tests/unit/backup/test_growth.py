"""Sixty days of a bucket in which copies are made, proved, left half done and pruned; the time is data."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from shieldx_runtime.backup import artifacts
from shieldx_runtime.backup import manifest as manifests
from shieldx_runtime.backup.catalog import MANIFEST, VERIFIED
from shieldx_runtime.backup.clock import Deadline, new_id, text_of
from shieldx_runtime.backup.context import Context
from shieldx_runtime.backup.destination import Found
from shieldx_runtime.backup.folder import Folder
from shieldx_runtime.backup.keys import KeyRing
from shieldx_runtime.backup.manifest import Manifest, Stream
from shieldx_runtime.backup.prune import prune
from shieldx_runtime.backup.retention import Rules
from shieldx_runtime.backup.tools import Tools

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
EVERY = timedelta(days=1)
KEEP = timedelta(days=30)
CONTENT = bytes(range(256)) * 8
OUTAGE = range(35, 42)
"""Days on which no copy succeeds."""


class Bucket(Folder):
    """A folder whose clock is the test's."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root
        self.clock = BEGIN

    def find(self, prefix: str) -> Iterator[Found]:
        for found in super().find(prefix):
            yield Found(found.key, found.size_bytes, self.clock)

    @property
    def size_bytes(self) -> int:
        return sum(f.stat().st_size for f in self.root.rglob("*") if f.is_file())


@dataclass
class Service:
    """Makes copies as a run does: what dead ones left goes first, the manifest comes last, the proof after it."""

    bucket: Bucket
    context: Context

    def run(self, *, verified: bool, dies: bool) -> str:
        context, catalog = self.context, self.context.catalog
        catalog.sweep(Stream.DATABASE, catalog.list(Stream.DATABASE).leftovers)
        backup_id = new_id(self.bucket.clock)
        artifact = artifacts.store(
            catalog, context.ring, (Stream.DATABASE, backup_id, "database.dump"), [CONTENT], lambda: None
        )
        if dies:
            return ""
        manifest = Manifest(
            service=context.service,
            stream=Stream.DATABASE,
            backup_id=backup_id,
            taken_at=text_of(self.bucket.clock),
            finished_at=text_of(self.bucket.clock),
            key_id=context.ring.active_id,
            artifacts=(artifact,),
        )
        place = catalog.folder(Stream.DATABASE, backup_id) + MANIFEST
        self.bucket.put(place, manifests.encode(manifest, context.ring.active))
        if verified:
            copy = catalog.get(Stream.DATABASE, backup_id)
            catalog.record(copy, VERIFIED, {"verified_at": text_of(self.bucket.clock)})
        return backup_id


def service(folder: Path, ring: KeyRing) -> Service:
    bucket = Bucket(folder)
    context = Context(bucket, "ns.credits", ring, Tools("", "", None, None), Deadline(600), folder)
    return Service(bucket, context)


def test_sixty_days_of_a_bucket_stay_within_the_retention_and_each_removal_is_explained(
    tmp_path: Path, ring: KeyRing
) -> None:
    """Each day a copy; some are never verified, some runs die, and for a week nothing succeeds."""
    made, sizes, explained = service(tmp_path, ring), [], {}
    runs = int(timedelta(days=60) / EVERY)
    for number in range(runs):
        made.bucket.clock = BEGIN + number * EVERY
        day = (made.bucket.clock - BEGIN).days
        made.run(verified=number % 5 != 0 and day not in OUTAGE, dies=number % 7 == 3 or day in OUTAGE)
        before = {c.manifest.backup_id for c in made.context.catalog.list(Stream.DATABASE).copies}
        with structlog.testing.capture_logs() as logged:
            prune(made.context, Stream.DATABASE, Rules(KEEP), now=lambda: made.bucket.clock)
        after = made.context.catalog.list(Stream.DATABASE).copies
        decided = {line["backup_id"]: line for line in logged if line["event"] == "prune decision"}
        assert decided.keys() == before
        assert all(line["reason"] for line in decided.values())
        for backup_id in before - {c.manifest.backup_id for c in after}:
            explained[backup_id] = decided[backup_id]["reason"]
        if number:
            assert any(c.verified for c in after)
        sizes.append(made.bucket.size_bytes)
    assert explained
    assert all("is newer and verified" in reason for reason in explained.values())
    # what is there never exceeds the copies of the retention and one run that died
    one = max(sizes[:2])
    assert max(sizes) <= one * (KEEP / EVERY + 2)
    assert sizes[-1] <= max(sizes[: int(KEEP / EVERY) + 2])
    oldest = min(c.taken_at for c in made.context.catalog.list(Stream.DATABASE).copies)
    assert made.bucket.clock - oldest <= KEEP


def test_where_nothing_succeeds_any_more_the_last_verified_copies_outlive_every_retention(
    tmp_path: Path, ring: KeyRing
) -> None:
    made = service(tmp_path, ring)
    kept = []
    for hour in (0, 12, 24):
        made.bucket.clock = BEGIN + timedelta(hours=hour)
        kept.append(made.run(verified=True, dies=False))
    sizes = []
    for day in range(2, 62):
        made.bucket.clock = BEGIN + timedelta(days=day)
        made.run(verified=False, dies=True)
        prune(made.context, Stream.DATABASE, Rules(KEEP), now=lambda: made.bucket.clock)
        sizes.append(made.bucket.size_bytes)
    left = [c.manifest.backup_id for c in made.context.catalog.list(Stream.DATABASE).copies]
    assert left == kept[-2:]
    assert sizes[-1] <= sizes[0]
