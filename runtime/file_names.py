"""Names that people chose, as names of files."""

from hashlib import blake2b

_CHARS_MAX = 48  # before what makes it unique; disks allow 255 bytes
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-.")


def safe_name(name: str) -> str:
    """A file name, never hidden and never a path, that differs where `name` does, even where case does not matter."""
    plain = "".join(char if char in _PLAIN else "_" for char in name)[:_CHARS_MAX]
    if name and plain == name and not name.startswith("."):
        return name
    return f"{plain.lstrip('.')}~{blake2b(name.encode(), digest_size=6).hexdigest()}"
