"""Files a user names while typing: what a half typed name could become, and a new file with lines in it."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from ui.export import Export, export_lines
from ui.safe_text import safe_line
from ui.wording import Stamp, counted
from wire.errors import RelevoError

NAMES_MAX = 100  # chosen: names offered for a half typed one
ENTRIES_MAX = 10_000  # chosen: of a folder, so many are looked at


class NotWritten(RelevoError):
    """A file could not be written; the sentence says which, and why."""


def names_like(text: str) -> list[str]:
    """What a half typed file name could become, sorted: each begins with `text`, and folders end in "/".

    Hidden files are left out unless the name begins so; a folder that cannot be read has nothing in it.
    """
    folder, begun = os.path.split(text)
    found = list[str]()
    with contextlib.suppress(OSError, ValueError), os.scandir(_expanded(folder or ".")) as entries:
        for _, entry in zip(range(ENTRIES_MAX), entries, strict=False):
            if entry.name.startswith(begun) and (begun or not entry.name.startswith(".")) and entry.name.isprintable():
                found.append(os.path.join(folder, entry.name) + ("/" if entry.is_dir() else ""))
    return sorted(found)[:NAMES_MAX]


def write_new(text: str, lines: Iterable[str]) -> Path:
    """Write a file that is not there yet, UTF-8 with a line end after each line; returns where it is.

    Raises:
        NotWritten: it is there already, or cannot be written; then nothing is left of it.
    """
    path = Path(_expanded(text))
    made = False
    try:
        path = path.absolute()
        with path.open("x", encoding="utf-8", newline="\n") as file:
            made = True
            file.writelines(f"{line}\n" for line in lines)
    except FileExistsError as error:
        raise NotWritten(f"{path} is there already; name another file") from error
    except FileNotFoundError as error:
        raise NotWritten(f"{path} cannot be written (there is no such folder)") from error
    except (OSError, ValueError) as error:
        if made:
            with contextlib.suppress(OSError):
                path.unlink()
        why = error.strerror if isinstance(error, OSError) and error.strerror else "that is no file name"
        raise NotWritten(f"{path} cannot be written ({why})") from error
    return path


def write_export(export: Export, stamp: Stamp) -> str:
    """Write an export to its file; returns the sentence that says so.

    Raises:
        NotWritten: as for `write_new`.
    """
    messages = export.messages
    where = write_new(export.path, export_lines(export.path, messages, stamp))
    return f"{counted(len(messages), 'message')} written to {safe_line(str(where))}"


def _expanded(text: str) -> str:
    """With the home folder for a "~" at the beginning."""
    return os.path.expanduser(text)
