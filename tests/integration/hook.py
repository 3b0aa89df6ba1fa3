"""A webhook that remembers what it was told."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hook:
    """`answers` are the statuses of its next answers; then it says 200. Each is given after `pause_s`."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.accepted: list[str] = []
        """The ids of those that were answered 200, in their order."""
        self.answers: list[int] = []
        self.pause_s = 0.0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                fields = {name.lower(): value for name, value in self.headers.items()}
                status = hook.answers.pop(0) if hook.answers else 200
                hook.received.append((fields, body))
                time.sleep(hook.pause_s)
                if status == 200:
                    hook.accepted.append(fields["webhook-id"])
                self.send_response(status)
                self.send_header("location", "http://127.0.0.1:1/")
                self.send_header("content-length", "0")
                self.end_headers()

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    # the sender was killed
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"

    def told(self, tenant_id: str) -> list[tuple[int, int]]:
        """Threshold and what was available, of each delivery about a tenant."""
        found = [json.loads(body)["data"] for _, body in self.received]
        return [(data["threshold"], data["available"]) for data in found if data["tenant_id"] == tenant_id]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)
