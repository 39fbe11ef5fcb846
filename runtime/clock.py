"""The only reader of time: monotonic milliseconds for cores, UTC milliseconds for labels."""

import time


def monotonic_ms() -> int:
    """Milliseconds that never jump or go back, from an arbitrary beginning."""
    return time.monotonic_ns() // 1_000_000


def utc_ms() -> int:
    """Milliseconds since 1970 in UTC, as the wall clock has it; only ever a label."""
    return time.time_ns() // 1_000_000
