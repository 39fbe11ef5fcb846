"""What each command of `relevo` is for, with lines one could type; pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """One command. `words`: what it takes besides options."""

    about: str
    words: str
    examples: tuple[str, ...]


ABOUT = "Group chat for one network that needs no server of its own."
BEGIN = "Begin with: relevo dns   then, on its machine: relevo chat   elsewhere, once: relevo chat --ticket TICKET"

USAGES: dict[str, Usage] = {
    "dns": Usage(
        "run zdns, the name server",
        "",
        ("relevo dns", "relevo dns --port 9000 --store memory", "relevo dns --check && echo it answers"),
    ),
    "chat": Usage(
        "take part",
        "[SERVICE]",
        (
            "relevo chat",
            "relevo chat tea.example --name ana --dns 10.0.0.5:8000",
            "relevo chat -n 5 --plain",
            """echo '{"do":"who"}' | relevo chat --json""",
        ),
    ),
    "serve": Usage(
        "take part without a person: a server half for an always-on machine",
        "[SERVICE]",
        ("relevo serve", "relevo serve -s tea.example --term 60"),
    ),
    "send": Usage(
        "post a text, or each line of standard input, and wait until it is committed",
        "[SERVICE] [TEXT]",
        (
            'relevo send "the build is green"',
            'relevo send tea.example "kettle is on"',
            "make 2>&1 | relevo send tea.example",
        ),
    ),
    "tail": Usage(
        "print messages as they come",
        "[SERVICE]",
        ("relevo tail", "relevo tail tea.example --since 1 --no-follow", "relevo tail --json | jq .text"),
    ),
    "status": Usage(
        "show who serves, and the last handovers",
        "[SERVICE]",
        ("relevo status", "relevo status tea.example --json"),
    ),
    "handover": Usage(
        "hand the server role over now",
        "[SERVICE]",
        ("relevo handover", "relevo handover tea.example --to bo"),
    ),
    "ticket": Usage(
        "print the ticket with which others join from their machines",
        "",
        ("relevo ticket", "relevo ticket --qr", "relevo ticket --renew --everyone"),
    ),
    "ban": Usage(
        "let somebody in no more; for whoever runs zdns",
        "[NICK-OR-FINGERPRINT]",
        ("relevo ban bo", "relevo ban 0f3a-91c2-7be4-d058", "relevo ban --list", "relevo ban --lift bo"),
    ),
}
