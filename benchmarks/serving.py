"""`nsfw serve` under load, on loopback: batches against single pictures, and five times its capacity.

    python benchmarks/serving.py PICTURES --part batching --rounds 5
    python benchmarks/serving.py PICTURES --part overload --seconds 60

Run it in a project folder with something in production; PICTURES is a folder of photographs, each request holds one.
`batching` starts two services, with serve.batch as in params.yaml and 1, each with a queue of --queue pictures, and
loads them in turn with as many clients. `overload` measures one service with a single client, then with as many
clients as its queue takes (its capacity), then at --times its capacity regardless of answers. The client shares the
machine's cores. Prints a table and, last, one line of JSON.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from pipeline.params.root import load_params

_CONNECTIONS = 400


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, kept open: send a request, await its status."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._received, self._answer = b"", asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Collect one answer."""
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(rest) >= length and not self._answer.done():
            self._answer.set_result(int(self._received[9:12]))

    def connection_lost(self, _: Exception | None) -> None:
        """End the wait for an answer."""
        self.transport = None
        if not self._answer.done():
            self._answer.set_result(0)

    async def ask(self, request: bytes) -> int:
        """Send a request; return the answer's status, 0 where the connection was lost."""
        self._received, self._answer = b"", asyncio.get_running_loop().create_future()
        if self.transport is None:
            return 0
        self.transport.write(request)
        return await asyncio.wait_for(self._answer, 60)


class Load:
    """Requests to one port, and their outcomes: (status, seconds) each."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._port, self._requests, self._free = port, requests, list[Connection]()
        self.seen: list[tuple[int, float]] = []
        self.open = 0

    async def one(self) -> None:
        """Send a random request on a free connection, or a new one."""
        request = random.choice(self._requests)  # noqa: S311 -- no secret
        begun = time.perf_counter()
        connection = self._free.pop() if self._free else None
        if connection is None or connection.transport is None:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(Connection, "127.0.0.1", self._port)
        self.open += 1
        status = await connection.ask(request)
        self.open -= 1
        self.seen.append((status, time.perf_counter() - begun))
        self._free.append(connection)

    async def closed(self, clients: int, seconds: float) -> float:
        """Run `clients` clients, each of which waits for its answer; return answers with status 200 per second."""
        end, before, begun = time.perf_counter() + seconds, len(self.seen), time.perf_counter()

        async def client() -> None:
            while time.perf_counter() < end:
                await self.one()

        await asyncio.gather(*(client() for _ in range(clients)))
        good = sum(status == 200 for status, _ in self.seen[before:])
        return good / (time.perf_counter() - begun)

    async def at(self, rate: float, seconds: float) -> None:
        """Send `rate` requests per second at random times, regardless of answers."""
        loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()
        due, end = loop.time(), loop.time() + seconds
        while due < end:
            due += random.expovariate(rate)
            await asyncio.sleep(max(0.0, due - loop.time()))
            if self.open < _CONNECTIONS:
                tasks.add(task := loop.create_task(self.one()))
                task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)


@contextmanager
def service(batch: int | None = None, queue: int | None = None) -> Iterator[tuple[int, psutil.Process]]:
    """Run `nsfw serve` with the given serve.batch and serve.queue; yield its port and process once it is ready."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    command = [sys.executable, __file__, "-", "--serve", str(port)]
    command += ["--batch", str(batch), "--queue", str(queue)] if batch else []
    with Path(os.devnull).open("w") as nowhere:
        process = subprocess.Popen(command, stdout=nowhere, stderr=nowhere)
        try:
            for _ in range(300):
                with suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
                    break
                time.sleep(0.3)
            else:
                raise SystemExit("nsfw serve did not start")
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()
            if process.wait(60) != 0:
                raise SystemExit(f"nsfw serve ended with exit code {process.returncode}")


def requests(folder: Path, limit: int = 200) -> list[bytes]:
    """Return a request for each of the first pictures."""
    posts = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file())[:limit]:
        body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + path.read_bytes()
        body += b"\r\n--x--\r\n"
        head = "POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        posts.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return posts


def cpu(process: psutil.Process) -> float:
    """Return the CPU seconds that a service and its workers have used."""
    return sum(sum(one.cpu_times()[:2]) for one in [process, *process.children(recursive=True)])


def percentile(values: list[float], share: float) -> float:
    """Return a percentile in ms; NaN of nothing."""
    ordered = sorted(values)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def batching(posts: list[bytes], rounds: int, seconds: float, queue: int) -> dict[str, float]:
    """Load both services in turn; print each round and return the medians of the ratios."""
    params = load_params().serve
    rates, costs = [], []
    with ExitStack() as stack:
        services = [stack.enter_context(service(batch, queue)) for batch in (params.batch, 1)]
        print(f"{'round':>5} {'batch':>5} {'pictures/s':>10} {'CPU ms/picture':>14}")
        for number in range(rounds + 1):
            rate, cost = [], []
            for (port, process), batch in zip(services, (params.batch, 1), strict=True):
                load, before = Load(port, posts), cpu(process)
                rate.append(asyncio.run(load.closed(queue, seconds)))
                cost.append(1000 * (cpu(process) - before) / len(load.seen))
                print(f"{number or 'warm':>5} {batch:>5} {rate[-1]:>10.1f} {cost[-1]:>14.2f}")
            if number:
                rates.append(rate[0] / rate[1])
                costs.append(cost[1] / cost[0])
    return {
        "pictures/s, batches / one at a time": round(statistics.median(rates), 2),
        "CPU a picture, one at a time / batches": round(statistics.median(costs), 2),
    }


def overload(posts: list[bytes], times: float, seconds: float) -> dict[str, float]:
    """Measure a service with one client, at its capacity and beyond."""
    queue = load_params().serve.capacity

    async def measure(port: int) -> tuple[Load, Load, Load, float]:
        await Load(port, posts).closed(queue, 5.0)
        alone, full, beyond = Load(port, posts), Load(port, posts), Load(port, posts)
        await alone.closed(1, max(10.0, seconds / 3))
        capacity = await full.closed(queue, max(10.0, seconds / 4))
        await beyond.at(times * capacity, seconds)
        return alone, full, beyond, capacity

    with service() as (port, _):
        alone, full, beyond, capacity = asyncio.run(measure(port))
    print(f"capacity {capacity:.1f} pictures/s; offered {len(beyond.seen) / seconds:.0f}/s for {seconds:g} s")
    print(f"{'':24} {'answers':>8} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}")
    figures = {}
    for name, load in (("alone", alone), ("full", full), ("beyond", beyond)):
        for status in sorted({status for status, _ in load.seen}):
            took = [seconds for one, seconds in load.seen if one == status]
            figures[name, status] = percentile(took, 0.99)
            shown = f"{percentile(took, 0.5):>8.1f} {figures[name, status]:>8.1f} {1000 * max(took):>8.1f}"
            print(f"{name + ', ' + str(status):24} {len(took):>8} {shown}")
    counts = Counter(status for status, _ in beyond.seen)
    return {
        "share of 429": round(counts[429] / len(beyond.seen), 3),
        "p99 of a 429, ms": round(figures.get(("beyond", 429), float("nan")), 1),
        "p99 of a 200, beyond / alone": round(figures["beyond", 200] / figures["alone", 200], 2),
        "answers of 200 a second, beyond / full": round(counts[200] / seconds / capacity, 2),
        "neither 200 nor 429": sum(counts.values()) - counts[200] - counts[429],
    }


def main() -> None:
    """Measure and print, JSON last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--part", choices=["batching", "overload"], default="batching")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--times", type=float, default=5.0, help="capacity, in overload")
    parser.add_argument("--queue", type=int, default=16, help="pictures in hand, in batching")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        from pipeline.service import serve
        from pipeline.tracking.server import prepare_environment

        prepare_environment()
        params = load_params()
        if options.batch:
            update = {"batch": options.batch, "queue": options.queue}
            params = params.model_copy(update={"serve": params.serve.model_copy(update=update)})
        serve.serve(params, host="127.0.0.1", port=options.serve)
        return
    posts = requests(options.pictures)
    if options.part == "batching":
        print(json.dumps(batching(posts, options.rounds, options.seconds, options.queue)))
    else:
        print(json.dumps(overload(posts, options.times, options.seconds)))


if __name__ == "__main__":
    main()
