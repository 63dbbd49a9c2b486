"""Passes TCP connections on to another port of loopback: killed, it is a service that is gone, with all its data safe.

Run     python tcp_forwarder.py PORT TARGET_PORT
"""

import asyncio
import sys
from contextlib import closing, suppress
from functools import partial


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with closing(target), suppress(ConnectionError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()


async def _connected(target_port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with closing(writer):
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", target_port)
        await asyncio.gather(_copy(reader, target_writer), _copy(target_reader, writer))


async def _forward(port: int, target_port: int) -> None:
    server = await asyncio.start_server(partial(_connected, target_port), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_forward(int(sys.argv[1]), int(sys.argv[2])))
