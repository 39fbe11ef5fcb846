"""Target and source killed with -9 at every step of a handover: is the room whole afterwards?"""

import random
import re
import time
from collections import Counter
from pathlib import Path

from benchmarks.load import Stage, arguments, dump, show, wait_for_followers

# What the log of a server half says when a step begins; the process is killed as soon as the line is there.
STEPS = {
    "source": (
        "giving=picking",
        "giving=copying",
        "giving=prepared",
        "giving=probing",
        "giving=sealed",
        "giving=transferring",
        "copy asked",
    ),
    "target": ("copy asked", "copy following", "copy promised", "active serving"),
}
WHOLE, BROKEN = "whole", "BROKEN"
_STATE = re.compile(r" -> (.*) on \S+; \d+ commands")
_STEP = re.compile(r"giving=\w+|copy \w+|active \w+|standing by")


def last_state(log: Path) -> str:
    """The state a server half was in when it wrote its last line, as far as a handover is concerned."""
    found = _STATE.findall(log.read_text(encoding="utf-8")) if log.exists() else []
    return " ".join(_STEP.findall(found[-1])) if found else ""


def wait_for_step(log: Path, step: str, patience_s: float = 10.0) -> bool:
    """Return as soon as the log says that `step` has begun; False: it did not, as the handover had failed before."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if log.exists() and step in log.read_text(encoding="utf-8"):
            return True
        time.sleep(0.0005)
    return False


def one_kill(role: str, step: str, delay_s: float, messages: int) -> tuple[str, str]:
    """One room, one handover, one death; returns how it ended and the state the victim was in."""
    with Stage(logs=True) as stage:
        ana = stage.author("ana", "-s", "--term", "0")
        cy = stage.author("cy", "--term", "0")
        wait_for_followers([ana])  # that is cy, so that bo has to copy everything first
        people = {"ana": ana, "bo": stage.author("bo", "--term", "0"), "cy": cy}
        for number in range(messages):
            ana.post(number, "z" * 1_000)
        ana.wait_for_acks(range(messages))
        cy.wait_for_head(messages)
        victim = people.pop({"source": "ana", "target": "bo"}[role])
        cy.do("handover", to="bo")
        log_file = stage.home / victim.name / "log-server"
        for _ in range(5):
            if wait_for_step(log_file, step):
                break
            wait_for_followers([ana])
            cy.do("handover", to="bo")
        time.sleep(delay_s)
        victim.end()
        state = last_state(log_file)
        for person in people.values():
            person.post(messages, "afterwards")
        for person in people.values():
            person.wait_for_acks(range(messages, messages + 1))
        for person in people.values():
            person.wait_for_head(messages + len(people))
        return (BROKEN if any(stage.verdict().values()) else WHOLE), state


def main() -> None:
    """Run it; exits with 1 when a room was not whole."""
    options = arguments(__doc__ or "", kills=50, messages=2_000, seed=1)
    chance = random.Random(options.seed)
    plan = [(role, step) for role, steps in STEPS.items() for step in steps]
    outcomes: Counter[tuple[str, str, str]] = Counter()
    states: Counter[str] = Counter()
    for index in range(options.kills):
        role, step = plan[index % len(plan)]
        outcome, state = one_kill(role, step, chance.choice((0.0, 0.0, chance.random() * 0.01)), options.messages)
        outcomes[role, step, outcome] += 1
        states[state] += 1
    rows = [[role, step, outcome, count] for (role, step, outcome), count in sorted(outcomes.items())]
    if options.json:
        dump({"benchmark": "kill_steps", "outcomes": rows, "last_logged_states": dict(states)})
    else:
        show("Killed with -9 when this step began", rows, ["who", "step", "the room afterwards", "times"])
        show("Last state the victim had logged", sorted(states.items()), ["state", "times"])
    raise SystemExit(any(outcome == BROKEN for _, _, outcome in outcomes))


if __name__ == "__main__":
    main()
