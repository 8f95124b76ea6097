-- name: days_ago
-- The moment :days days ago, by the clock of the database.
SELECT now() - make_interval(days => :days)
