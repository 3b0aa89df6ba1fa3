import secrets
from types import MappingProxyType

import pytest

from shieldx_runtime.backup.keys import Key, KeyRing


@pytest.fixture
def ring() -> KeyRing:
    keys = {key_id: Key(key_id, secrets.token_bytes(32)) for key_id in ("old", "new")}
    return KeyRing(MappingProxyType(keys), "new")
