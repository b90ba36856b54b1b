"""Run Redis with a replica and Sentinels that watch it: one whose primary may be lost."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import redis

from services.cli.up.child import GuardedChild
from services.cli.up.process import Guarded, answers, free_port
from services.cli.up.valkey import EmbeddedValkey, _valkey
from tests.servers import eventually

SERVICE: Final = "main"


class _Sentinel(GuardedChild):
    """One Sentinel, which takes a primary for gone after 300 ms."""

    name = "sentinel"

    def __init__(self, folder: Path, primary_port: int, user: str, password: str) -> None:
        super().__init__(folder / "sentinel.log")
        self.port = free_port()
        self._folder = folder
        self._primary_port, self._user, self._password = primary_port, user, password

    def launch(self) -> None:
        """See GuardedChild.launch."""
        self._folder.mkdir(parents=True)
        config = self._folder / "sentinel.conf"
        config.write_text(
            f"bind 127.0.0.1\nport {self.port}\ndir {self._folder}\nrequirepass of-sentinel\n"
            f"sentinel sentinel-pass of-sentinel\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self._primary_port} 2\n"
            f"sentinel auth-user {SERVICE} {self._user}\n"
            f"sentinel auth-pass {SERVICE} {self._password}\n"
            f"sentinel down-after-milliseconds {SERVICE} 300\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )
        self._child = Guarded([_valkey(), str(config), "--sentinel"], self.log)

    def ready(self) -> bool:
        """See GuardedChild.ready."""
        return answers(self.pid, self.port, b"PING\r\n").startswith(b"-NOAUTH")


class WatchedRedis:
    """A primary, a replica and three Sentinels, all with passwords."""

    USER: Final = "freshet"
    PASSWORD: Final = "of-redis"

    def __init__(self, folder: Path) -> None:
        rules = folder / "users.acl"  # everybody may do a PING, by which EmbeddedValkey is ready
        rules.write_text(
            "user default on nopass -@all +ping\n"
            f"user {self.USER} on ~* &* +@all >{self.PASSWORD}\n"
        )
        common = {"aclfile": str(rules), "masteruser": self.USER, "masterauth": self.PASSWORD}
        ports = free_port(), free_port()
        self.servers = [
            EmbeddedValkey(folder / "first", ports[0], settings=common),
            EmbeddedValkey(
                folder / "second",
                ports[1],
                settings=common | {"replicaof": f"127.0.0.1 {ports[0]}"},
            ),
        ]
        self._sentinels = [
            _Sentinel(folder / f"sentinel-{n}", ports[0], self.USER, self.PASSWORD)
            for n in range(3)
        ]
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self._sentinels)
        self.url = (
            f"redis+sentinel://{self.USER}:{self.PASSWORD}@127.0.0.1:1,{hosts}/{SERVICE}/0"
            "?sentinel_password=of-sentinel"
        )  # the first Sentinel is gone

    async def start(self) -> None:
        """Start all, and wait until the Sentinels know the replica and each other."""
        for child in (*self.servers, *self._sentinels):
            child.launch()
            child.await_ready(30)

        def watched() -> bool:
            return all(
                state["num-slaves"] == 1 and state["num-other-sentinels"] == 2
                for state in map(self._state, self._sentinels)
            )

        await eventually(watched, within_s=30, what="what the Sentinels know")

    def kill(self) -> None:
        """SIGKILL all."""
        for child in (*self._sentinels, *self.servers):
            child.kill()

    def client(self, number: int) -> redis.Redis:
        """Return a client of one server."""
        url = self.servers[number].url
        return redis.Redis.from_url(url, username=self.USER, password=self.PASSWORD)

    @staticmethod
    def _state(sentinel: _Sentinel) -> dict[str, int]:
        with redis.Redis(port=sentinel.port, password="of-sentinel") as client:
            state: dict[str, int] = client.sentinel_master(SERVICE)
            return state
