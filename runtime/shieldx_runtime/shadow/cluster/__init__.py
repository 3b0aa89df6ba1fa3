"""The worker's side of a ShadowEvaluation: read a task, judge one shard, tell the API server."""
