"""Name every Prometheus metric, with its unit. Labels are few and bounded: never ids."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_MS = (0.5, 1, 2, 3, 5, 7.5, 10, 15, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

DEAD_LETTERS = Counter(
    "freshet_dead_letters_total", "Records that could not be processed", ["service", "error_class"]
)

OVER_QUOTA = Counter(
    "freshet_over_quota_total",
    "Calls beyond FRESHET_CALLER_CALLS_PER_S, by the name of their caller's token",
    ["caller"],
)

# sessions
EVENTS_FOLDED = Counter(
    "freshet_events_folded_total", "Events whose effect is in Redis", ["partition"]
)
EVENT_EFFECTS = Counter(
    "freshet_event_effects_total",
    "Events folded, by what they did: applied, late, too_old (counts for trending alone), repeated"
    " (its id stands in the history), forgotten (not later than the user's forget), forgot",
    ["effect"],
)
EVENTS_DROPPED = Counter(
    "freshet_events_dropped_total", "Events that a guard covered already", ["partition"]
)
UNKNOWN_TYPES = Counter(
    "freshet_unknown_event_types_total",
    "Events of types that nobody weighs, by the first 20 names; the rest are `other`",
    ["type"],
)
UNKNOWN_ITEMS = Counter(
    "freshet_unknown_items_total",
    "Events of items that the catalogue did not know: in histories, but counted for nobody else",
)
UNKNOWN_IDS_DROPPED = Counter(
    "freshet_unknown_ids_dropped_total",
    "Ids of such items that made room for others (FRESHET_UNKNOWN_IDS_AT_MOST)",
)
SEGMENTS_REFUSED = Counter(
    "freshet_segments_refused_total",
    "Events whose segment had no scope of trending (FRESHET_SEGMENTS, FRESHET_SEGMENTS_AT_MOST)",
)
EXCLUSIONS_DROPPED = Counter(
    "freshet_exclusions_dropped_total",
    "Hidden, disliked or bought items that full lists let go (FRESHET_EXCLUSIONS_AT_MOST)",
)
WRITES_REFUSED = Counter(
    "freshet_writes_refused_total", "Scripts that found another guard or stamp than expected"
)
INCREMENTS_LOST = Counter(
    "freshet_increments_lost_total",
    "Increments of co-visits and trending whose key in Redis holds another type",
)
REWINDS = Counter(
    "freshet_rewinds_total",
    "Times a partition was read again from its position in Redis",
    ["partition"],
)
EVENT_TO_STATE_S = Histogram(
    "freshet_event_to_state_seconds",
    "From the log's time of an event to its effect in Redis",
    buckets=_SECONDS,
)
SESSIONS_LAG = Gauge(
    "freshet_sessions_lag_records", "Records of clicks not applied yet", ["partition"]
)
USERS_LAG = Gauge(
    "freshet_users_lag_records", "Records of users, of this worker's share, not applied yet"
)

# embedding
ITEMS_ENCODED = Counter(
    "freshet_items_encoded_total", "Items whose picture or text went through a model", ["topic"]
)
ITEMS_REUSED = Counter(
    "freshet_items_reused_total", "Items whose content had not changed", ["topic"]
)
ITEMS_OVERTAKEN = Counter(
    "freshet_items_overtaken_total",
    "Records of items that changed nothing, as a newer one counted already",
    ["topic"],
)
PICTURES_MISSING = Gauge(
    "freshet_pictures_missing_items",
    "Items published without their picture, by the class of the reason; all, on each instance",
    ["error_class"],
)
ITEM_TO_VECTOR_S = Histogram(
    "freshet_item_to_vector_seconds",
    "From the log's time of an item to its vector's publication",
    ["topic"],
    buckets=_SECONDS,
)
ENCODE_BATCH = Histogram(
    "freshet_encode_batch_items",
    "Items of one batch through a model",
    ["model"],
    buckets=(1, 2, 4, 8, 16),
)
SNAPSHOT_AT = Gauge(
    "freshet_snapshot_created_timestamp_seconds", "When the newest snapshot was made"
)
EMBEDDING_LAG = Gauge(
    "freshet_embedding_lag_records", "Records of a topic not processed yet", ["topic"]
)

# ranking
REQUESTS = Counter("freshet_requests_total", "Calls answered", ["method", "code"])
REQUEST_MS = Histogram(
    "freshet_request_milliseconds", "Time of a call inside the service", ["method"], buckets=_MS
)
STAGE_MS = Histogram(
    "freshet_stage_milliseconds", "Time of one stage of Recommend", ["stage"], buckets=_MS
)
CANDIDATES = Counter(
    "freshet_candidates_total",
    "Candidates of lists: proposed by a source, removed and added by filters, ranked, listed",
    ["stage", "part"],
)
DEGRADED = Counter("freshet_degraded_total", "Replies that left something out", ["reason"])
IMPRESSIONS_DROPPED = Counter(
    "freshet_impressions_dropped_total", "Impressions that found the buffer full"
)
CATALOGUE_ITEMS = Gauge("freshet_catalogue_items", "Items that can be recommended")
CATALOGUE_LAG = Gauge("freshet_catalogue_lag_records", "Records of item-vectors not applied yet")
FRESH_ITEMS = Gauge("freshet_fresh_segment_items", "Items outside the snapshot's index")

# gateway
HTTP_REQUESTS = Counter(
    "freshet_http_requests_total", "HTTP calls answered, by path and status", ["path", "status"]
)
HTTP_REQUEST_MS = Histogram(
    "freshet_http_request_milliseconds",
    "Time of an HTTP call inside the gateway, with what it waits for",
    ["path"],
    buckets=_MS,
)
