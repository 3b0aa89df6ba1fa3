"""The container images: the platform's own, and on machines without a registry the stores' too."""
