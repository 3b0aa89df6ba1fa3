"""Programs that run inside of pods, with nothing but the Python and the aiohttp of the platform's image."""

CALLS = """
import json, sys, urllib.error, urllib.request

def call(wanted):
    request = urllib.request.Request(
        wanted["url"],
        method=wanted["method"],
        data=json.dumps(wanted["body"]).encode() if wanted.get("body") else None,
        headers={"Authorization": "Bearer " + wanted["key"], "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return {"status": answer.status, "headers": dict(answer.headers), "body": json.load(answer)}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "headers": dict(error.headers), "body": json.load(error)}

print(json.dumps([call(wanted) for wanted in json.loads(sys.stdin.readline())]))
"""
"""HTTP calls one after another; prints their answers."""

REACH = """
import concurrent.futures, json, socket, sys

def reach(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except OSError as error:
        return type(error).__name__
    return "open"

targets = json.loads(sys.stdin.readline())
with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps(dict(zip(targets, pool.map(reach, targets)))))
"""
"""Whether a TCP connection to each of `host:port` opens, and if not, by which error it does not."""

NAMES = """
import json, socket, sys

def addresses(name):
    try:
        return sorted({a[4][0] for a in socket.getaddrinfo(name, None)})
    except OSError as error:
        return [type(error).__name__]

print(json.dumps({name: addresses(name) for name in json.loads(sys.stdin.readline())}))
"""
"""What names resolve to."""

LOAD = """
import asyncio, json, sys, threading, time, uuid
import aiohttp

async def consume(session, told, key):
    body = {"tenant_id": told["tenant"], "amount": 1, "idempotency_key": key}
    began = time.monotonic()
    result = {"key": key, "status": 0, "kept": session.kept}
    try:
        async with session.post(told["url"] + "/credits/consume", json=body) as answer:
            said = await answer.json(content_type=None)
            result |= {"status": answer.status, "transaction": said.get("transaction_id"), "type": said.get("type")}
            result |= {"retry_after": answer.headers.get("Retry-After")}
            result |= {"replayed": answer.headers.get("Idempotency-Replayed")}
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        result["error"] = f"{type(error).__name__}: {error}"
    return result | {"at_s": began - START, "took_s": time.monotonic() - began}

class Session(aiohttp.ClientSession):
    kept = True

async def main():
    told = json.loads(sys.stdin.readline())
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    def wait_for_end():
        sys.stdin.read()
        loop.call_soon_threadsafe(stop.set)
    threading.Thread(target=wait_for_end, daemon=True).start()
    settings = {"headers": {"Authorization": "Bearer " + told["key"]}, "timeout": aiohttp.ClientTimeout(total=30)}
    kept = Session(connector=aiohttp.TCPConnector(limit=8), **settings)
    fresh = Session(connector=aiohttp.TCPConnector(limit=0, force_close=True), **settings)
    fresh.kept = False
    async with kept, fresh:
        tasks = []
        for number in range(told["most"]):
            if stop.is_set() if told["keys"] is None else number == len(told["keys"]):
                break
            key = str(uuid.uuid4()) if told["keys"] is None else told["keys"][number]
            tasks.append(asyncio.create_task(consume((kept, fresh)[number % 2], told, key)))
            await asyncio.sleep(max(0, START + (number + 1) / told["rate_per_s"] - time.monotonic()))
        results = await asyncio.gather(*tasks)
    print(json.dumps(results))

START = time.monotonic()
asyncio.run(main())
"""
"""An open loop: consumes one credit at a steady rate, half of the calls on kept connections and half on new ones, until
the input ends (or once for each of given `keys`). Prints what came of each call."""
