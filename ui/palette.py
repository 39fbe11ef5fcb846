"""How the console looks: names of attributes and their colours by theme, signs, and what a terminal can show; pure."""

import codecs
import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from wire.names import nick_key

# A name, then foreground and background as urwid writes them: with 16 colours, without any, with 256.
Entry = tuple[str, str, str, str, str, str]

NICK_COLOURS = 12
DARK, LIGHT, EITHER, MONO = "dark", "light", "either", "mono"

# Foreground with 16 colours and with 256. Chosen so that none is near the background of its theme, nor red, which
# says that something is wrong; tests/unit/test_palette.py computes the contrast. "either": for a background that
# nobody told us of.
NICKS: Mapping[str, tuple[tuple[str, str], ...]] = {
    DARK: (
        ("light cyan", "h80"),
        ("light green", "h114"),
        ("yellow", "h180"),
        ("light magenta", "h176"),
        ("light blue", "h111"),
        ("dark cyan", "h73"),
        ("dark green", "h71"),
        ("brown", "h215"),
        ("light cyan", "h117"),
        ("light green", "h150"),
        ("yellow", "h186"),
        ("light magenta", "h141"),
    ),
    LIGHT: (
        ("dark cyan", "h23"),
        ("dark green", "h22"),
        ("dark magenta", "h90"),
        ("dark blue", "h25"),
        ("dark cyan", "h29"),
        ("dark green", "h28"),
        ("dark magenta", "h54"),
        ("dark blue", "h19"),
        ("dark cyan", "h24"),
        ("dark green", "h58"),
        ("dark magenta", "h126"),
        ("dark blue", "h61"),
    ),
    EITHER: (
        ("dark cyan", "h31"),
        ("dark green", "h64"),
        ("dark magenta", "h133"),
        ("light blue", "h69"),
        ("dark cyan", "h37"),
        ("dark green", "h71"),
        ("dark magenta", "h97"),
        ("light blue", "h33"),
        ("dark cyan", "h66"),
        ("dark green", "h65"),
        ("dark magenta", "h139"),
        ("light blue", "h67"),
    ),
}

# Roles that colours play: each theme says with which (16 colours, 256 colours).
_ROLES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    DARK: {
        "faint": ("dark gray", "h245"),
        "good": ("light green", "h114"),
        "bad": ("light red", "h203"),
        "warn": ("yellow", "h221"),
        "loud": ("light magenta", "h213"),
        "calm": ("light cyan", "h117"),
        "bar": ("light gray", "h252"),
        "bar.back": ("dark blue", "h236"),
    },
    LIGHT: {
        "faint": ("dark gray", "h242"),
        "good": ("dark green", "h28"),
        "bad": ("dark red", "h124"),
        "warn": ("dark magenta", "h130"),
        "loud": ("dark magenta", "h90"),
        "calm": ("dark blue", "h25"),
        "bar": ("black", "h235"),
        "bar.back": ("light gray", "h253"),
    },
    EITHER: {
        "faint": ("default", "h244"),
        "good": ("dark green", "h71"),
        "bad": ("dark red", "h161"),
        "warn": ("brown", "h172"),
        "loud": ("dark magenta", "h133"),
        "calm": ("dark cyan", "h31"),
        "bar": ("default", "default"),
        "bar.back": ("default", "default"),
    },
}

# Attribute: role of its colour ("" the terminal's own), what it has besides (also without colours).
_PLAIN: tuple[tuple[str, str, str], ...] = (
    ("time", "faint", ""),
    ("separator", "faint", ""),
    ("nick.me", "", "bold"),
    ("mention", "loud", "bold"),
    ("action", "", ""),
    ("came", "good", ""),
    ("went", "faint", ""),
    ("remark", "calm", ""),
    ("error", "bad", "bold"),
    ("target", "warn", "standout"),
    ("rule.day", "faint", ""),
    ("rule.unread", "bad", "bold"),
    ("state.waits", "warn", ""),
    ("state.good", "good", ""),
    ("state.bad", "bad", "bold"),
    ("topic", "calm", "underline"),
    ("hint", "calm", ""),
    ("question", "warn", "bold"),
    ("choice", "warn", "standout"),
    ("prompt", "faint", ""),
    ("member", "", ""),
    ("member.me", "", "bold"),
    ("member.key", "faint", ""),
    ("member.serving", "calm", "bold"),
    ("member.away", "faint", ""),
    ("member.silent", "warn", ""),
    ("found", "", ""),
    ("found.marked", "", "standout"),
    ("found.title", "calm", "bold"),
)
# The same on the status line, whose background is its own where the theme knows one; else it is shown in reverse.
_BAR: tuple[tuple[str, str, str], ...] = (
    ("status", "bar", ""),
    ("status.room", "bar", "bold"),
    ("status.me", "bar", "bold"),
    ("status.server", "bar", ""),
    ("status.act", "bar", "bold"),
    ("status.warn", "warn", "bold"),
    ("status.loud", "loud", "bold"),
    ("status.bad", "bad", "bold"),
)


@dataclass(frozen=True, slots=True)
class Signs:
    """What stands for things, each one column wide unless it says otherwise."""

    bar: str
    line: str
    mention: str
    more: str  # something was cut off here
    queued: str  # 1 or 2 columns, like all states
    sent: str
    committed: str
    delivered: str
    failed: str
    serving: str
    away: str
    silent: str
    marked: str


FINE = Signs("│", "─", "»", "…", "…", "→", "✓", "✓✓", "✗", "◆", "○", "?", "›")
ASCII = Signs("|", "-", ">", "~", "..", ">", "+", "++", "x!", "*", "-", "?", ">")

# Typographic characters with an equal that every terminal has; others become a question mark.
_EQUALS = str.maketrans({"…": "...", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "→": "->", "×": "x"})

# Emoji that joiners make one sign of: as many as the largest family has, with their colours of skin.
_PICTURE = "[\u2194\u2195\u2600-\u27bf\u2b1b\U0001f000-\U0001faff][\ufe0f\U0001f3fb-\U0001f3ff]{0,2}"
JOINER = "\u200d"
_JOINED = re.compile(f"{_PICTURE}(?:{JOINER}{_PICTURE}){{1,3}}|{JOINER}")


def nick_attribute(nick: str) -> str:
    """The attribute of somebody else's nick, always the same one."""
    digest = hashlib.sha256(nick_key(nick).encode()).digest()  # short names are too much alike for a checksum
    return f"nick.{int.from_bytes(digest[:4]) % NICK_COLOURS}"


def theme_of(setting: str, colors: str, environment: Mapping[str, str]) -> str:
    """Which theme a setting means at this terminal: DARK, LIGHT, EITHER or MONO.

    NO_COLOR is what the user wants of every program; a number of colours was asked of this one.
    """
    if setting == MONO or colors == "never" or (colors == "auto" and environment.get("NO_COLOR")):
        return MONO
    if setting != "auto":
        return setting
    background = environment.get("COLORFGBG", "").rpartition(";")[2]
    if not background.isdecimal() or int(background) > 15:
        return EITHER
    return LIGHT if int(background) in (7, *range(9, 16)) else DARK


def colors_of(setting: str, theme: str, terminal_colors: int) -> int:
    """How many colours to use: 1, 16 or 256; never more than the terminal has, unless the setting says so."""
    if theme == MONO or (terminal_colors < 16 and setting == "auto"):
        return 1
    if setting in ("16", "256"):
        return int(setting)
    return 256 if terminal_colors >= 256 else 16


def palette(theme: str) -> list[Entry]:
    """All attributes with their colours in a theme; MONO has the same without."""
    roles = _ROLES.get(theme, {})
    entries = [_entry(name, roles.get(role, ("default", "default")), more) for name, role, more in _PLAIN]
    back = roles.get("bar.back", ("default", "default"))
    for name, role, more in _BAR:
        # Without a background of its own the line is in reverse; a colour there would be a background's.
        fore = roles.get("bar", ("default", "default")) if back[0] == "default" else roles[role]
        mark = ",".join(filter(None, [more, "standout" if back[0] == "default" else ""]))
        entries.append(_entry(name, fore, mark, back, ",".join(filter(None, [more, "standout"]))))
    nicks = NICKS.get(theme, (("default", "default"),) * NICK_COLOURS)
    return entries + [_entry(f"nick.{number}", colour, "") for number, colour in enumerate(nicks)]


def _entry(
    name: str,
    fore: tuple[str, str],
    more: str,
    back: tuple[str, str] = ("default", "default"),
    mono: str | None = None,
) -> Entry:
    low, high = (",".join(filter(None, [colour, more])) for colour in fore)
    return (name, low, back[0], more if mono is None else mono, high, back[1])


def charset_of(environment: Mapping[str, str]) -> str:
    """The character set that a terminal's locale names, as Python calls it; UTF-8 unless another is named.

    One of several bytes a character, other than UTF-8, counts as ASCII: what such a terminal shows in a column is
    known to the terminal alone.
    """
    chosen = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "")
    if chosen in ("C", "POSIX"):
        return "ascii"
    named = chosen.partition("@")[0].partition(".")[2]
    try:
        charset = codecs.lookup(named).name if named else "utf-8"
        is_narrow = len("a\u3042".encode(charset, "ignore")) == 1
    except (LookupError, UnicodeError, TypeError, ValueError):  # no set of characters, or none that we know
        return "ascii"
    return charset if charset == "utf-8" or is_narrow else "ascii"


def loose_joiners(text: str, instead: str) -> str:
    """`text` with something else for each joiner that makes no emoji of its neighbours.

    urwid takes what is on both sides of any joiner for one sign and counts the columns of the first alone, which no
    terminal does: a row with many of them would be wider than the screen.
    """
    if JOINER not in text:
        return text
    return _JOINED.sub(lambda found: instead if found[0] == JOINER else found[0], text)


def in_charset(text: str, charset: str) -> str:
    """`text` with only what the character set has; what it lacks is spelled otherwise, or is a question mark."""
    if charset == "utf-8" or text.isascii():
        return text
    composed = unicodedata.normalize("NFC", text)
    return "".join(char if _has(charset, char) else _instead(char) for char in composed)


def _has(charset: str, char: str) -> bool:
    try:
        char.encode(charset)
    except UnicodeError:
        return False
    return True


def _instead(char: str) -> str:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):  # no column of its own
        return ""
    equal = char.translate(_EQUALS)
    return equal if equal.isascii() else "?"
