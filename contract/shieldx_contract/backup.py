"""Names of backups that the operator writes into Jobs and the runtime reads in them."""

from typing import Final

BACKUP: Final = ("python", "-m", "shieldx_runtime", "backup")
"""Followed by run, list, verify, restore, drill, prune or ship-audit."""

# --- environment; *_FILE and *_DIR name files and folders, so that no secret stands in an environment
ENV_BACKUP_DESTINATION: Final = "SHIELDX_BACKUP_DESTINATION"
"""`s3://bucket/prefix` or `file:///folder`."""
ENV_BACKUP_SERVICE: Final = "SHIELDX_BACKUP_SERVICE"
"""Whose copies these are: `<namespace>.<name>`. It is a folder below the destination's prefix."""
ENV_BACKUP_KEYS_DIR: Final = "SHIELDX_BACKUP_KEYS_DIR"
"""A Secret's mount: each file's name is a key id, its content 32 bytes in base64."""
ENV_BACKUP_KEY_ID: Final = "SHIELDX_BACKUP_KEY_ID"
"""The key that seals new copies; may be left out where there is one key."""
ENV_BACKUP_S3_ENDPOINT: Final = "SHIELDX_BACKUP_S3_ENDPOINT"
ENV_BACKUP_S3_REGION: Final = "SHIELDX_BACKUP_S3_REGION"
ENV_BACKUP_S3_PATH_STYLE: Final = "SHIELDX_BACKUP_S3_PATH_STYLE"
ENV_BACKUP_S3_CA_FILE: Final = "SHIELDX_BACKUP_S3_CA_FILE"
ENV_BACKUP_S3_CREDENTIALS_DIR: Final = "SHIELDX_BACKUP_S3_CREDENTIALS_DIR"
"""A Secret's mount with `access-key-id` and `secret-access-key`. Without it the client's own chain is used."""
ENV_BACKUP_SCRATCH_DIR: Final = "SHIELDX_BACKUP_SCRATCH_DIR"
"""A folder with room for one unpacked dump; only a restore and a drill need it."""
ENV_BACKUP_SCRATCH_BYTES: Final = "SHIELDX_BACKUP_SCRATCH_BYTES"
"""What the scratch folder may hold: beyond it a pod is evicted, and cannot say why. Unset: what its disk has free."""
ENV_BACKUP_SCRATCH_DATABASE_BYTES: Final = "SHIELDX_BACKUP_SCRATCH_DATABASE_BYTES"
"""The same of the volume of the server that `drill` restores into. Unset: nobody knows."""
ENV_BACKUP_TARGET_URI_FILE: Final = "SHIELDX_BACKUP_TARGET_URI_FILE"
"""Where `restore` restores to, if not in place."""
ENV_BACKUP_SCRATCH_URI_FILE: Final = "SHIELDX_BACKUP_SCRATCH_URI_FILE"
"""Where `drill` may make and drop databases of its own."""
ENV_BACKUP_KEEP_DAYS: Final = "SHIELDX_BACKUP_KEEP_DAYS"
ENV_BACKUP_KEEP_AUDIT_DAYS: Final = "SHIELDX_BACKUP_KEEP_AUDIT_DAYS"
ENV_BACKUP_DEADLINE_S: Final = "SHIELDX_BACKUP_DEADLINE_S"
ENV_BACKUP_POSTGRES_BIN: Final = "SHIELDX_BACKUP_POSTGRES_BIN"
"""The folder of pg_dump and pg_restore; without it, those on the path."""
ENV_BACKUP_REDIS_CLI: Final = "SHIELDX_BACKUP_REDIS_CLI"
ENV_BACKUP_REDIS_CHECK_RDB: Final = "SHIELDX_BACKUP_REDIS_CHECK_RDB"
ENV_BACKUP_RESULT_FILE: Final = "SHIELDX_BACKUP_RESULT_FILE"
"""Where the outcome is also written, as the JSON of `--json`, bounded to 4 KiB: a pod's termination message."""

# --- exit codes of the command line
EXIT_FAILED: Final = 1
EXIT_SETTINGS: Final = 2
EXIT_WRONG_KEY: Final = 3
EXIT_DAMAGED: Final = 4
EXIT_BUSY: Final = 5
EXIT_DESTINATION: Final = 6
EXIT_DEADLINE: Final = 7
EXIT_NOT_FOUND: Final = 8
EXIT_NOT_PROVED: Final = 9
"""The copy was restored and does not add up."""
EXIT_GAP: Final = 10
"""The database does not continue the audit stream."""
EXIT_NO_SPACE: Final = 11
"""The scratch folder, the destination's volume or the database's volume is full."""
EXIT_REFUSED: Final = 12
"""The destination refuses these credentials, or has no such bucket: no repetition helps."""
