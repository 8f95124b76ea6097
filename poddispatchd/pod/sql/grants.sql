-- name: missing_rights
-- The pairs of table ($1) and privilege ($2) that the current role lacks; tables that do not exist are left out.
SELECT wanted.table_name, wanted.privilege
  FROM unnest($1::text[], $2::text[]) AS wanted (table_name, privilege)
 WHERE to_regclass(wanted.table_name) IS NOT NULL
   AND NOT has_table_privilege(to_regclass(wanted.table_name), wanted.privilege)
 ORDER BY wanted.table_name, wanted.privilege
