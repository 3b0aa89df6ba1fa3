"""No secret in logs, answers, arguments or the environment, whatever goes wrong."""

from contextlib import ExitStack, suppress
from pathlib import Path

from shieldx_contract import ENV_KEY_PEPPER_FILE, ENV_LOG_LEVEL
from tests.integration.harness import Api, Stack, new_id


def test_no_secret_is_ever_written_down(stack: Stack) -> None:
    with ExitStack() as exits:
        process = stack.replica(exits, **{ENV_LOG_LEVEL: "debug"})
        api = Api(process.url, stack.admin_key)
        exits.callback(api.close)
        tenant_id = api.tenant(10)
        key = api.issue(tenant_id, "consume", "read")
        wrong = f"sxk_{new_id().replace('-', '')[:16]}_{'w' * 43}"
        answers = []
        for used in (key, wrong, stack.admin_key):
            with api.with_key(used) as client:
                answers += [client.consume(tenant_id, 1), client.consume(tenant_id, 100), client.balance(tenant_id)]
                answers.append(client.http.put("/credits/keys/0123456789abcdef", json={"key": wrong, "scopes": [used]}))
        # a database that refuses the password, and one that is away
        uri_file = process.database_uri_file
        old = uri_file.read_text(encoding="utf-8")
        with suppress(Exception):
            stack.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        bad = "leaked-password-of-the-database"
        for uri in (
            stack.postgres.uri("credits", password=bad),
            f"postgresql://credits:{bad}@127.0.0.1:1/credits",
            f"postgresql://credits:{bad}@[broken/credits",
        ):
            uri_file.write_text(uri, encoding="utf-8")
            answers.append(api.consume(tenant_id, 1))
            process.readiness()
        uri_file.write_text(old, encoding="utf-8")
        said = str(process.readiness()) + process.metrics() + "".join(a.text for a in answers)
        proc = Path(f"/proc/{process.child.pid}")
        shown = (proc / "cmdline").read_text() + (proc / "environ").read_text()
        process.stop()
        logged = process.child.log_file.read_text(encoding="utf-8")

    assert {a.status_code for a in answers} >= {200, 401, 402, 422, 503}
    secrets = {
        "admin key": stack.admin_key.split("_", 2)[2],
        "issued key": key.split("_", 2)[2],
        "wrong key": "w" * 43,
        "owner's database password": stack.postgres.password,
        "database password": stack.postgres.service_uri("credits").partition("@")[0].rpartition(":")[2],
        "other database password": bad,
        "pepper": Path(process.environ[ENV_KEY_PEPPER_FILE]).read_text(encoding="utf-8"),
        "cache password": stack.redis.uri.split(":")[2].split("@")[0],
    }
    assert "request failed" in logged
    for name, secret in secrets.items():
        assert secret not in logged, name
        assert secret not in shown, name
        assert secret not in said, name


def test_only_a_hash_of_a_key_is_stored(stack: Stack) -> None:
    key = stack.api.issue(None, "read")
    row = stack.sql("SELECT * FROM credits.api_keys WHERE key_id = $1", key.split("_")[1])[0]
    assert len(row["key_hash"]) == 32
    assert key.split("_", 2)[2] not in str(dict(row))
