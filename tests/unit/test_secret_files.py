"""runtime.secret_files: nobody else can read them, half-written ones are never seen, and two makers agree."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import secret_files
from runtime.secret_files import SecretFileError, read, update
from wire import limits

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is not there yet, in a folder that is not there either."""
    return secret_files.folder_of(tmp_path / "data") / "one.json"


def write(path: Path, data: bytes) -> None:
    update(path, lambda _: data)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_what_is_not_there_is_told_from_what_is_empty(path: Path) -> None:
    assert read(path) is None
    write(path, b"")
    assert read(path) == b""


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277, 0o777])
def test_files_and_folder_are_for_their_owner_alone_whatever_the_umask(path: Path, umask: int) -> None:
    path.parent.parent.mkdir()
    before = os.umask(umask)
    try:
        write(path, b"key")
        write(path, b"another key")
    finally:
        os.umask(before)
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert read(path) == b"another key"
    assert sorted(os.listdir(path.parent)) == [".lock", "one.json"]


def test_the_data_folder_itself_may_be_open_to_all(path: Path) -> None:
    path.parent.parent.mkdir(mode=0o755)
    write(path, b"key")
    assert read(path) == b"key"


@pytest.mark.parametrize("wrong", [0o640, 0o620, 0o604, 0o602, 0o644, 0o666, 0o610])
def test_a_file_that_others_can_read_or_write_is_refused_with_what_to_type(path: Path, wrong: int) -> None:
    write(path, b"key")
    path.chmod(wrong)
    for use in (lambda: read(path), lambda: write(path, b"new")):
        with pytest.raises(SecretFileError, match=rf"mode {wrong:o}\).* chmod 600 {path}") as error:
            use()
        assert error.value.exit_code == 78
        assert "key" not in str(error.value).replace(str(path), "").replace("chmod 600", "")
    path.chmod(0o600)
    assert read(path) == b"key"


@pytest.mark.parametrize("wrong", [0o770, 0o707, 0o777, 0o730])
def test_a_folder_that_others_may_write_to_is_refused(path: Path, wrong: int) -> None:
    write(path, b"key")
    path.parent.chmod(wrong)
    with pytest.raises(SecretFileError, match=f"chmod 700 {path.parent}"):
        read(path)


def test_a_folder_that_others_may_only_look_into_is_closed_to_them(path: Path) -> None:
    write(path, b"key")
    path.parent.chmod(0o755)
    assert read(path) == b"key"
    assert mode(path.parent) == 0o700


def test_a_path_that_a_shell_would_take_apart_is_quoted(tmp_path: Path) -> None:
    path = secret_files.folder_of(tmp_path / "my data; rm") / "one.json"
    write(path, b"key")
    path.chmod(0o644)
    with pytest.raises(SecretFileError, match=r"chmod 600 '/.*my data; rm/keys/one\.json'"):
        read(path)


def test_what_is_no_file_is_refused(path: Path, tmp_path: Path) -> None:
    write(path, b"key")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"planted")
    elsewhere.chmod(0o600)
    path.unlink()
    path.symlink_to(elsewhere)
    with pytest.raises(SecretFileError, match="no ordinary file"):
        read(path)
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(SecretFileError, match="no ordinary file"):
        write(path, b"key")
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(SecretFileError, match="no ordinary file"):
        read(path)
    path.unlink()
    path.mkdir(mode=0o700)
    with pytest.raises(SecretFileError, match="no ordinary file"):
        read(path)
    assert elsewhere.read_bytes() == b"planted"


def test_a_folder_that_is_a_link_is_refused(path: Path, tmp_path: Path) -> None:
    write(path, b"key")
    path.parent.rename(tmp_path / "moved")
    path.parent.symlink_to(tmp_path / "moved")
    with pytest.raises(SecretFileError, match="a link to one"):
        read(path)
    path.parent.unlink()
    path.parent.write_text("a file")
    with pytest.raises(SecretFileError, match="is no folder"):
        write(path, b"key")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_belongs_to_somebody_else_is_refused(path: Path) -> None:
    write(path, b"key")
    os.chown(path, 12345, -1)
    with pytest.raises(SecretFileError, match=f"{path} belongs to another account"):
        read(path)
    os.chown(path.parent, 12345, -1)
    with pytest.raises(SecretFileError, match=f"{path.parent} belongs to another account"):
        read(path)


def test_a_file_has_a_bound(path: Path) -> None:
    write(path, b"x" * limits.SECRET_FILE_BYTES_MAX)
    assert len(read(path) or b"") == limits.SECRET_FILE_BYTES_MAX
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(SecretFileError, match="longer than 524,288 bytes"):
        read(path)
    path.unlink()
    with pytest.raises(SecretFileError, match="would be longer"):
        write(path, b"x" * (limits.SECRET_FILE_BYTES_MAX + 1))
    assert read(path) is None


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    path = secret_files.folder_of(tmp_path / "data") / "one.json"
    with pytest.raises(SecretFileError, match=r"one\.json cannot be written \(File exists\)"):
        write(path, b"key")


def test_when_a_change_fails_nothing_happens_and_the_next_one_can(path: Path) -> None:
    write(path, b"key")

    def fail(_: bytes | None) -> bytes:
        raise ValueError

    with pytest.raises(ValueError):
        update(path, fail)
    assert read(path) == b"key"
    (path.parent / ".new").write_bytes(b"of somebody killed while writing")
    write(path, b"next")
    assert read(path) == b"next"


def run_together(code: str, path: Path, count: int) -> list[str]:
    """What processes print that all begin at the same moment."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", f"import sys\nfrom pathlib import Path\n{code}", str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    return [run.communicate(timeout=60)[0].strip() for run in runs]


MAKE = """
import os
from runtime.secret_files import update
print("ready", flush=True)
sys.stdin.readline()
for number in range(50):
    mine = f"{os.getpid()}-{number}".encode()
    path = Path(sys.argv[1]).with_name(f"{number}.json")
    print(update(path, lambda old: mine if old is None else old).decode())
"""

COUNT = """
from runtime.secret_files import update
print("ready", flush=True)
sys.stdin.readline()
for _ in range(100):
    update(Path(sys.argv[1]), lambda old: str(int(old or b"0") + 1).encode())
"""

READ = """
from runtime.secret_files import read, update
path = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(100):
    update(path, lambda _: bytes([97 + number % 26]) * 100_000)
    found = read(path)
    assert len(found) == 100_000 and len(set(found)) == 1
print("whole")
"""


def test_of_processes_that_make_a_file_at_once_all_get_that_of_one(path: Path) -> None:
    told = run_together(MAKE, path, 3)
    assert len(set(told)) == 1
    assert len(told[0].split()) == 50


def test_of_processes_that_change_a_file_at_once_no_change_is_lost(path: Path) -> None:
    run_together(COUNT, path, 3)
    assert read(path) == b"300"


def test_nobody_sees_half_a_file(path: Path) -> None:
    assert run_together(READ, path, 2) == ["whole", "whole"]
