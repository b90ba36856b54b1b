"""Rates, percentiles and lags, from what services' metrics pages say at two times."""

from __future__ import annotations

import pytest

from services.gateway.console.figures import Percentiles, figures, sample_of

BEFORE = """\
# HELP freshet_events_folded_total Events whose effect is in Redis
freshet_events_folded_total{partition="0"} 10.0
freshet_events_folded_total{partition="1"} 10.0
freshet_requests_total{code="OK",method="Recommend"} 100.0
python_info 1.0
"""
AFTER = """\
freshet_events_folded_total{partition="0"} 25.0
freshet_events_folded_total{partition="1"} 15.0
freshet_requests_total{code="OK",method="Recommend"} 110.0
freshet_requests_total{code="OK",method="Search"} 7.0
freshet_degraded_total{reason="state"} 2.0
freshet_candidates_total{part="covisits",stage="candidates"} 30.0
freshet_candidates_total{part="new",stage="candidates"} 10.0
freshet_candidates_total{part="seen",stage="filter"} 9.0
freshet_stage_milliseconds_count{stage="rank"} 10.0
freshet_stage_milliseconds_sum{stage="rank"} 5.0
freshet_event_to_state_seconds_bucket{le="0.005"} 0.0
freshet_event_to_state_seconds_bucket{le="0.01"} 10.0
freshet_event_to_state_seconds_bucket{le="0.025"} 20.0
freshet_event_to_state_seconds_bucket{le="+Inf"} 20.0
freshet_sessions_lag_records{partition="3"} 4.0
freshet_embedding_lag_records{topic="items"} 1.0
freshet_catalogue_items 630.0
freshet_dead_letters_total{error_class="undecodable",service="embedding"} 2.0
freshet_snapshot_created_timestamp_seconds 90.0
"""


def test_figures_tell_of_the_time_between_two_samples() -> None:
    made = figures(sample_of(12.0, [AFTER]), sample_of(10.0, [BEFORE]), 100_000)

    assert made.events_per_s == 10.0
    assert made.lists_per_s == 5.0
    assert made.degraded == pytest.approx(0.2)
    assert made.sources == {"covisits": 0.75, "new": 0.25}
    assert made.stages == {"rank": 0.5}
    assert made.lag == {"clicks 3": 4.0, "items": 1.0}
    assert made.dead_letters == {"embedding: undecodable": 2.0}
    assert made.items == 630
    assert made.snapshot_age_s == 10.0


def test_percentiles_lie_within_a_bucket_as_if_all_were_spread_evenly() -> None:
    made = figures(sample_of(12.0, [AFTER]), sample_of(10.0, [BEFORE]), 0)

    assert made.event_to_state.p50 == pytest.approx(10.0)
    assert made.event_to_state.p99 == pytest.approx(24.7)


def test_where_nothing_happened_there_are_no_percentiles_and_no_shares() -> None:
    sample = sample_of(1.0, [AFTER])
    made = figures(sample, sample, 0)

    assert made.event_to_state == Percentiles()
    assert made.degraded is None
    assert made.sources == {} == made.stages


def test_a_service_that_began_anew_counts_from_zero() -> None:
    made = figures(sample_of(2.0, [BEFORE]), sample_of(1.0, [AFTER]), 0)

    assert made.events_per_s == 20.0  # not less than none


def test_counters_of_several_services_are_added_and_what_stands_is_not() -> None:
    both = sample_of(1.0, [AFTER, AFTER])

    assert both.values[("freshet_events_folded_total", (("partition", "0"),))] == 50.0
    assert both.values[("freshet_catalogue_items", ())] == 630.0


def test_a_service_whose_metrics_did_not_come_is_named() -> None:
    assert figures(sample_of(1.0, [], ("ranking",)), sample_of(0.0, []), 0).away == ("ranking",)
