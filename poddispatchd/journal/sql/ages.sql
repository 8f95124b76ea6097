-- Parts of statements.

-- name: age
-- Seconds since {since}, a moment of the database's clock: by that one or by ours, :ours, whichever says less, for either may have been
-- put forward. Ours is not asked where that moment is yet to come by it: it is behind, and nothing would ever be old.
extract(epoch FROM CASE WHEN :ours::timestamptz < {since} - interval '1 minute' THEN now() ELSE least(now(), :ours::timestamptz) END
                   - {since})::double precision
