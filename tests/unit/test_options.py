"""ui.options: flag over environment over file over default; what will not do is refused by name and cause."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.options import (
    COMMAND_NAMES,
    OPTIONS,
    SETTABLE,
    CommandError,
    check_setting,
    default_text,
    options_of,
    setting,
    settle,
    shown_setting,
)

FILE = "/home/ana/.config/relevo/relevo.toml"


def settled(
    command: str = "chat",
    flags: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
    file: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return dict(settle(command, flags or {}, environment or {}, file or {}, FILE).values)


def test_with_nothing_said_everything_has_its_default() -> None:
    values = settled()
    assert values["server_uri"] == "backend.com"
    assert values["dns"] == ("localhost:8000",)
    assert values["min_n"] == 0
    assert values["term"] == 30.0
    assert values["name"] is None
    assert values["serve_first"] is False
    assert (values["replicas"], values["ephemeral"]) == (1, False)


def test_the_zdns_listens_everywhere_at_port_8000_by_default() -> None:
    values = settled("dns")
    assert (values["host"], values["port"], values["store"], values["lease"]) == ("0.0.0.0", 8000, "sqlite", 3.0)


@pytest.mark.parametrize(
    ("flags", "environment", "file", "expected"),
    [
        ({"min_n": "4"}, {"RELEVO_MIN_N": "3"}, {"min_n": 2, "chat": {"min_n": 1}}, 4),
        ({}, {"RELEVO_MIN_N": "3"}, {"min_n": 2, "chat": {"min_n": 1}}, 3),
        ({}, {"RELEVO_MIN_N": ""}, {"min_n": 2, "chat": {"min_n": 1}}, 1),
        ({}, {}, {"min_n": 2, "serve": {"min_n": 1}}, 2),
        ({}, {}, {"min-n": 2}, 2),
        ({}, {}, {}, 0),
    ],
)
def test_the_more_important_place_wins(
    flags: dict[str, Any], environment: dict[str, str], file: dict[str, Any], expected: int
) -> None:
    assert settled("chat", flags, environment, file)["min_n"] == expected


def test_it_is_known_what_was_given() -> None:
    settings = settle("chat", {"flood": "5"}, {"RELEVO_NAME": "ana"}, {"term": 2}, FILE)
    assert settings.given == ("name", "term", "flood")


@pytest.mark.parametrize(
    ("flags", "file", "given"),
    [
        ({}, {}, None),
        ({"dns": "localhost"}, {}, ("localhost:8000",)),
        ({}, {"dns_port": 9}, ("localhost:9",)),
        ({"dns_ip": "10.0.0.5"}, {"dns": "b:2"}, ("10.0.0.5:8000",)),
    ],
)
def test_a_name_server_that_somebody_named_is_told_from_the_default(
    flags: dict[str, Any], file: dict[str, Any], given: tuple[str, ...] | None
) -> None:
    assert settle("chat", flags, {}, file, FILE).given_dns == given


@pytest.mark.parametrize("word", ["1", "true", "YES", "on"])
def test_the_environment_can_switch_on_and_off(word: str) -> None:
    assert settled("chat", {}, {"RELEVO_EPHEMERAL": word})["ephemeral"] is True
    assert settled("chat", {}, {"RELEVO_EPHEMERAL": "no"}, {"ephemeral": True})["ephemeral"] is False


@pytest.mark.parametrize(
    ("key", "said", "value"),
    [
        ("dns", "10.0.0.5", ("10.0.0.5:8000",)),
        ("dns", "a:1,b:2", ("a:1", "b:2")),
        ("dns", "[::1]:9", ("[::1]:9",)),
        ("dns", "::1", ("[::1]:8000",)),
        ("dns", "a.example:1, b.example:2", ("a.example:1", "b.example:2")),
        ("flood", "20/second", 20.0),
        ("flood", "20/s", 20.0),
        ("flood", "0", 0.0),
        ("term", "0.3", 0.3),
        ("term", "0", 0.0),
        ("server_uri", "Tea.Example", "tea.example"),
        ("log_level", "DEBUG", "debug"),
        ("bind", "[::1]", "::1"),
        ("theme", "Dark", "dark"),
        ("colors", "256", "256"),
        ("ascii", "on", "yes"),
        ("ascii", "auto", "auto"),
        ("mouse", "on", True),
        ("bell", "off", False),
        ("joins", "none", "none"),
        ("paste_lines", "10", 10),
        ("replicas", "0", 0),
        ("replicas", "15", 15),
        ("keys", "redraw=f5,close=alt+q", {"redraw": ("f5",), "close": ("meta q",)}),
    ],
)
def test_what_a_value_may_look_like(key: str, said: str, value: object) -> None:
    assert settled("chat", {key: said})[key] == value


def test_the_file_may_list_name_servers() -> None:
    assert settled("chat", {}, {}, {"dns": ["a:1", "b"]})["dns"] == ("a:1", "b:8000")


@pytest.mark.parametrize(
    ("flags", "environment", "file", "expected"),
    [
        ({"dns_ip": "10.0.0.5"}, {"RELEVO_DNS": "b:2"}, {}, ("10.0.0.5:8000",)),
        ({"dns_port": "9"}, {}, {"dns_ip": "x", "dns": "b:2"}, ("x:9",)),
        ({"dns": "a:1"}, {"RELEVO_DNS_IP": "b"}, {}, ("a:1",)),
        ({}, {}, {"dns_ip": "::1", "dns_port": 9}, ("[::1]:9",)),
        ({}, {}, {"dns_ip": "x", "chat": {"dns": "y"}}, ("y:8000",)),
    ],
)
def test_one_name_server_is_named_in_parts_or_in_one(
    flags: dict[str, Any], environment: dict[str, str], file: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert settled("chat", flags, environment, file)["dns"] == expected


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("min_n", "many"),
        ("min_n", "-1"),
        ("min_n", "1001"),
        ("term", "-1"),
        ("term", "nan"),
        ("term", "inf"),
        ("term", "0.001"),
        ("dns_port", "0"),
        ("dns_port", "65536"),
        ("dns_ip", "localhost:8000"),
        ("dns_ip", "a b"),
        ("dns", "a:port"),
        ("dns", ""),
        ("name", "a b"),
        ("name", ""),
        ("server_uri", "no blanks please"),
        ("flood", "fast"),
        ("log_level", "loud"),
        ("data_dir", "\x1b"),
        ("theme", "pink"),
        ("colors", "17"),
        ("ascii", "perhaps"),
        ("bell", "loud"),
        ("joins", "some"),
        ("paste_lines", "0"),
        ("replicas", "16"),
        ("replicas", "-1"),
        ("keys", "redraw"),
        ("keys", "redraw=ctrl a"),
    ],
)
def test_a_bad_flag_is_a_usage_error_that_names_the_flag(key: str, said: str) -> None:
    flag = next(option.flags[-1] for option in OPTIONS if option.key == key)
    with pytest.raises(CommandError) as error:
        settled("chat", {key: said})
    assert error.value.exit_code == 2
    assert str(error.value).startswith(f"{flag}: ")


def test_a_bad_variable_is_named_with_its_cause() -> None:
    with pytest.raises(CommandError) as error:
        settled("chat", {}, {"RELEVO_MIN_N": "many"})
    assert error.value.exit_code == 78
    assert str(error.value) == (
        "RELEVO_MIN_N in the environment: it should be a whole number from 0 to 1000, not 'many'."
    )


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ({"min_n": "two"}, f"{FILE}: min_n: it should be a whole number"),
        ({"min_n": True}, f"{FILE}: min_n: it should be a whole number"),
        ({"chat": {"name": 5}}, f"{FILE}, table [chat]: name: it should be text in quotes, not 5"),
        ({"ephemeral": "perhaps"}, "ephemeral: it should be true or false"),
        ({"mim_n": 1}, "there is no option 'mim_n'. Did you mean 'min_n'?"),
        ({"chat": {"port": 1}}, "table [chat]: there is no option 'port'. Did you mean 'dns_port'?"),
        ({"chta": {}}, "there is no command 'chta' for the table [chta]. Did you mean 'chat'?"),
        ({"zzz": 1}, "there is no option 'zzz'. Known: server_uri"),
        ({"dns": "a:1", "dns_ip": "b"}, "dns: it says the same as dns_ip and dns_port; give one or the other."),
        ({"term": [1]}, "term: it should be a number, not [1]"),
        ({"dns": []}, "1 to 16 addresses"),
        ({"keys": {"redrwa": "f5"}}, "keys: there is no action 'redrwa'; did you mean redraw?"),
        ({"chat": {"keys": {"redraw": 5}}}, "table [chat]: keys: each action should have a key in quotes"),
        ({"theme": {"dark": 1}}, "there is no command 'theme' for the table [theme]"),
    ],
)
def test_a_bad_file_is_named_with_key_and_cause(file: dict[str, Any], part: str) -> None:
    with pytest.raises(CommandError) as error:
        settled("chat", {}, {}, file)
    assert error.value.exit_code == 78
    assert part in str(error.value)
    assert FILE in str(error.value)


@pytest.mark.parametrize(
    "file",
    [
        {"keys": {"redraw": "f5"}},
        {"chat": {"keys": {"redraw": ["f5"]}}},
        {"keys": {"redraw": "f6"}, "chat": {"keys": {"redraw": "f5"}}},
    ],
)
def test_keys_may_be_a_table_of_the_file(file: dict[str, Any]) -> None:
    assert settled("chat", {}, {}, file)["keys"] == {"redraw": ("f5",)}
    assert settled("chat", {}, {"RELEVO_KEYS": "close=f7"}, file)["keys"] == {"close": ("f7",)}


def test_it_is_known_where_a_value_came_from() -> None:
    settings = settle("chat", {"flood": "5", "mouse": False}, {"RELEVO_NAME": "ana"}, {"chat": {"bell": False}}, FILE)
    assert settings.origins == {
        "name": "environment, RELEVO_NAME",
        "flood": "flag --flood",
        "mouse": "flag --no-mouse",
        "bell": f"file {FILE}, table [chat]",
    }


def test_what_can_be_set_while_the_console_runs_is_set_as_at_the_start() -> None:
    for key in SETTABLE:
        option = setting(key)
        assert option.key == key
        assert check_setting(key, shown_setting(option.default)) == option.default
        for word in option.words:
            assert shown_setting(check_setting(key, word)) == word
    assert check_setting("Paste-Lines", "7") == 7


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("bell", "loud", "bell: it should be on or off, not 'loud'."),
        ("theme", "pink", "theme: it should be auto, dark, light or mono, not 'pink'."),
        ("paste_lines", "x", "paste_lines: it should be a whole number from 1 to 10000, not 'x'."),
        ("thme", "dark", "There is no setting 'thme'. Did you mean theme?"),
        ("zzz", "1", f"There is no setting 'zzz'. There are {', '.join(SETTABLE)}."),
        ("term", "5", f"term can only be given at the start, as --term. There are {', '.join(SETTABLE)}."),
    ],
)
def test_what_cannot_be_set_is_said_in_a_sentence(name: str, text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        check_setting(name, text)
    assert str(error.value) == sentence


def test_words_and_what_is_checked_agree() -> None:
    for option in OPTIONS:
        for word in option.words:
            assert option.check(word) is not None
        if option.words and option.metavar:
            assert option.metavar == "|".join(option.words)


def test_defaults_are_shown_as_one_would_type_them() -> None:
    shown = {option.key: default_text(option) for option in OPTIONS}
    assert (shown["term"], shown["bell"], shown["mouse"], shown["name"], shown["keys"]) == ("30", "on", "", "", "")


def test_a_bad_value_of_another_commands_table_does_no_harm_here() -> None:
    assert settled("chat", {}, {}, {"dns": "a:1"})["dns"] == ("a:1",)
    assert settled("chat", {}, {}, {"serve": {"min_n": "two"}})["min_n"] == 0


def test_a_flag_that_contradicts_another_is_a_usage_error() -> None:
    with pytest.raises(CommandError, match="give one or the other") as error:
        settled("chat", {"dns": "a:1", "dns_ip": "b"})
    assert error.value.exit_code == 2


@pytest.mark.parametrize("command", COMMAND_NAMES)
def test_no_command_has_a_flag_twice_and_every_default_would_pass(command: str) -> None:
    flags = [flag for option in options_of(command) for flag in option.all_flags]
    assert sorted(flags) == sorted(dict.fromkeys(flags))
    for option in options_of(command):
        if option.default is not None:
            assert option.check(option.default) == option.default


@given(
    st.sampled_from(COMMAND_NAMES),
    st.dictionaries(st.sampled_from([option.key for option in OPTIONS]), st.text(), max_size=4),
    st.dictionaries(
        st.sampled_from([option.key for option in OPTIONS]),
        st.text() | st.integers() | st.floats() | st.booleans() | st.lists(st.text()) | st.none(),
        max_size=4,
    ),
)
def test_whatever_is_said_it_is_taken_or_refused(command: str, said: dict[str, str], file: dict[str, Any]) -> None:
    environment = {f"RELEVO_{key.upper()}": value for key, value in said.items()}
    try:
        values = settled(command, {}, environment, file)
    except CommandError as error:
        assert error.exit_code == 78
    else:
        assert sorted(values) == sorted(option.key for option in options_of(command))
