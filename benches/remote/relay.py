"""A relay on loopback that makes a server seem to be far away.

What passes is held back for half of the latency in each direction, and the connection for all of it, as a handshake would be; what
is sent in each direction shares one rate. It runs in a process of its own."""

import asyncio
import multiprocessing
import signal
import time

PIECE = 64 << 10


class Relay:
    """Gives the port to use: the server's own, if nothing is asked for. Latency in seconds, rate in bytes a second."""

    def __init__(self, port, latency, rate):
        self.port, self.latency, self.rate = port, latency, rate
        self.process = None

    def __enter__(self):
        if not self.latency and not self.rate:
            return self.port
        ours, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(
            target=work, args=(theirs, self.port, self.latency, self.rate), daemon=True
        )
        self.process.start()
        return ours.recv()

    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
            self.process.join()


def work(pipe, port, latency, rate):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(relay(pipe, port, latency, rate))


async def relay(pipe, port, latency, rate):
    up, down = Line(rate), Line(rate)

    async def connected(reader, writer):
        # The handshake of the connection that is not made over the distance.
        await asyncio.sleep(latency)
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            passes(reader, server_writer, up, latency / 2), passes(server_reader, writer, down, latency / 2)
        )

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=512)
    pipe.send(server.sockets[0].getsockname()[1])
    async with server:
        await server.serve_forever()


class Line:
    """One direction, which all connections share."""

    def __init__(self, rate):
        self.rate, self.free = rate, 0.0

    def takes(self, length):
        """When the last of so many bytes has gone, if they are sent now."""
        now = time.monotonic()
        self.free = max(self.free, now) + (length / self.rate if self.rate else 0)
        return self.free


async def passes(reader, writer, line, delay):
    """What is read is written some time later; reading does not wait for that, as bytes on their way do not."""
    # As much as is on its way over a connection at most.
    queue = asyncio.Queue(64)

    async def write():
        while True:
            due, piece = await queue.get()
            await asyncio.sleep(max(0, due - time.monotonic()))
            if not piece:
                writer.close()
                return
            writer.write(piece)
            await writer.drain()

    writing = asyncio.create_task(write())
    try:
        while True:
            piece = await reader.read(PIECE)
            await queue.put((line.takes(len(piece)) + delay, piece))
            if not piece:
                break
        await writing
    except OSError:
        writing.cancel()
        writer.close()
