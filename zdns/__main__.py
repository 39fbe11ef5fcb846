"""zdns by itself, without the rest of the program: `python -m zdns`."""

import argparse
import asyncio
import contextlib
import json
import sys
from pathlib import Path

from runtime import process
from runtime.links import LinkError
from wire import limits
from wire.exits import EXIT_CONFIG, EXIT_INTERNAL, EXIT_UNAVAILABLE
from zdns.server import run_dns
from zdns.stores import MemoryStore, SqliteStore, Store, StoreDoubtful, StoreError


def main() -> int:
    """Serve until SIGINT or SIGTERM; one line of JSON on standard output says where."""
    parser = argparse.ArgumentParser(prog="python -m zdns", description="The name server of Relevo.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: all (default: %(default)s)")
    parser.add_argument("--port", type=int, default=limits.DNS_PORT, help="0: any free one (default: %(default)s)")
    parser.add_argument("--store", choices=("sqlite", "memory"), default="sqlite", help="(default: %(default)s)")
    parser.add_argument("--data", type=Path, help="the file of records (default: zdns-PORT.sqlite in the data folder)")
    parser.add_argument("--lease", type=float, default=limits.LEASE_MS / 1000, metavar="SECONDS")
    parser.add_argument(
        "--grace",
        type=float,
        default=limits.GRACE_MS / 1000,
        metavar="SECONDS",
        help="how long after its start it gives no name away of which it has no record (default: %(default)s)",
    )
    options = parser.parse_args()
    lease_ms, grace_ms = round(options.lease * 1000), round(options.grace * 1000)
    if lease_ms <= 0 or grace_ms < 0 or not 0 <= options.port <= 65_535:
        parser.error("a lease has to last, a grace is not negative, and a port is a number from 0 to 65535")
    process.set_up_logging("warning", to_stderr=True)
    path = options.data or process.data_dir() / f"zdns-{options.port}.sqlite"
    try:
        with contextlib.closing(MemoryStore() if options.store == "memory" else SqliteStore(path)) as store:
            asyncio.run(_run(options.host, options.port, store, lease_ms, grace_ms))
    except LinkError as error:
        print(f"zdns: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    except StoreError as error:
        print(f"zdns: {error}", file=sys.stderr)
        return EXIT_INTERNAL if isinstance(error, StoreDoubtful) else EXIT_CONFIG
    return 0


async def _run(host: str, port: int, store: Store, lease_ms: int, grace_ms: int) -> None:
    task = asyncio.ensure_future(run_dns(host, port, store, lease_ms, _say_where, grace_ms=grace_ms))

    def end() -> None:
        task.cancel()

    process.on_signals(asyncio.get_running_loop(), end)
    with contextlib.suppress(asyncio.CancelledError):  # a signal came, which is how this ends
        await task


def _say_where(endpoint: str) -> None:
    print(json.dumps({"event": "listening", "endpoint": endpoint}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
