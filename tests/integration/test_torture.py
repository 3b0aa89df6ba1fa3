"""A short run of the crash oracle; `make torture SEEDS=n` is the long one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.harness import Stack, running_stack
from tests.integration.torture import torture


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One of its own, durable, which is killed again and again."""
    with running_stack(tmp_path_factory.mktemp("torture"), durable=True) as made:
        yield made


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_is_killed_each_key_has_one_outcome(stack: Stack, tmp_path: Path, seed: int) -> None:
    seen = torture(stack, seed, tmp_path)
    assert seen["200"] > 20
    assert seen["service"] + seen["postgres"] + seen["redis"] == 3
