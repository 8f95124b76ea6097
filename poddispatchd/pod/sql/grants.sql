-- name: missing_rights
-- The pairs of table (:tables) and privilege (:privileges) that the current role lacks; tables that do not exist are left out.
SELECT wanted.table_name, wanted.privilege
  FROM unnest(:tables::text[], :privileges::text[]) AS wanted (table_name, privilege)
 WHERE to_regclass(wanted.table_name) IS NOT NULL
   AND NOT has_table_privilege(to_regclass(wanted.table_name), wanted.privilege)
 ORDER BY wanted.table_name, wanted.privilege
