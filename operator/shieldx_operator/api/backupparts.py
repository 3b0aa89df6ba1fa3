"""Parts that BackupPolicy, Backup and Restore share: where copies are, what seals them, what a run may use."""

from typing import Literal, TypeAlias

from pydantic import Field

from shieldx_operator.api.backupfields import FolderPath, KeyId
from shieldx_operator.api.base import Model
from shieldx_operator.api.common import LocalObjectReference, check, checked
from shieldx_operator.api.fields import ConfigMapKey, ObjectName, S3Bucket, S3Endpoint, S3Region

Stream: TypeAlias = Literal["database", "cache"]


class CaBundle(Model):
    """Names the key of a ConfigMap that holds certificates of authorities."""

    name: ObjectName = Field(description="Name of the ConfigMap, in the namespace of this object.")
    key: ConfigMapKey = Field(description="Its key that holds the certificates (PEM), such as ca.crt.")


class S3Destination(Model):
    """A bucket of any S3."""

    endpoint: S3Endpoint = Field(description="URL of the S3 API.")
    bucket: S3Bucket = Field(description="Name of the bucket. It must exist.")
    prefix: FolderPath | None = Field(default=None, description="Folder in the bucket. Unset: its root.")
    region: S3Region | None = Field(default=None, description="Region of the bucket. Unset: us-east-1.")
    path_style: bool | None = Field(
        default=None,
        description="True: the bucket stands in the path of a URL, as most S3 servers want it; false: in the host.",
    )
    credentials: LocalObjectReference | None = Field(
        default=None,
        description="Secret with the keys access-key-id and secret-access-key. Unset: what the pod gets otherwise, "
        "such as an identity of the cloud.",
    )
    ca_bundle: CaBundle | None = Field(
        default=None, description="Authorities that sign the server's certificate. Unset: the public ones."
    )


class VolumeDestination(Model):
    """A volume. It must outlive what is backed up: not the same disk, better not the same machine."""

    claim_name: ObjectName = Field(
        description="Name of the PersistentVolumeClaim, in the namespace of this object. Several pods write to it: "
        "on several nodes it must be ReadWriteMany."
    )
    path: FolderPath | None = Field(default=None, description="Folder in the volume; it must exist. Unset: its root.")


class Destination(Model):
    """Where copies are kept: exactly one of `s3` and `persistentVolumeClaim`."""

    model_config = checked(
        check(
            rule="has(self.s3) != has(self.persistentVolumeClaim)",
            message="set exactly one of s3 (a bucket) and persistentVolumeClaim (a volume): the place of the copies",
        )
    )

    s3: S3Destination | None = Field(default=None, description="A bucket of any S3.")
    persistent_volume_claim: VolumeDestination | None = Field(default=None, description="A volume.")


class Encryption(Model):
    """The keys that seal copies (AES-256-GCM) before they leave the pod."""

    secret_ref: LocalObjectReference = Field(
        description="Secret with the keys: each of its keys is a key's id, each value 32 bytes in base64. A retired "
        "key stays until its last copy is pruned. Keep a copy of this Secret elsewhere: without it no copy can be read."
    )
    active_key: KeyId | None = Field(
        default=None, description="Id of the key that seals new copies. Unset: the only one there is."
    )


class CopyFailure(Model):
    """Why something came to nothing."""

    reason: str = Field(description="Why, as one word for programs.")
    message: str = Field(description="Why, and what to do; for people.")


class StoreAddress(Model):
    """The way to one store of the service, as it was found."""

    secret_name: str = Field(description="The Secret with its URI.")
    key: str = Field(description="The Secret's key.")
    managed: bool = Field(description="Whether the operator runs it.")


class Stores(Model):
    """The ways to the service's stores, as they were found."""

    database: StoreAddress = Field(description="The database.")
    cache: StoreAddress = Field(description="The cache.")
