"""What counts mean: the judgement of a shadow evaluation, from summed counts to a verdict with its uncertainty.

The runtime counts and judges for the HTTP API, the operator judges the shards of an object. Both come here, so that the
same counts give the same answer to the last digit. Standard library only; all functions are pure.
"""

from shieldx_verdict.counts import Counts, CountsError, Matrix, Pairs
from shieldx_verdict.judge import judge
from shieldx_verdict.result import Estimate, GateOutcome, Gates, Recommendation, Result

__all__ = [
    "Counts",
    "CountsError",
    "Estimate",
    "GateOutcome",
    "Gates",
    "Matrix",
    "Pairs",
    "Recommendation",
    "Result",
    "judge",
]
