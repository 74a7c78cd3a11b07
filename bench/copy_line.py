"""A TCP proxy with delay, for kernels without netem: bytes leave it so many milliseconds after they came.

    python bench/copy_line.py ADDRESS PORT TO MILLISECONDS

To open a connection costs a round trip too, as on a real network: the first bytes wait for it.
"""

import asyncio
import sys

_PIECE = 1 << 18
_AHEAD = 256  # pieces on the line


async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, opening: float) -> None:
    """Forward each piece `delay` seconds after it came, the first ones `opening` seconds later."""
    loop = asyncio.get_running_loop()
    line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_AHEAD)
    begins = loop.time() + opening

    async def enter() -> None:
        try:
            while piece := await reader.read(_PIECE):
                await line.put((max(loop.time(), begins) + delay, piece))
        except OSError:
            pass
        await line.put((loop.time() + delay, b""))

    entering = asyncio.create_task(enter())
    try:
        while True:
            when, piece = await line.get()
            if (pause := when - loop.time()) > 0:
                await asyncio.sleep(pause)
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        pass
    finally:
        entering.cancel()


async def main() -> None:
    """Run until it is stopped."""
    address, port, to, delay = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]) / 1000

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(address, to)
        await asyncio.gather(
            one_way(reader, there_writer, delay, 2 * delay),
            one_way(there_reader, writer, delay, 0),
            return_exceptions=True,
        )
        writer.close()
        there_writer.close()

    server = await asyncio.start_server(connected, address, port, backlog=128)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
