"""The options of a command as they stand, as the text of a TOML file; pure."""

from typing import Any

from ui.checks import join_address
from ui.options import Option, Settings, options_of
from ui.safe_text import safe_line

# Where nothing was said, the value is another one for lines from a pipe; a file that says it would end that.
_DEPENDS = ("flood",)


def config_lines(settings: Settings, file_name: str) -> list[str]:
    """The lines of a file that gives the same settings again, in a table of this command.

    Each line says what the option is for and where its value came from. What has no value is a comment.
    `file_name`: the file that would be read the next time.
    """
    rows = [_row(option, settings) for option in options_of(settings.command)]
    width = min(40, max(len(setting) for setting, _ in rows))
    return [
        f"# relevo {settings.command}: its options as they stand. To keep them: {safe_line(file_name)}",
        f"[{settings.command}]",
        *(f"{setting:<{width}}  # {remark}" for setting, remark in rows),
    ]


def _row(option: Option, settings: Settings) -> tuple[str, str]:
    value, origin = settings[option.key], settings.origins.get(option.key, "")
    if not option.has_effect:
        return f"# {option.key} = …", f"{option.help}; without effect in this version"
    if value is None or not _is_said(option, settings):
        return f"# {option.key} = …", f"{option.help}; {_absent(option, settings)}"
    if option.is_secret:
        return f"# {option.key} = …", f"{option.help}; {safe_line(origin)}; not shown"
    if option.key in _DEPENDS and not origin:
        return f"# {option.key} = {toml(value)}", f"{option.help}; default"
    return f"{option.key} = {toml(value)}", f"{option.help}; {safe_line(origin) or 'default'}"


def _is_said(option: Option, settings: Settings) -> bool:
    """`dns` says the same as `dns_ip` and `dns_port`, which say it if they can; to say both is an error."""
    if option.key not in ("dns", "dns_ip", "dns_port"):
        return True
    in_parts = settings["dns"] == (join_address(settings["dns_ip"], settings["dns_port"]),)
    return (option.key != "dns") is bool(in_parts)


def _absent(option: Option, settings: Settings) -> str:
    if option.key == "dns":
        return "given by dns_ip and dns_port"
    return "given by dns" if settings[option.key] is not None else "no value"


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case list() | tuple():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return f"{{ {', '.join(f'{toml(key)} = {toml(one)}' for key, one in value.items())} }}" if value else "{}"
        case _:
            escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
