"""Indexed Jobs: work in a fixed number of parts, each done by one pod at a time and tried again by itself."""

from dataclasses import dataclass

from shieldx_operator.blocks.diagnosis import job_condition
from shieldx_operator.blocks.meta import obj
from shieldx_operator.blocks.resources import JOB
from shieldx_operator.engine.types import Obj


@dataclass(frozen=True, slots=True)
class Indexed:
    """How an Indexed Job does its parts. Times are in seconds.

    `backoff_limit` is how often each part is tried again; `give_up_exit_code` is the exit code by which a program
    says that no repetition will help it.
    """

    completions: int
    parallelism: int
    backoff_limit: int
    deadline_s: int
    ttl_s: int
    give_up_exit_code: int


def indexed_job(metadata: Obj, container: str, template: Obj, how: Indexed, *, suspend: bool) -> Obj:
    """The Job. `container` is the name of the one container of `template` whose exit code counts.

    A pod that was disrupted (evicted, preempted, its node gone) costs no try. The replacement of a pod starts when
    the pod has ended, so that no two work on one part; the first part that is given up ends the Job: the numbers of
    the others alone are no answer.
    """
    return obj(
        JOB,
        metadata,
        spec={
            "completionMode": "Indexed",
            "completions": how.completions,
            "parallelism": how.parallelism,
            "backoffLimitPerIndex": how.backoff_limit,
            "maxFailedIndexes": 0,
            "activeDeadlineSeconds": how.deadline_s,
            "ttlSecondsAfterFinished": how.ttl_s,
            "podReplacementPolicy": "Failed",
            "suspend": suspend,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": container,
                            "operator": "In",
                            "values": [how.give_up_exit_code],
                        },
                    },
                ]
            },
            "template": template,
        },
    )


def failure_message(job: Obj | None) -> str:
    """What the Job's own condition says about its failure; empty where it did not fail."""
    if job_condition(job) != "Failed":
        return ""
    failed = next(c for c in (job or {})["status"]["conditions"] if c["type"] == "Failed" and c["status"] == "True")
    return f"{failed.get('reason', 'Failed')}: {failed.get('message', '')}"
