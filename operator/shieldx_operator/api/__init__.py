"""Types of the custom resources: the only source of the CRDs and of the reference pages."""
