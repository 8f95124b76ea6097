-- What a DBA can do to Pod's tables that keeps statements on them from being taken.

-- name: rules
-- The tables, of :tables, with rules for what is done there: each stands beside 2 (UPDATE), 3 (INSERT) or 4 (DELETE) of :events.
-- One statement that stands for another one in any case, and returns what that would, is taken within others, too.
SELECT wanted.name, array_agg(DISTINCT rule.rulename::text ORDER BY rule.rulename::text) AS rules
  FROM unnest(:tables::text[], :events::text[]) AS wanted (name, event)
  JOIN pg_catalog.pg_rewrite AS rule
    ON rule.ev_class = to_regclass(wanted.name) AND rule.ev_type = wanted.event::"char" AND rule.ev_enabled IN ('O', 'A')
   AND NOT (rule.is_instead AND rule.ev_qual = '<>' AND pg_get_ruledef(rule.oid, true) ~ E'\\mRETURNING\\M'
            AND pg_get_ruledef(rule.oid, true) !~ E'DO INSTEAD +\\(')
 GROUP BY wanted.name
 ORDER BY wanted.name

-- name: unidentified
-- The tables, of :tables, that are published for what is done there (:events, as above), and whose rows a subscriber could
-- not tell apart: such a statement is refused.
SELECT DISTINCT wanted.name
  FROM unnest(:tables::text[], :events::text[]) AS wanted (name, event)
  JOIN pg_catalog.pg_class ON pg_class.oid = to_regclass(wanted.name)
  JOIN pg_catalog.pg_namespace ON pg_namespace.oid = pg_class.relnamespace
  JOIN pg_catalog.pg_publication_tables AS published
    ON published.schemaname = pg_namespace.nspname AND published.tablename = pg_class.relname
  JOIN pg_catalog.pg_publication AS publication ON publication.pubname = published.pubname
 WHERE (wanted.event = '2' AND publication.pubupdate OR wanted.event = '4' AND publication.pubdelete)
   AND pg_class.relreplident <> 'f'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_index
                    WHERE indrelid = pg_class.oid
                      AND CASE pg_class.relreplident WHEN 'd' THEN indisprimary WHEN 'i' THEN indisreplident END)
 ORDER BY wanted.name

-- name: sequences
-- Of the tables :tables whose ids may be read, the sequences of their ids, and the last id that each can give. What the current
-- role may not look at is left out.
SELECT DISTINCT wanted.name, sequence.seqrelid::regclass::text AS sequence, sequence.seqrelid AS sequence_id,
       CASE WHEN sequence.seqcycle THEN NULL ELSE sequence.seqmax END AS last
  FROM unnest(:tables::text[]) AS wanted (name)
  JOIN pg_catalog.pg_attribute AS id
    ON id.attrelid = to_regclass(wanted.name) AND id.attname = 'id' AND NOT id.attisdropped
  LEFT JOIN pg_catalog.pg_attrdef AS preset ON preset.adrelid = id.attrelid AND preset.adnum = id.attnum
  JOIN pg_catalog.pg_depend AS used
    ON used.refclassid = 'pg_catalog.pg_class'::regclass
   AND (used.classid = 'pg_catalog.pg_class'::regclass AND used.deptype = 'i'
        AND used.refobjid = id.attrelid AND used.refobjsubid = id.attnum
     OR used.classid = 'pg_catalog.pg_attrdef'::regclass AND used.objid = preset.oid)
  JOIN pg_catalog.pg_sequence AS sequence ON sequence.seqrelid IN (used.objid, used.refobjid)
 WHERE sequence.seqincrement > 0
   AND has_column_privilege(id.attrelid, id.attnum, 'SELECT') AND has_sequence_privilege(sequence.seqrelid, 'USAGE')
 ORDER BY wanted.name

-- name: ids
-- The last id that the sequence :sequence has given (0: none), and the first one of a table that lies beyond it, if any does.
-- The table is seen as it was before the sequence is looked at: ids that others take meanwhile do not seem to be beyond it.
WITH seen AS MATERIALIZED (
    SELECT max(id)::bigint AS highest FROM {table}
), sequence AS MATERIALIZED (
    SELECT highest, coalesce(pg_sequence_last_value(:sequence::oid), 0) AS given FROM seen
)
SELECT given, CASE WHEN highest > given THEN (SELECT min(id)::bigint FROM {table} WHERE id > given) END AS beyond FROM sequence
