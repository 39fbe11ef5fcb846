"""Target and source killed with -9 at every step of a handover: whole afterwards, or its loss said plainly?"""

import random
import re
import time
from collections import Counter
from pathlib import Path

from benchmarks.load import Author, Stage, arguments, dump, promises_broken, show

# What the log of a server half says when a step begins; the process is killed as soon as the line is there.
STEPS = {
    "source": (
        "giving=linking",
        "giving=offered",
        "giving=dumping",
        "giving=prepared",
        "giving=sealed",
        "giving=transferring",
        "retired",
    ),
    "target": ("taking=receiving", "taking=verified", "taking=active"),
}
WHOLE, SAID, BROKEN = "whole", "loss said plainly", "BROKEN"
_STATE = re.compile(r" -> (.*) on \S+; \d+ commands")


def last_state(log: Path) -> str:
    """The state a server half was in when it wrote its last line."""
    found = _STATE.findall(log.read_text(encoding="utf-8")) if log.exists() else []
    return str(found[-1]) if found else ""


def wait_for_step(log: Path, step: str, patience_s: float = 20.0) -> None:
    """Return as soon as the log says that `step` has begun (or never, for a handover that ended before)."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if log.exists() and step in log.read_text(encoding="utf-8"):
            return
        time.sleep(0.0005)


def one_kill(role: str, step: str, delay_s: float, messages: int) -> tuple[str, str]:
    """One room, one handover, one death; returns how it ended and the state the victim was in."""
    with Stage() as stage:
        people: dict[str, Author] = {}
        for name in ("ana", "bo", "cy"):
            log = ("--log-level", "info", "--log-file", str(stage.home / name), "--term", "0")
            people[name] = stage.author(name, *(("-s",) if name == "ana" else ()), *log)
        for number in range(messages):
            people["ana"].post(number, "z" * 1_000)
        people["ana"].wait_for_acks(range(messages))
        people["cy"].wait_for_head(messages)
        victim = {"source": "ana", "target": "bo"}[role]
        people["cy"].chat.do("handover", to="bo")
        log_file = stage.home / f"{victim}-server"
        wait_for_step(log_file, step)
        time.sleep(delay_s)
        people[victim].chat.kill()
        state = last_state(log_file)
        survivors = [person for name, person in people.items() if name != victim]
        for index, person in enumerate(survivors):
            person.post(10_000 + index, "afterwards")

        def ended(person: Author) -> bool:
            lost = any(fault.get("code") == "nobody_serves" for fault in person.faults)
            return lost or any(number >= 10_000 for number in person.acked_at)

        for person in survivors:
            person.wait(lambda person=person: ended(person), "an end")  # type: ignore[misc]  # bound for the loop
        if any(fault.get("code") == "nobody_serves" for person in survivors for fault in person.faults):
            return SAID, state
        head = messages + len(survivors)
        for person in survivors:
            person.wait_for_head(head)
        broken = promises_broken(survivors)
        return (BROKEN if any(broken.values()) else WHOLE), state


def main() -> None:
    """Run it; exits with 1 when a room was neither whole nor said to be lost."""
    options = arguments(__doc__ or "", kills=50, messages=2_000, seed=1)
    chance = random.Random(options.seed)
    plan = [(role, step) for role, steps in STEPS.items() for step in steps]
    outcomes: Counter[tuple[str, str, str]] = Counter()
    states: Counter[str] = Counter()
    for index in range(options.kills):
        role, step = plan[index % len(plan)]
        outcome, state = one_kill(role, step, chance.choice((0.0, 0.0, chance.random() * 0.01)), options.messages)
        outcomes[role, step, outcome] += 1
        states[
            " ".join(part for part in state.split() if "=" in part and "epoch" not in part and "open" not in part)
        ] += 1
    rows = [[role, step, outcome, count] for (role, step, outcome), count in sorted(outcomes.items())]
    if options.json:
        dump({"benchmark": "kill_steps", "outcomes": rows, "last_logged_states": dict(states)})
    else:
        show("Killed with -9 when this step began", rows, ["who", "step", "the room afterwards", "times"])
        show("Last state the victim had logged", sorted(states.items()), ["state", "times"])
    raise SystemExit(any(outcome == BROKEN for _, _, outcome in outcomes))


if __name__ == "__main__":
    main()
