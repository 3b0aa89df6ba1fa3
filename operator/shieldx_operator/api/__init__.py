"""Types of the custom resources: the only source of the CRDs and of the reference pages.

A module a kind holds its spec and status; `defaults` what an unset field means; `rules` what the API server checks
across fields. `generate` writes `crds/`, the chart's copy of it and `docs/reference/` out of them.
"""
