"""What is lost when service and database die is what was not shipped: bounded by the shipper's interval."""

from pathlib import Path

from tests.integration.backup.loss import measure
from tests.integration.backup.s3server import S3Server

INTERVAL_S = 3.0
SLACK_S = 6.0
"""A look at the ledger and an upload, on a busy machine."""


def test_no_more_is_lost_than_the_shippers_interval(s3: S3Server, tmp_path: Path) -> None:
    """One moment; `make bench-backup` takes twenty."""
    loss = measure(1, tmp_path / "round", s3, bucket="plain", interval_s=INTERVAL_S)
    assert loss.acknowledged > 0
    assert loss.rpo_s <= INTERVAL_S + SLACK_S
