"""The task as the workers read it: what is asked, in the words of the evaluation engine."""

import json

from shieldx_contract import SHADOW_DATA_DIR
from shieldx_operator.api.base import Model
from shieldx_operator.api.shadowevaluation import Data
from shieldx_operator.engine.types import Obj
from shieldx_operator.kinds.shadowevaluation.view import View


def text(v: View) -> str:
    """The task document: JSON, the same text for the same question and run."""
    return json.dumps(document(v), sort_keys=True, indent=1)


def document(v: View) -> Obj:
    e = v.effective
    found: Obj = {
        "rule": _rule(e.rule),
        "baseline": _rule(e.baseline) if e.baseline else None,
        "data": _data(e.data),
        "sampleSize": e.sample_size,
        "seed": e.seed,
        "shards": e.shards,
        "workers": e.workers,
        "batchSize": e.batch_size,
    }
    return {name: value for name, value in found.items() if value is not None}


def _rule(rule: Model) -> Obj:
    return {name: value for name, value in rule.to_json().items() if name not in ("id", "name")}


def _data(data: Data) -> Obj:
    """Where the samples are for a worker: a file of a volume, or an object of a bucket."""
    how = {name: value for name, value in data.to_json().items() if name in ("format", "compression")}
    if data.config_map:
        return {"path": f"{SHADOW_DATA_DIR}/{data.config_map.key}", **how}
    if data.persistent_volume_claim:
        return {"path": f"{SHADOW_DATA_DIR}/{data.persistent_volume_claim.path}", **how}
    place = data.to_json()["s3"]
    place.pop("credentials", None)
    return {"s3": place, **how}
