"""Settings refuse at start and say which variable, which value and what would be right."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from freshet.settings import BadSetting, from_environment, setting


@dataclass(frozen=True, slots=True)
class Inner:
    """Settings that several services share."""

    url: str = setting("URL", "redis://127.0.0.1:6379/0")


@dataclass(frozen=True, slots=True)
class Settings:
    """One field of every kind."""

    port: int = setting("PORT", 50051, at_least=0, at_most=65535)
    half_life_h: float = setting("HALF_LIFE_H", 6.0, at_least=0.1)
    level: str = setting("LEVEL", "info", one_of=("debug", "info"))
    enabled: bool = setting("ENABLED", False)
    hosts: tuple[str, ...] = setting("HOSTS", ())
    ratio: float = setting("RATIO", 0.2, at_most=1)
    inner: Inner = Inner()


@dataclass(frozen=True, slots=True)
class Outer:
    """Settings within settings."""

    settings: Settings = Settings()


def test_absent_variables_leave_the_defaults() -> None:
    assert from_environment(Settings, {"OTHER": "x"}) == Settings()


def test_each_kind_is_read() -> None:
    environ = {
        "PORT": "0",
        "HALF_LIFE_H": "1.5",
        "LEVEL": "debug",
        "ENABLED": "Yes",
        "HOSTS": "a.example.org, b.example.org,",
        "RATIO": "1",
        "URL": "redis://elsewhere/1",
    }
    assert from_environment(Settings, environ) == Settings(
        port=0,
        half_life_h=1.5,
        level="debug",
        enabled=True,
        hosts=("a.example.org", "b.example.org"),
        ratio=1.0,
        inner=Inner(url="redis://elsewhere/1"),
    )


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("PORT", "http", "PORT must be a whole number between 0 and 65535, was 'http'"),
        ("PORT", "65536", "PORT must be a whole number between 0 and 65535, was '65536'"),
        ("PORT", "-1", "PORT must be a whole number between 0 and 65535, was '-1'"),
        ("PORT", "", "PORT must be a whole number between 0 and 65535, was ''"),
        ("HALF_LIFE_H", "0", "HALF_LIFE_H must be a number of at least 0.1, was '0'"),
        ("HALF_LIFE_H", "nan", "HALF_LIFE_H must be a number of at least 0.1, was 'nan'"),
        ("RATIO", "-inf", "RATIO must be a number of at most 1, was '-inf'"),
        ("RATIO", "1.5", "RATIO must be a number of at most 1, was '1.5'"),
        ("LEVEL", "loud", "LEVEL must be one of debug, info, was 'loud'"),
        ("ENABLED", "maybe", "ENABLED must be true or false, was 'maybe'"),
    ],
)
def test_a_bad_value_is_refused_with_variable_value_and_what_would_be_right(
    variable: str, value: str, words: str
) -> None:
    with pytest.raises(BadSetting) as caught:
        from_environment(Settings, {variable: value})
    assert str(caught.value) == words


def test_a_bad_value_of_nested_settings_is_refused_too() -> None:
    with pytest.raises(BadSetting, match="PORT must be a whole number"):
        from_environment(Outer, {"PORT": "x"})
