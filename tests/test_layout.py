"""Imports point downwards, pure files stay pure, and each pure file has its unit test: read from the syntax trees."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RANKS = {"wire": 0, "runtime": 1, "zdns": 2, "broker": 3, "peer": 4, "ui": 5}
FILES = sorted(path.relative_to(ROOT) for package in RANKS for path in (ROOT / package).rglob("*.py"))

# A foreign package, or a part of the standard library, and the only files that may import it.
KEPT_TO = {
    "zmq": (
        "runtime/links.py",
        "runtime/link_specs.py",
        "runtime/frames.py",
        "runtime/shared_context.py",
        "runtime/zap_handler.py",
        "runtime/key_pairs.py",
    ),
    "segno": ("ui/qr.py",),
    "tornado": ("runtime/", "ui/"),
    # The full-screen console; and for the line client only the decoder of keys and the editor of a line.
    "urwid": ("ui/view.py", "ui/console.py", "ui/terminal.py", "ui/keys.py", "ui/line_editor.py"),
    "time": ("runtime/clock.py",),
    "etcd3gw": ("zdns/etcd_store.py",),
    "requests": ("zdns/etcd_store.py",),
}
# What a pure file may not touch: the clock, chance, the network, other threads, the outside, and our own loops.
IMPURE = frozenset(
    [
        "time",
        "datetime",
        "random",
        "secrets",
        "uuid",
        "socket",
        "select",
        "selectors",
        "ssl",
        "asyncio",
        "threading",
        "multiprocessing",
        "concurrent",
        "subprocess",
        "logging",
        "os",
        "signal",
        "sys",
        "io",
        "pathlib",
        "shutil",
        "tempfile",
        "sqlite3",
        "zmq",
        "tornado",
        "urwid",
    ]
)
# Chance may be handed in: a pure file then needs the name of its type, and draws nothing by itself. And of urwid some
# parts are as pure as ours: a decoder of keys and an editor, which see neither a terminal nor a loop.
HANDED_IN = {
    "zdns/registry.py": "random",
    "zdns/shared.py": "random",
    "ui/keys.py": "urwid",
    "ui/line_editor.py": "urwid",
}
# Values without behaviour; whatever uses them tests them.
NO_UNIT_TEST = (
    "wire/step.py",
    "wire/limits.py",
    "wire/exits.py",
    "broker/reports.py",
    "broker/stored.py",
    "peer/intents.py",
    "peer/notices.py",
)


def tree_of(file: Path) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"), str(file))


def is_pure(file: Path) -> bool:
    first_line = (ast.get_docstring(tree_of(file)) or "").partition("\n")[0]
    return first_line.endswith("; pure.")


def imports_of(file: Path) -> Iterator[str]:
    """The dotted names a file imports, wherever in the file it does so."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_file(name: str) -> Path | None:
    """The file of a module of ours; None if `name` is no module but something in one, or not ours."""
    if name.partition(".")[0] not in RANKS:
        return None
    path = Path(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate in FILES:
            return candidate
    return None


def strings(file: Path) -> str:
    return file.as_posix()


@pytest.mark.parametrize("file", FILES, ids=strings)
def test_every_file_says_first_what_it_is_for(file: Path) -> None:
    if (ROOT / file).stat().st_size == 0:
        assert file.name == "__init__.py"
        return
    assert ast.get_docstring(tree_of(file))


@pytest.mark.parametrize("file", FILES, ids=strings)
def test_imports_point_downwards(file: Path) -> None:
    mine = RANKS[file.parts[0]]
    upwards = [name for name in imports_of(file) if RANKS.get(name.partition(".")[0], -1) > mine]
    assert upwards == []


@pytest.mark.parametrize("file", FILES, ids=strings)
def test_foreign_packages_are_kept_to_their_files(file: Path) -> None:
    strays = [
        name
        for name in imports_of(file)
        if (allowed := KEPT_TO.get(name.partition(".")[0])) and not file.as_posix().startswith(allowed)
    ]
    assert strays == []


@pytest.mark.parametrize("file", [file for file in FILES if is_pure(file)], ids=strings)
def test_pure_files_import_only_what_is_pure(file: Path) -> None:
    for name in imports_of(file):
        top = name.partition(".")[0]
        if top in RANKS:
            imported = module_file(name)
            assert imported is None or imported.name == "__init__.py" or is_pure(imported), f"{name} is not pure"
        elif HANDED_IN.get(file.as_posix()) != top:
            assert top not in IMPURE, f"{name} in a pure file"


@pytest.mark.parametrize("file", [file for file in FILES if is_pure(file)], ids=strings)
def test_pure_files_do_not_call_out(file: Path) -> None:
    called = {
        node.func.id
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called.isdisjoint({"open", "print", "input", "exec", "eval", "__import__"})


@pytest.mark.parametrize("file", [file for file in FILES if is_pure(file)], ids=strings)
def test_pure_files_have_their_unit_test(file: Path) -> None:
    if file.as_posix() in NO_UNIT_TEST or file.name == "__init__.py":
        return
    named = [path.name for path in (ROOT / "tests" / "unit").glob("test_*.py")]
    # Two packages may each have a core: then the package's name tells their tests apart.
    assert {f"test_{file.stem}.py", f"test_{file.parts[0]}_{file.stem}.py"} & set(named)


def test_the_core_packages_are_all_there() -> None:
    assert {file.parts[0] for file in FILES} == RANKS.keys()


def test_exceptions_name_files_that_exist_and_need_them() -> None:
    for name in NO_UNIT_TEST:
        assert is_pure(Path(name))
    for name, module in HANDED_IN.items():
        assert module in list(imports_of(Path(name)))


def test_no_two_tests_share_a_name_and_none_hides_a_package() -> None:
    tests = sorted((ROOT / "tests").rglob("*.py"))
    names = [path.name for path in tests if path.name.startswith("test_")]
    assert sorted(set(names)) == sorted(names)
    assert [path for path in tests if path.name == "__init__.py"] == []


@pytest.mark.parametrize("file", FILES, ids=strings)
def test_no_module_is_called_like_one_of_the_standard_library(file: Path) -> None:
    assert file.stem == "__init__" or file.stem not in sys.stdlib_module_names
