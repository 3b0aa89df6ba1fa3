"""A gate before a server on loopback: it can be shut, or stand open and lead nowhere."""

import asyncio
from contextlib import suppress

from dev.devserver.ports import LOOPBACK, free_port

_BUFFER = 1 << 16


class Gate:
    """`came` counts connections. To be used within one loop."""

    def __init__(self, behind: int) -> None:
        self.port = free_port()
        self.came = 0
        self._behind = behind
        self._through = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()

    async def open(self, *, silent: bool = False) -> None:
        """Lets connections in, new ones alone; `silent`: and nothing through, either way."""
        await self.shut()
        if not silent:
            self._through.set()
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)

    def hang(self) -> None:
        """Lets nothing through any more, and nobody notices."""
        self._through.clear()

    async def shut(self) -> None:
        """Refuses connections and cuts off those that there are."""
        if self._server is not None:
            self._server.close()
        self._server = None
        self._through.clear()
        pipes = list(self._pipes)
        for pipe in pipes:
            pipe.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        pipe = asyncio.create_task(self._pipe(reader, writer))
        self._pipes.add(pipe)
        pipe.add_done_callback(self._pipes.discard)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind: asyncio.StreamWriter | None = None
        try:
            await self._through.wait()
            answers, behind = await asyncio.open_connection(LOOPBACK, self._behind)
            await asyncio.gather(self._pump(reader, behind), self._pump(answers, writer))
        except OSError:
            # one side is gone: so the other goes, too
            return
        finally:
            for side in (writer, behind):
                if side is not None:
                    side.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while content := await source.read(_BUFFER):
            await self._through.wait()
            sink.write(content)
            await sink.drain()
        with suppress(OSError):
            sink.write_eof()
