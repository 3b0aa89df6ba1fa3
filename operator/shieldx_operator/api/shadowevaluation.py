"""ShadowEvaluation: one question, how a rule does on labelled traffic, and the answer with its uncertainty."""

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field
from pydantic.config import JsonDict

from shieldx_contract import SHADOW_QUESTION_HEX_DIGITS
from shieldx_operator.api.apiservice import Image
from shieldx_operator.api.base import Model
from shieldx_operator.api.common import CommonStatus, LocalObjectReference, Resources, Scheduling, check, checked
from shieldx_operator.api.detection import DetectionRule
from shieldx_operator.api.fields import (
    ConfigMapKey,
    LabelValue,
    ObjectName,
    Prevalence,
    S3Bucket,
    S3Endpoint,
    S3Region,
    Text,
    Version,
    VolumePath,
)

Format: TypeAlias = Literal["ndjson", "csv", "parquet"]
Compression: TypeAlias = Literal["none", "gzip", "zstd"]
Verdict: TypeAlias = Literal["PROMOTE", "REJECT", "INCONCLUSIVE"]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
MAX_SHARDS: Final = 64
MAX_WORKERS: Final = 32


INT64: Final[JsonDict] = {"format": "int64"}
Question: TypeAlias = Annotated[
    str, Text(rf"[0-9a-f]{{{SHADOW_QUESTION_HEX_DIGITS}}}", "must be a digest as the operator gave it", 10)
]


class ConfigMapData(Model):
    """Samples in a ConfigMap."""

    name: ObjectName = Field(description="Name of the ConfigMap, in the namespace of this object.")
    key: ConfigMapKey = Field(description="Its key that holds the samples, such as samples.ndjson.")


class VolumeData(Model):
    """Samples in a file of a volume."""

    claim_name: ObjectName = Field(
        description="Name of the PersistentVolumeClaim, in the namespace of this object. It is mounted read-only; "
        "with more shards than one on several nodes it must be readable from many of them."
    )
    path: VolumePath = Field(description="Path of the file below the root of the volume.")


class S3Data(Model):
    """Samples in an object of an S3 bucket."""

    endpoint: S3Endpoint = Field(description="URL of the S3 API.")
    bucket: S3Bucket = Field(description="Name of the bucket.")
    key: str = Field(min_length=1, max_length=1024, description="Key of the object.")
    region: S3Region | None = Field(default=None, description="Region of the bucket.")
    credentials: LocalObjectReference | None = Field(
        default=None,
        description="Secret with the keys access-key-id and secret-access-key. Unset: the object is read without "
        "credentials.",
    )


class Data(Model):
    """Where the labelled samples are: exactly one place."""

    model_config = checked(
        check(
            rule="[has(self.configMap), has(self.persistentVolumeClaim), has(self.s3)].filter(set, set).size() == 1",
            message="set exactly one of configMap, persistentVolumeClaim and s3: the place where the samples are",
        )
    )

    config_map: ConfigMapData | None = Field(
        default=None, description="Samples in a ConfigMap, which holds at most 1 MiB: for examples and small tests."
    )
    persistent_volume_claim: VolumeData | None = Field(default=None, description="Samples in a file of a volume.")
    s3: S3Data | None = Field(default=None, description="Samples in an object of an S3 bucket.")
    format: Format | None = Field(
        default=None, description="How the samples are written. Unset: by the end of the file's name."
    )
    compression: Compression | None = Field(
        default=None, description="How they are compressed. Unset: by the end of the file's name (.gz, .zst)."
    )


class Gates(Model):
    """What the rule must reach. Each gate is held against the bound of a 95% interval, not against the estimate."""

    min_precision: Share | None = Field(
        default=None, description="Least precision: of the samples that match, the share that are attacks."
    )
    min_recall: Share | None = Field(default=None, description="Least recall: of the attacks, the share that match.")
    min_f1: Share | None = Field(default=None, description="Least F1, the harmonic mean of the two.")
    max_false_positive_rate: Share | None = Field(
        default=None, description="Largest share of the benign samples that match."
    )


class ShadowEvaluationSpec(Model):
    """What a ShadowEvaluation asks, and how it is answered."""

    rule: DetectionRule = Field(description="The rule in question.")
    baseline: DetectionRule | None = Field(
        default=None,
        description="The live rule. Both judge the same samples, and the verdict says whether the new one is better.",
    )
    data: Data = Field(description="Where the labelled samples are: exactly one place.")
    sample_size: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="How many samples are drawn, stratified by label. Unset: all are judged.",
        json_schema_extra={"format": "int64"},
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        le=2**53 - 1,
        description="Seed of the draw: the same seed draws the same samples.",
        json_schema_extra={"format": "int64"},
    )
    prevalence: Prevalence | None = Field(
        default=None,
        description="Share of attacks in real traffic, such as 0.001. The result then says what the precision would "
        "be there. Unset: it is told for the samples alone.",
    )
    gates: Gates | None = Field(
        default=None,
        description="What the rule must reach for the verdict PROMOTE. Changing them judges anew what was counted.",
    )
    shards: int | None = Field(
        default=None,
        ge=1,
        le=MAX_SHARDS,
        description="Parts that the samples are judged in, each by a pod. The numbers do not depend on it.",
    )
    parallelism: int | None = Field(
        default=None, ge=1, le=MAX_SHARDS, description="Pods that work at once. Unset: as many as there are shards."
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        le=MAX_WORKERS,
        description="Processes in each pod. The numbers do not depend on it. More than resources.limits.cpu gains "
        "nothing.",
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Samples that a process judges at a time. The numbers do not depend on it.",
    )
    version: Version | None = Field(
        default=None,
        description="Version of the runtime that judges: the tag of its image. Unset: the version that the operator "
        "was installed with when this question was first asked; an upgrade of the operator asks nothing anew.",
    )
    image: Image | None = Field(default=None, description="Where the runtime's image comes from.")
    resources: Resources | None = Field(default=None, description="CPU and memory of each worker pod.")
    scheduling: Scheduling | None = Field(default=None, description="Where the worker pods may run.")
    deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=604_800,
        description="Seconds after which an evaluation that has not come to an end is given up.",
    )
    backoff_limit_per_index: int | None = Field(
        default=None,
        ge=0,
        le=10,
        description="How often each shard is tried again after its pod failed. A pod that was evicted does not count.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=60,
        le=604_800,
        description="Seconds that the Job and its pods, and with them their logs, stay after the end. This object and "
        "its result stay until somebody deletes it.",
    )
    rerun: LabelValue | None = Field(
        default=None,
        description="Any text, such as a date. Another text than before asks the same question anew: after a failure, "
        "or where the data has changed in its place.",
    )
    suspend: bool | None = Field(
        default=None,
        description="True: no pod works on it. What has been judged is kept, and false goes on with the rest.",
    )


class Estimate(Model):
    """A ratio with its 95% interval. Without a value it is undefined: nothing was there to divide by."""

    value: float | None = Field(default=None, description="The estimate.")
    low: float | None = Field(default=None, description="Lower bound.")
    high: float | None = Field(default=None, description="Upper bound.")


class Matrix(Model):
    """The confusion matrix."""

    true_positives: int = Field(ge=0, description="Attacks that match.", json_schema_extra=INT64)
    false_positives: int = Field(ge=0, description="Benign samples that match.", json_schema_extra=INT64)
    true_negatives: int = Field(ge=0, description="Benign samples that do not match.", json_schema_extra=INT64)
    false_negatives: int = Field(ge=0, description="Attacks that do not match.", json_schema_extra=INT64)


class GateOutcome(Model):
    """One gate, and how the rule did at it."""

    name: str = Field(description="The field of spec.gates.")
    wanted: float = Field(description="What was asked for.")
    outcome: Literal["passed", "failed", "open"] = Field(
        description="passed and failed are certain at 95%; open: the interval holds the gate, and more samples may say."
    )


class Measured(Model):
    """What was measured of one rule."""

    matrix: Matrix = Field(description="The confusion matrix.")
    precision: Estimate = Field(description="Of the samples that match, the share that are attacks.")
    recall: Estimate = Field(description="Of the attacks, the share that match.")
    f1: Estimate = Field(description="The harmonic mean of precision and recall.")
    false_positive_rate: Estimate = Field(description="Of the benign samples, the share that match.")
    mcc: float | None = Field(default=None, description="Matthews' correlation coefficient.")


class Comparison(Model):
    """The rule in question against the live one, on the same samples, by McNemar's exact test."""

    live: Measured = Field(description="What was measured of the live rule.")
    both_right: int = Field(ge=0, description="Samples on which both are right.", json_schema_extra=INT64)
    only_candidate: int = Field(
        ge=0, description="Samples on which the rule in question alone is right.", json_schema_extra=INT64
    )
    only_live: int = Field(ge=0, description="Samples on which the live rule alone is right.", json_schema_extra=INT64)
    both_wrong: int = Field(ge=0, description="Samples on which both are wrong.", json_schema_extra=INT64)
    p_value: float = Field(description="How likely so unequal a split is if the two are equally good.")
    better: Literal["candidate", "live", "neither"] = Field(description="Which is better, where that is certain.")


class Result(Measured):
    """The answer."""

    verdict: Verdict = Field(
        description="PROMOTE: every gate is surely passed, and no live rule is surely better. REJECT: one is surely "
        "missed, or the live rule is surely better. INCONCLUSIVE: neither is sure."
    )
    reasons: list[str] = Field(
        max_length=16, description="Why, with the numbers.", json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    samples: int = Field(ge=0, description="Samples in the matrix.", json_schema_extra=INT64)
    errors: int = Field(
        ge=0, description="Samples that could not be read or judged, outside the matrix.", json_schema_extra=INT64
    )
    errors_by_reason: dict[str, int] | None = Field(
        default=None, max_length=64, description="Why they could not be judged, and how many each."
    )
    gates: list[GateOutcome] = Field(
        max_length=16,
        description="How the rule did at each gate.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    prevalence: float | None = Field(default=None, description="The spec.prevalence that it was restated for.")
    precision_at_prevalence: Estimate | None = Field(
        default=None, description="The precision where attacks are as rare as in real traffic."
    )
    comparison: Comparison | None = Field(default=None, description="The rule against the live one.")
    recommendations: list[str] = Field(
        max_length=64,
        description="What the numbers suggest, most telling first.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    seed: int = Field(ge=0, description="Seed of the draw.", json_schema_extra=INT64)
    dataset_digest: str | None = Field(default=None, description="Digest of the samples that were judged.")
    engine: str | None = Field(default=None, description="The evaluation engine, by name and version.")
    evaluated_at: str = Field(description="When the last shard was counted.", json_schema_extra={"format": "date-time"})
    cached_from: str | None = Field(
        default=None, description="The evaluation whose counts these are, where no Job was needed."
    )


class Shard(Model):
    """What the worker of one shard has counted."""

    index: int = Field(ge=0, le=MAX_SHARDS - 1, description="Which of the shards.")
    question: Question = Field(description="Digest of what was asked: an entry of another question counts no more.")
    finished_at: str = Field(description="When the worker was done.", json_schema_extra={"format": "date-time"})
    dataset_digest: str | None = Field(default=None, max_length=128, description="Digest of the samples it read.")
    engine: str | None = Field(default=None, max_length=128, description="The evaluation engine, by name and version.")
    counts: dict[str, Any] = Field(
        description="What it counted, as the evaluation engine writes it.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )


class Failure(Model):
    """A run that came to no answer."""

    run: str = Field(description="Which run: it is not tried again until something of it changes, or spec.rerun.")
    reason: str = Field(description="Why, as one word for programs.")
    message: str = Field(description="Why, with the last words of a worker; for people.")


class ShadowEvaluationStatus(CommonStatus):
    """What the operator sees, and in `shards` what each worker has counted."""

    question: Question | None = Field(
        default=None, description="Digest of what is asked: rule, baseline, data, sample, seed, shards, rerun, version."
    )
    run: str | None = Field(default=None, description="Digest of how it is worked on; it names the Job.")
    judgement: str | None = Field(default=None, description="Digest of the gates that the result was held against.")
    version: str | None = Field(default=None, description="Version of the runtime that judges.")
    data_digest: str | None = Field(default=None, description="Digest of the ConfigMap's samples at the start.")
    shards_done: str | None = Field(default=None, description="Shards that are judged out of all, such as 2/4.")
    samples: int | None = Field(default=None, ge=0, description="Samples judged so far.", json_schema_extra=INT64)
    f1: str | None = Field(default=None, description="F1 with its 95% interval, for people.")
    result: Result | None = Field(default=None, description="The answer; absent while there is none.")
    failure: Failure | None = Field(default=None, description="Why the last run came to no answer.")
    shards: list[Shard] | None = Field(
        default=None,
        max_length=MAX_SHARDS,
        description="What each worker has counted, written by the workers themselves.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["index"]},
    )
    effective: dict[str, Any] | None = Field(
        default=None,
        description="The spec with every default filled in, without what it asks: rule, baseline and data.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
