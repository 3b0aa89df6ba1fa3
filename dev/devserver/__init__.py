"""The credits API on loopback without Kubernetes, on a real PostgreSQL and a real Redis; also what tests start."""
