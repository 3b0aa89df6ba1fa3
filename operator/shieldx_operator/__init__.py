"""Kubernetes operator of ShieldX Platform: keeps the platform as its custom resources say."""
