"""Which entries a search finds, and which parts of words an index may narrow it down by; pure."""

_PART_CHARS = 3  # what FTS5's trigram tokenizer takes apart
_PARTS_MAX = 16  # chosen: more of them narrow nothing down any more, and each is a list to read


def words_of(query: str) -> list[str]:
    """The words that are looked for, without case."""
    return query.casefold().split()


def is_found(words: list[str], text: str, nick: str) -> bool:
    """Whether each word is in the text, wherever and without regard to case, or is its author."""
    folded, author = text.casefold(), nick.casefold()
    return all(word in folded or word == author for word in words)


def indexed_text(text: str, nick: str) -> str:
    """What an index is given of an entry: whatever `is_found` finds has all `parts_of` the words in here."""
    return _sound(f"{text.casefold()}\n{nick.casefold()}")


def parts_of(words: list[str]) -> list[str]:
    """Parts of three characters that an entry must have to be found; none when all words are shorter."""
    parts: dict[str, None] = {}
    for word in sorted(map(_sound, words), key=len, reverse=True):  # long words are rare ones
        if len(word) >= _PART_CHARS:
            parts |= dict.fromkeys(word[at : at + _PART_CHARS] for at in range(0, len(word) - 2, _PART_CHARS))
            parts[word[-_PART_CHARS:]] = None
    return list(parts)[:_PARTS_MAX]


def _sound(text: str) -> str:
    """SQLite ends a text at its first NUL."""
    return text.replace("\0", "\1")
