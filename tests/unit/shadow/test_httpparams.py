"""The known figures of the HttpParams data, over the whole file as its authors wrote it."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from shieldx_runtime.shadow.evaluation import Evaluation, evaluate
from shieldx_runtime.shadow.task import Task

from .conftest import HTTPPARAMS

pytestmark = pytest.mark.skipif(not HTTPPARAMS.exists(), reason="the HttpParams data do not lie beside this checkout")
SQLI = {"type": "libinjection", "injections": ["sqli"]}


def asked(path: Path, rule: dict[str, Any], **how: Any) -> Evaluation:
    return evaluate(Task.from_dict({"rule": rule, "data": {"path": str(path)}, **how}))


def test_libinjection_finds_what_is_known_of_it() -> None:
    counts = asked(HTTPPARAMS, SQLI, workers=2).counts
    assert counts.attack_types["sqli"] == (10_509, 343)
    assert counts.benign_groups == {"(unnamed)": (0, 19_304)}
    assert (counts.attack_types["xss"][0], counts.attack_types["cmdi"][0]) == (13, 2)
    assert (counts.matrix.tp, counts.matrix.fp, counts.matrix.total) == (10_509 + 13 + 2, 0, 31_067)
    assert counts.errors == {}


def test_the_digest_is_that_of_the_file() -> None:
    digest = asked(HTTPPARAMS, {"type": "signature", "pattern": "x"}).dataset_digest
    assert digest == hashlib.sha256(HTTPPARAMS.read_bytes()).hexdigest()
