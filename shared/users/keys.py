"""Name every Redis key, with its type, bound and unit; give items their 8-byte keys.

All functions return bytes: Redis values here are binary, so clients run without `decode_responses`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from freshet.prefix import PREFIX

# Longer than clicks keeps events (7 d), so that no guard goes before its events.
USER_TTL_S: Final = 90 * 86_400
COVISITS_TTL_S: Final = 90 * 86_400
TRENDING_TTL_S: Final = 30 * 86_400
ITEM_CACHE_TTL_S: Final = 30 * 86_400
# Of a large catalogue 100 were too few: what is only passing by pushed the good ones out.
COVISITS_AT_MOST: Final = 200  # members of one co: set
TRENDING_AT_MOST: Final = 1_000  # members of one tr: set

ALL_SCOPE: Final = "all"
POPULAR_SCOPE: Final = "popular"  # visits, with the half-life of co-visits

# How keys of each kind begin: whole, so that naming one costs no more where there is a prefix.
_USER, _STANDING, _COVISITS, _TRENDING, _ITEM_CACHE, _POSITION, _USERS_READ, _LOG, _BUNDLE = (
    (PREFIX + kind).encode()
    for kind in ("u:{", "ua:{", "co:", "tr:", "i:", "pos:", "ua-pos:", "log:", "cfg:")
)


def item_key(item_id: str) -> int:
    """Return the item's 8-byte key as an unsigned integer; its big-endian bytes stand in Redis."""
    return int.from_bytes(blake2b(item_id.encode(), digest_size=8).digest(), "big")


def item_key_bytes(key: int) -> bytes:
    """Return an item key as the 8 big-endian bytes that are a member of `co:` and `tr:` sets."""
    return key.to_bytes(8, "big")


def user(user_id: str) -> bytes:
    """Packed user state (shared/users/states.py), a string. TTL 90 d."""
    return _USER + user_id.encode() + b"}"


ALL_USERS: Final = _USER + b"*"
"""The pattern by which SCAN finds the states of all users."""


def standing(user_id: str) -> bytes:
    """What the shop said of a user last, packed (shared/users/standing.py), a string. No expiry.

    What was deleted or forgotten: 7 d.
    """
    return _STANDING + user_id.encode() + b"}"


def covisits(key: int) -> bytes:
    """Items that followed this item: a sorted set, member 8-byte item key, score log2 weight.

    At most 200 members. TTL 90 d.
    """
    return _COVISITS + key.to_bytes(8, "big").hex().encode()


def trending(scope: str) -> bytes:
    """Trending items of a scope: a sorted set like co:, at most 1,000. TTL 30 d."""
    return _TRENDING + scope.encode()


def category_scope(category: str) -> str:
    """Name the trending scope of a category."""
    return "c:" + category


def segment_scope(segment: str) -> str:
    """Name the trending scope of a segment, such as a country or channel."""
    return "s:" + segment


UNKNOWN_IDS: Final = (PREFIX + "ids").encode()
"""Ids of items that an event named when no catalogue had them, by 8-byte key: a hash. TTL 90 d.

States hold keys alone; this is how one can still be shown by what was sent. Bounded by sessions.
"""

SEGMENTS: Final = (PREFIX + "segments").encode()
"""Segments that have a trending scope: a sorted set, score s when last asked for. No expiry.

Bounded by sessions; who asked last longer ago than `tr:` lives goes.
"""


def item_cache(space: str, item_id: str) -> bytes:
    """Content hash, version and vectors of an encoded item: a hash, a cache only. TTL 30 d."""
    return _ITEM_CACHE + space.encode() + b":" + item_id.encode()


def position(topic: str, partition: int) -> bytes:
    """Offset up to which all is applied, its record time, the last stamp: a string, no expiry."""
    return _POSITION + topic.encode() + b":" + str(partition).encode()


def users_read(cluster_id: str, partition: int) -> bytes:
    """Up to where a partition of `users` is applied, as `pos:`, of one cluster. No expiry.

    Whose log is another begins with all of it: versions tell what is older.
    """
    return _USERS_READ + cluster_id.encode() + b":" + str(partition).encode()


def log_of(topic: str) -> bytes:
    """Cluster id of the log that these states come from: a string, no expiry."""
    return _LOG + topic.encode()


ACTIVE_BUNDLE: Final = _BUNDLE + b"active"
"""JSON `{"space": …, "dim": …, "order": …}` of the bundle that is served. Never expires.

Written by embedding. Earlier releases wrote no order (shared/catalogue/active_bundle.py).
"""

PREVIOUS_BUNDLE: Final = _BUNDLE + b"previous"
"""The same of its predecessor, to roll back to. Never expires."""

BUNDLE_ORDERS: Final = _BUNDLE + b"orders"
"""Number of the last order of each space that was ever to be served: a hash. Never expires."""
