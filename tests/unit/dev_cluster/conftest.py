from ipaddress import IPv4Network
from pathlib import Path

import pytest

from dev.cluster.place import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    return Place("shieldx", IPv4Network("198.18.250.0/30"), tmp_path / "cache", checkout)
