"""Settings refuse at start and say which variable, which value and what would be right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from freshet.addresses import ADDRESS, SERVERS
from freshet.kafka_clients import KafkaSettings
from freshet.settings import BadSetting, checked, from_environment, setting, without_password
from shared.runtime.redis_client import RedisSettings


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


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "valkey://h",
        "http://h:6379",
        "redis://h:port",
        "redis://h:99999",
        "redis://h/first",
        "redis://h/0?patience=9",
        "redis://h/0?socket_timeout=long",
        "rediss://h?ssl_cert_reqs=perhaps",
        "unix://",
        "redis://:pa55#word@h:6379",
        "redis://:pa55/word@h:6379",
        "shop:pa55word@h:6379",
        "valkey://h/0?password=pa55word",
        "redis+sentinel://h:26379",
        "redis+sentinel://:pa55word@h,/main/0",
        "redis+sentinel://:pa55word@h:first/main/0",
        "redis+sentinel://:pa55word@h/main/first",
        "redis+sentinel://h/main/0?sentinel_password=pa55word&patience=9",
        "sentinel://:pa55word@h/main/0",
    ],
)
def test_what_is_no_redis_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BadSetting) as caught:
        from_environment(RedisSettings, {"REDIS_URL": url})
    right = "REDIS_URL must be redis://host:port/db, such as redis://127.0.0.1:6379/0"
    assert str(caught.value).startswith(right)
    assert str(caught.value).endswith(f"was {without_password(url)!r}")
    assert "pa55" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h:6379",
        "redis://h:6379/15",
        "rediss://shop:pa55@h:6379/0?ssl_cert_reqs=required",
        "unix:///run/valkey.sock?db=2",
        "redis+sentinel://h/main",
        "redis+sentinel://h:26379,[::1]:26380,i/main/0",
        "rediss+sentinel://shop:pa55@h,i/main/2?sentinel_password=pa55&ssl_cert_reqs=required",
    ],
)
def test_a_redis_url_is_taken_and_shows_its_password_nowhere(url: str) -> None:
    settings = from_environment(RedisSettings, {"REDIS_URL": url})
    assert settings.url == url
    assert "pa55" not in repr(settings) + without_password(url)


@pytest.mark.parametrize(
    "servers",
    [
        "",
        "localhost",
        "localhost:abc",
        "h:0",
        "h:65536",
        "http://h:9092",
        "a:1,b",
        "a:1,,b:2",
        "a b:1",
    ],
)
def test_what_are_no_bootstrap_servers_is_refused(servers: str) -> None:
    with pytest.raises(BadSetting) as caught:
        checked("KAFKA_BOOTSTRAP_SERVERS", servers, SERVERS)
    assert str(caught.value) == (
        "KAFKA_BOOTSTRAP_SERVERS must be host:port, comma separated, such as 127.0.0.1:9092, "
        f"was {servers!r}"
    )


@pytest.mark.parametrize("servers", ["h:9092", "a.b-c:1, d_e:2", "[::1]:9092", "10.0.0.1:65535"])
def test_bootstrap_servers_are_taken(servers: str) -> None:
    assert checked("KAFKA_BOOTSTRAP_SERVERS", servers, SERVERS) == servers


@pytest.mark.parametrize("address", ["", "h", "h:port", ":1", "h:0", "http://h:1"])
def test_what_is_no_address_of_a_service_is_refused(address: str) -> None:
    with pytest.raises(BadSetting, match="X must be host:port, such as 127.0.0.1:50051, was"):
        checked("X", address, ADDRESS)


@pytest.mark.parametrize("variable", ["CA_FILE", "CERT_FILE", "KEY_FILE"])
def test_a_file_of_kafkas_security_is_pem_or_refused(variable: str, tmp_path: Path) -> None:
    name, file = f"FRESHET_KAFKA_{variable}", tmp_path / "file.pem"
    for _ in range(2):  # not there, then no PEM
        with pytest.raises(BadSetting, match=f"{name} must be a PEM file that can be read, was"):
            from_environment(KafkaSettings, {name: str(file)})
        file.write_text("hello")
    file.write_text("-----BEGIN CERTIFICATE-----")
    for taken in ("", str(file)):
        from_environment(KafkaSettings, {name: taken})
