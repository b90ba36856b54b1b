"""Name what HTTP refuses by a status of its own, beside freshet's errors."""

from __future__ import annotations

from freshet.errors import InvalidRequest


class HttpRefusal(InvalidRequest):
    """A call whose form is refused: its size, its type, the page that it comes from."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
