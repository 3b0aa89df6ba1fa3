"""Names that the engine writes into objects, and finds its own objects by."""

from typing import Final

from shieldx_contract import API_GROUP, MANAGED_BY

FIELD_MANAGER: Final = MANAGED_BY
"""The server-side apply manager of everything that is held true."""
INITIAL_MANAGER: Final = f"{MANAGED_BY}-initial"
"""The manager of fields that are only given at the start and then belong to whoever changes them."""
FINALIZER: Final = f"{API_GROUP}/operator"
RETAIN_ANNOTATION: Final = f"{API_GROUP}/retain"
"""\"true\" on a built object: no owner reference, it outlives the custom resource, as data must."""
APPLIED_ANNOTATION: Final = f"{API_GROUP}/applied"
"""Digest of what was applied last, so that a field which is no longer wanted is noticed and withdrawn."""
INITIAL_ANNOTATION: Final = f"{API_GROUP}/initial"
"""Present once the initial fields were given: a crash between creation and initial fields is made good."""
CONCERNS_ANNOTATION: Final = f"{API_GROUP}/concerns"
"""Custom resources of the same namespace beside the owner that look again when this object changes: `Kind/name ...`."""
MAX_LABEL_VALUE: Final = 63
