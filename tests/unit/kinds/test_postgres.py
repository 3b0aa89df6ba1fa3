"""What the managed PostgreSQL is told."""

import pytest

from shieldx_operator.blocks import postgres
from shieldx_operator.engine.types import Obj


@pytest.mark.parametrize(
    ("resources", "buffers"),
    [
        ({"requests": {"memory": "512Mi"}, "limits": {"memory": "2Gi"}}, "512MB"),
        ({"limits": {"memory": "512Mi"}}, "128MB"),
        ({"requests": {"memory": "1Gi"}}, "256MB"),
        ({"limits": {"memory": "32Mi"}}, "16MB"),
        ({}, "128MB"),
    ],
)
def test_postgresql_has_a_quarter_of_its_pod_s_memory_for_its_buffers(resources: Obj, buffers: str) -> None:
    assert postgres.shared_buffers(resources) == buffers
