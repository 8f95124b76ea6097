"""When sessions that end are taken for something about what was done on them."""

from poddispatchd.database.session_ends import SessionEnds


def test_sessions_that_end_at_three_moments_of_five_minutes() -> None:
    moments = [0.0, 0.1, 0.2, 10.0, 10.1, 299.0, 299.1, 311.0, 700.0]
    ends = SessionEnds(iter(moments).__next__)

    usual = [moment for moment in moments if ends.is_usual()]

    assert usual == [299.0, 299.1]
