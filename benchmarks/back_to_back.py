"""Handovers one after the other while three participants post 20 messages a second each; run twice."""

import time

from benchmarks.load import Stage, arguments, dump, show, spread


def one_run(handovers: int, term_s: float, posts_per_s: float) -> dict[str, object]:
    """One room through so many handovers."""
    with Stage() as stage:
        options = ("--term", str(term_s))
        authors = [stage.author("ana", "-s", *options), stage.author("bo", *options), stage.author("cy", *options)]
        number, began = 0, time.monotonic()
        while len(authors[0].relocated) < handovers:
            if time.monotonic() - began > 60 + handovers * (term_s + 5):
                raise SystemExit(f"only {len(authors[0].relocated)} of {handovers} handovers happened")
            for author in authors:
                author.post(number, "and a few words more")
            number += 1
            time.sleep(max(0.0, began + number / posts_per_s - time.monotonic()))
        took_s = time.monotonic() - began
        head = number * len(authors)
        for author in authors:
            author.wait_for_acks(range(number))
            author.wait_for_head(head)
        latency_ms = [1e3 * (a.acked_at[n] - a.posted_at[n]) for a in authors for n in a.posted_at]
        return {
            "handovers": len(authors[0].relocated),
            "seconds": round(took_s, 1),
            "posts": head,
            **stage.verdict(),
            "pause_ms": spread([event["pause_ms"] for author in authors for event in author.relocated]),
            "post_to_ack_ms": spread(latency_ms),
        }


def main() -> None:
    """Run it and print what was found; exits with 1 when a promise was broken."""
    options = arguments(__doc__ or "", handovers=100, term=0.3, posts=20.0, runs=2)
    runs = [one_run(options.handovers, options.term, options.posts) for _ in range(options.runs)]
    if options.json:
        dump({"benchmark": "back_to_back", "runs": runs})
    else:
        names = list(runs[0])
        show("Back to back", [[name, *(run[name] for run in runs)] for name in names], ["", *("run" for _ in runs)])
    raise SystemExit(any(run[name] for run in runs for name in ("lost", "doubled", "reordered", "different")))


if __name__ == "__main__":
    main()
