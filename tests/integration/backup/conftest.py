from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from dev.devserver.postgres import Postgres
from shieldx_contract import SECRET_S3_ACCESS_KEY_ID, SECRET_S3_SECRET_ACCESS_KEY
from shieldx_contract import backup as names
from tests.integration.backup.s3server import S3Server
from tests.integration.backup.world import World, make_world

_numbers = count()
MakeWorld = Callable[[str], World]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("backup") / "postgres", durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    # one for all: each bucket takes several volumes of the server's
    server.client().create_bucket(Bucket="plain")
    server.client().create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    yield server
    server.stop()


def s3_environ(server: S3Server, folder: Path, place: str, endpoint: str = "") -> dict[str, str]:
    """The settings of a destination at `bucket/prefix`."""
    credentials = folder / "credentials"
    credentials.mkdir(parents=True, exist_ok=True)
    (credentials / SECRET_S3_ACCESS_KEY_ID).write_text(server.access_key_id, encoding="ascii")
    (credentials / SECRET_S3_SECRET_ACCESS_KEY).write_text(server.secret_access_key, encoding="ascii")
    return {
        names.ENV_BACKUP_DESTINATION: f"s3://{place}",
        names.ENV_BACKUP_S3_ENDPOINT: endpoint or server.endpoint,
        names.ENV_BACKUP_S3_CREDENTIALS_DIR: str(credentials),
    }


@pytest.fixture
def make(postgres: Postgres, tmp_path: Path, request: pytest.FixtureRequest) -> MakeWorld:
    """Makes a world with a destination: `s3`, `locked` (a bucket with Object Lock) or `folder`."""

    def made(kind: str) -> World:
        number = next(_numbers)
        folder = tmp_path / f"world-{number}"
        folder.mkdir()
        if kind == "folder":
            (folder / "copies").mkdir()
            destination = {names.ENV_BACKUP_DESTINATION: (folder / "copies").as_uri()}
        else:
            server: S3Server = request.getfixturevalue("s3")
            bucket = "locked" if kind == "locked" else "plain"
            destination = s3_environ(server, folder, f"{bucket}/copies-{number}")
        return make_world(folder, postgres, f"credits_{number}", destination)

    return made


@pytest.fixture(params=["s3", "folder"])
def world(make: MakeWorld, request: pytest.FixtureRequest) -> World:
    """A world for each kind of destination."""
    return make(request.param)


@pytest.fixture
def folder_world(make: MakeWorld) -> World:
    return make("folder")


@pytest.fixture
def s3_world(make: MakeWorld) -> World:
    return make("s3")
