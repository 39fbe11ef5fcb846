"""Fuzz one target guided by coverage: see docs/fuzzing.md. Needs atheris, which `pip install -e .[fuzz]` brings."""

import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
with atheris.instrument_imports(include=["wire", "zdns", "broker", "peer", "ui"]):
    from tests.support.fuzz_targets import TARGETS

LEN_MAX = {"codec": 4_096, "ticket": 1_200, "lines": 1_000}  # of one input, in bytes; the others are plays


def main() -> None:
    """Arguments: target, seconds, and the folder that collects what reaches something new."""
    name, seconds, work = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    work.mkdir(parents=True, exist_ok=True)
    known = ROOT / "tests" / "corpus" / name
    folders = [str(work), *([str(known)] if known.is_dir() else [])]
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LEN_MAX.get(name, 3_000)}",
        f"-artifact_prefix={work.parent}/{name}-",
        f"-len_control={20 if name in LEN_MAX else 0}",
        "-timeout=30",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, *folders], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
