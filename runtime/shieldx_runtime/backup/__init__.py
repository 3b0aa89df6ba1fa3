"""Backups of a service's database, cache and audit log: made, proved, restored, pruned."""
