"""One package a custom resource: what it means."""
