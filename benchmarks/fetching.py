"""How fast `nsfw ingest urls` fetches small pictures, beside a bare loop of the same client that throws the bytes away.

Run     python benchmarks/fetching.py [--pictures 4000] [--bytes 8000] [--hosts 64] [--rounds 5]
Expect  at least 500 pictures a second on two cores; 0.17 of the bare loop, 0.06 with screening.

A server in a process of its own, on loopback, answers for all hosts. Three ways by turns, each in a new journal:
bare        aiohttp with as many connections: a request, the body read and dropped; no checks, no robots.txt, no disk
ours        all that an ingest does until the bytes are on disk: robots.txt, addresses, signatures, digests, the journal
screened    the same with a PDQ list, whose decoding runs in sandbox workers: their share is told apart by the ratio
"""

import argparse
import asyncio
import io
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import numpy as np
from aiohttp import web
from PIL import Image

from pipeline.images.sandbox import WorkerLimits
from pipeline.params.ingest import Ingest
from pipeline.params.root import load_params
from pipeline.params.screens import ScreenList
from pipeline.screening.hashing import Hasher
from pipeline.screening.lists import HashList
from pipeline.screening.screens import Screens
from pipeline.web_ingest.connecting import open_session
from pipeline.web_ingest.crawl import fetch_all
from pipeline.web_ingest.journal import STORED, Journal

ENTRIES = 10_000


def picture(number: int, size: int) -> bytes:
    """Return a JPEG of about `size` bytes, another for each number."""
    side = max(8, round((size * 2.2) ** 0.5))
    pixels = np.random.default_rng(number).integers(0, 256, (side // 4 + 1, side // 4 + 1, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def serve(contents: list[bytes], port: "multiprocessing.Queue[int]") -> None:
    """Answer /<number> with a picture, and robots.txt, until the process is ended."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=contents[int(request.match_info["number"])], content_type="image/jpeg")

    async def robots(_: web.Request) -> web.Response:
        return web.Response(text="User-agent: *\nDisallow: /private\n")

    async def run() -> None:
        application = web.Application()
        application.add_routes([web.get("/robots.txt", robots), web.get("/{number}", answer)])
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port.put(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


async def to_loopback(_host: str, _port: int) -> list[str]:
    """Resolve every name to this machine."""
    return ["127.0.0.1"]


def is_loopback(address: str) -> bool:
    """Allow this machine alone."""
    return address == "127.0.0.1"


def bare(urls: list[str], limits: Ingest) -> None:
    """Request every URL, and drop what comes."""

    async def work(session: aiohttp.ClientSession, waiting: list[str]) -> None:
        while waiting:
            async with session.get(waiting.pop()) as response:
                if response.status != 200 or not await response.read():
                    raise SystemExit("the server does not answer")

    async def run() -> None:
        async with open_session(is_loopback, "me@example.org", limits.connections, lookup=to_loopback) as session:
            waiting = list(urls)
            await asyncio.gather(*(work(session, waiting) for _ in range(limits.connections)))

    asyncio.run(run())


def ours(urls: list[str], limits: Ingest, screens: Screens | None = None) -> None:
    """Fetch every URL into a journal, as an ingest does."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.db")
        fetch_all(
            urls, journal, limits, "me@example.org", done=lambda: None, screens=screens, rule=is_loopback,
            lookup=to_loopback,
        )  # fmt: skip
        outcomes = [journal.outcome(url) for url in urls]
        if any(outcome is None or outcome.status != STORED for outcome in outcomes):
            raise SystemExit("a picture was not fetched")
        journal.delete()


def random_screens() -> Screens:
    """Return screens with one PDQ list of random hashes."""
    params = load_params()
    hashes = np.random.default_rng(1).bytes(32 * ENTRIES)
    digests = frozenset(hashes[at : at + 32] for at in range(0, len(hashes), 32))
    one = ScreenList(name="random", file="-", kind="pdq")
    settings = params.ingest.screens.model_validate(
        params.ingest.screens.model_dump() | {"contact": "nobody", "lists": [one]}
    )
    cost = WorkerLimits(20.0, 1024)
    return Screens(settings, [HashList("random", "pdq", digests)], Hasher.of(params.catalog), cost, patient=True)


def main() -> None:
    """Print a table, and last a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=4_000)
    parser.add_argument("--bytes", type=int, default=8_000)
    parser.add_argument("--hosts", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    limits = load_params().ingest.model_copy(update={"delay_seconds": 0.0})
    contents = [picture(number, options.bytes) for number in range(options.pictures)]
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(contents, ports), daemon=True)
    server.start()
    port, screens = ports.get(timeout=60), random_screens()
    urls = [f"http://h{number % options.hosts}.test:{port}/{number}" for number in range(options.pictures)]
    ways: dict[str, Callable[[], None]] = {
        "bare": lambda: bare(urls, limits),
        "ours": lambda: ours(urls, limits),
        "screened": lambda: ours(urls, limits, screens),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            rates[name].append(len(urls) / (time.perf_counter() - begun))
    server.terminate()
    print(f"{len(urls)} pictures of {statistics.mean(map(len, contents)):.0f} bytes from {options.hosts} hosts")
    for name, measured in rates.items():
        print(f"{name:<9} {statistics.median(measured):7.0f} pictures a second")
    ratios = {
        name: round(statistics.median(map(float.__truediv__, rates[name], rates["bare"])), 3)
        for name in ("ours", "screened")
    }
    print(json.dumps({f"{name}_to_bare": ratio for name, ratio in ratios.items()}))


if __name__ == "__main__":
    main()
