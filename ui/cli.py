"""The command `relevo`: reads the command line, runs one command, and turns whatever happens into an exit code."""

import argparse
import asyncio
import contextlib
import difflib
import io
import os
import sys
import tomllib
import traceback
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from runtime import process
from ui.config_print import config_lines
from ui.options import COMMAND_NAMES, OPTIONS, CommandError, Option, Settings, default_text, options_of, settle
from ui.safe_text import safe_line
from ui.usage import ABOUT, BEGIN, USAGES
from wire import limits, names
from wire.errors import RelevoError
from wire.exits import EXIT_CONFIG, EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_USAGE

# --- the command line ----------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """As usual, but an error is raised, not exited with, and a mistyped command gets a suggestion."""

    def error(self, message: str) -> NoReturn:
        if "invalid choice" in message and message.startswith("argument COMMAND"):
            word = message.split("'")[1]
            close = difflib.get_close_matches(word, COMMAND_NAMES, n=1)
            found = f"perhaps you mean `relevo {close[0]}`" if close else f"there are {', '.join(COMMAND_NAMES)}"
            message = f"there is no command {word!r}; {found}"
        raise CommandError(f"{message}. Try: {self.prog} --help", EXIT_USAGE)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line, made from the tables of commands and options."""
    parser = _Parser(
        prog="relevo",
        description=ABOUT,
        epilog=BEGIN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version())
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for name in COMMAND_NAMES:
        _add_command(commands, name)
    return parser


def _unknown(command: str | None, word: str) -> str:
    """The sentence about a word that means nothing to `command`."""
    name = f"relevo {command}" if command else "relevo"
    if not word.startswith("-"):
        return f"{word!r} is one word too many. Try: {name} --help"
    flag = word.partition("=")[0]
    flags = [flag for option in options_of(command or "") if option.has_effect for flag in option.all_flags]
    close = difflib.get_close_matches(flag, flags, n=1)
    hint = f"; perhaps you mean {close[0]}" if close else ""
    return f"there is no option {flag}{hint}. Try: {name} --help"


def _add_command(commands: Any, name: str) -> None:
    usage = USAGES[name]
    parser = commands.add_parser(
        name,
        help=usage.about,
        description=f"{usage.about[0].upper()}{usage.about[1:]}.",
        epilog="examples:\n" + "".join(f"  {line}\n" for line in usage.examples) + _SOURCES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if name == "send":
        parser.add_argument(
            "words", nargs="*", metavar="SERVICE | TEXT", help="one word with a dot in it is the SERVICE"
        )
    elif name == "ban":
        parser.add_argument("who", nargs="?", metavar="NICK-OR-FINGERPRINT", help="whom to ban")
    elif name not in ("dns", "ticket"):
        parser.add_argument("service", nargs="?", metavar="SERVICE", help=f"default {names.DEFAULT_SERVICE}")
    parser.add_argument("--config", metavar="FILE", help="the TOML file to read options from")
    parser.add_argument(
        "--print-config", action="store_true", help="print the options as they stand, as such a file, and end"
    )
    for option in options_of(name):
        _add_option(parser, option)


def _add_option(parser: argparse.ArgumentParser, option: Option) -> None:
    default = default_text(option)
    shown = f" (default {default})" if default else ""
    text = f"{option.help}{shown}".replace("%", "%%") if option.has_effect else argparse.SUPPRESS
    if option.metavar:
        parser.add_argument(*option.flags, dest=option.key, metavar=option.metavar, help=text)
    elif option.has_no:
        parser.add_argument(*option.flags, dest=option.key, action=argparse.BooleanOptionalAction, help=text)
    else:
        parser.add_argument(*option.flags, dest=option.key, action="store_const", const=True, help=text)


_SOURCES = """
Each option is also RELEVO_<OPTION> in the environment and a key in the TOML file; a flag wins over both.
"""


def version() -> str:
    """Program and protocol version in one line."""
    try:
        number = metadata.version("relevo")
    except metadata.PackageNotFoundError:
        number = "(not installed)"
    return f"relevo {number}, protocol {limits.PROTOCOL}"


def read_settings(arguments: argparse.Namespace) -> Settings:
    """The values of the command's options from all places.

    Raises:
        CommandError: one of them will not do.
    """
    flags = {option.key: getattr(arguments, option.key, None) for option in OPTIONS}
    named = _service_argument(arguments)
    if named is not None:
        if flags["server_uri"] is not None and flags["server_uri"].strip().lower() != named.strip().lower():
            raise CommandError(f"the service is named twice: {named!r} and {flags['server_uri']!r}", EXIT_USAGE)
        flags["server_uri"] = named
    file_path, is_asked_for = _config_file(arguments)
    file = _read_file(file_path, must_exist=is_asked_for)
    if arguments.command == "send" and arguments.words:
        _check_text(arguments.words[0])
    try:
        settings = settle(arguments.command, flags, os.environ, file, str(file_path))
    except CommandError as error:
        if error.exit_code == EXIT_USAGE:
            raise CommandError(f"{error} Try: relevo {arguments.command} --help", EXIT_USAGE) from error
        raise
    if settings.values.get("plain") and settings["json"]:
        raise CommandError("--plain and --json exclude each other", EXIT_USAGE)
    return settings


def _config_file(arguments: argparse.Namespace) -> tuple[Path, bool]:
    """The TOML file, and whether somebody asked for it: then it must be there."""
    path = arguments.config or os.environ.get("RELEVO_CONFIG", "")
    return (Path(path), True) if path else (process.config_dir() / "relevo.toml", False)


def _service_argument(arguments: argparse.Namespace) -> str | None:
    """The service named without a flag; `send` then keeps only the text in `arguments.words`."""
    if arguments.command != "send":
        return getattr(arguments, "service", None)
    words: list[str] = arguments.words
    if len(words) > (1 if arguments.server_uri else 2):
        raise CommandError("too many words: put the text in quotes. Try: relevo send --help", EXIT_USAGE)
    if len(words) == 2 or (len(words) == 1 and not arguments.server_uri and _looks_like_service(words[0])):
        arguments.words = words[1:]
        return words[0]
    return None


def _looks_like_service(word: str) -> bool:
    try:
        return "." in word and names.check_service(word) == word.lower()
    except ValueError:
        return False


def _check_text(text: str) -> None:
    if not text.strip():
        raise CommandError("there is nothing in the text to send", EXIT_USAGE)
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError as error:
        raise CommandError("the text is not proper UTF-8", EXIT_USAGE) from error
    if size_bytes > limits.TEXT_BYTES_MAX:
        raise CommandError(
            f"a text has at most {limits.TEXT_BYTES_MAX:,} bytes, this one has {size_bytes:,}: send it in parts",
            EXIT_USAGE,
        )


def _read_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if must_exist:
            raise CommandError(f"{path}: there is no such file", EXIT_CONFIG) from error
        return {}
    except OSError as error:
        if not must_exist and isinstance(error, NotADirectoryError | PermissionError):
            return {}  # an account without a usable home folder has no configuration
        raise CommandError(f"{path}: cannot be read ({error.strerror})", EXIT_CONFIG) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: is not UTF-8 text", EXIT_CONFIG) from error
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{path}: is not proper TOML: {error}", EXIT_CONFIG) from error


# --- running a command ---------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run `relevo` with these arguments (None: the process's); returns the exit code."""
    arguments: argparse.Namespace | None = None
    log_file: Path | None = None
    try:
        _open_streams()
        try:
            arguments, unknown = build_parser().parse_known_args(argv)
            if unknown:
                raise CommandError(_unknown(arguments.command, unknown[0]), EXIT_USAGE)
            if arguments.command is None:
                raise CommandError(f"which command? One of {', '.join(COMMAND_NAMES)}. Try: relevo --help", EXIT_USAGE)
            settings = read_settings(arguments)
            if arguments.print_config:
                _print_config(settings, str(_config_file(arguments)[0]))
                return 0
            log_file = _log_file(settings)
            _set_up(settings, log_file)
            code = _run(settings, arguments, log_file)
        except SystemExit as ended:  # argparse has printed help or version
            code = int(ended.code or 0)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has enough. What is still buffered must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the last resort: no traceback ever reaches the terminal
        return _report(error, arguments, log_file)


def _run(settings: Settings, arguments: argparse.Namespace, log_file: Path | None) -> int:
    # Imported here: help and usage errors need neither ZeroMQ nor any of the rest, and are there at once.
    from ui.runners import RUNNERS

    return asyncio.run(RUNNERS[settings.command](settings, arguments, log_file))


def _print_config(settings: Settings, file_name: str) -> None:
    """On standard output, in UTF-8 whatever the locale says: so TOML is written."""
    text = "".join(f"{line}\n" for line in config_lines(settings, file_name))
    sys.stdout.buffer.write(text.encode(errors="backslashreplace"))
    sys.stdout.flush()


def _open_streams() -> None:
    """Whoever closed our standard streams gets nothing, but no error either."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  # for the life of the process
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # likewise
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # likewise


def _report(error: Exception, arguments: argparse.Namespace | None, log_file: Path | None) -> int:
    """Say on standard error what went wrong; returns the exit code."""
    name = f"relevo {arguments.command}" if arguments is not None and arguments.command else "relevo"
    code = getattr(error, "exit_code", None)
    if isinstance(error, RelevoError) and code is not None:
        _complain(name, str(error))
        return int(code)
    where = _keep_traceback(error, log_file)
    _complain(name, f"internal error ({type(error).__name__}); {where}")
    return EXIT_INTERNAL


def _keep_traceback(error: Exception, log_file: Path | None) -> str:
    """Write the traceback into the log; returns the half sentence that says where."""
    if log_file is None:
        return "run it again with --log-file FILE to keep the details"
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("a", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)
    except OSError as failure:
        return f"the details could not be written to {log_file} ({failure.strerror})"
    return f"the details are in {log_file}"


def _complain(name: str, sentence: str) -> None:
    with contextlib.suppress(OSError):
        print(f"{name}: {safe_line(sentence)}", file=sys.stderr, flush=True)


def _log_file(settings: Settings) -> Path | None:
    if settings["log_file"] is not None:
        return Path(settings["log_file"])
    if settings.values.get("ephemeral"):
        return None
    if settings["data_dir"] is not None:
        return Path(settings["data_dir"]) / "log"
    return process.state_dir() / "log"


def _set_up(settings: Settings, log_file: Path | None) -> None:
    """Logging, streams that never fail on a character, and a word about options without effect."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # With --json standard error carries the log, unless it has a file of its own.
    to_stderr = settings.command == "chat" and settings["json"] and settings["log_file"] is None
    try:
        process.set_up_logging(settings["log_level"], None if to_stderr else log_file, to_stderr=to_stderr)
    except OSError as error:
        if settings["log_file"] is not None:
            raise CommandError(f"--log-file: {log_file} cannot be written ({error.strerror})", EXIT_CONFIG) from error
        process.set_up_logging(settings["log_level"], None, to_stderr=to_stderr)
    for option in options_of(settings.command):
        if not option.has_effect and option.key in settings.given:
            _complain(f"relevo {settings.command}", f"{option.flags[-1]} has no effect in this version")
