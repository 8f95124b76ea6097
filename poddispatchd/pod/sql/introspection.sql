-- What this Pod's database looks like, read once at start.
-- to_regclass follows search_path, as every other statement does.

-- name: columns
-- The columns of the tables named, with whether NULL is refused, whether a value comes by itself, and whether the
-- current role may read them, and how the database encodes texts. Who may read a whole table is not asked about each
-- column, which takes ten times as long.
SELECT wanted.name AS table_name,
       attribute.attname AS column_name,
       attribute.attnotnull AS not_null,
       attribute.atthasdef OR attribute.attidentity <> '' AS has_default,
       wanted.is_readable OR has_column_privilege(wanted.relation, attribute.attnum, 'SELECT') AS is_readable,
       getdatabaseencoding()::text AS encoding
  FROM (SELECT name, to_regclass(quote_ident(name)) AS relation,
               has_table_privilege(to_regclass(quote_ident(name)), 'SELECT') AS is_readable
          FROM unnest(:tables::text[]) AS given (name)
        OFFSET 0) AS wanted
       -- OFFSET: each table's columns by the index, not those of all tables that there are.
 CROSS JOIN LATERAL (SELECT attname, attnum, attnotnull, atthasdef, attidentity
                       FROM pg_catalog.pg_attribute
                      WHERE attrelid = wanted.relation AND attnum > 0 AND NOT attisdropped
                     OFFSET 0) AS attribute
 ORDER BY wanted.name, attribute.attnum

-- name: targets
-- The tables that single-column foreign keys point at: of the columns :columns of the tables :tables, pair by pair.
SELECT wanted.table_name, wanted.column_name, target.relname::text AS target
  FROM unnest(:tables::text[], :columns::text[]) AS wanted (table_name, column_name)
  JOIN pg_catalog.pg_attribute AS attribute
    ON attribute.attrelid = to_regclass(quote_ident(wanted.table_name))
   AND attribute.attname = wanted.column_name
  JOIN pg_catalog.pg_constraint AS foreign_key
    ON foreign_key.conrelid = attribute.attrelid
   AND foreign_key.contype = 'f'
   AND foreign_key.conkey = ARRAY[attribute.attnum]
  JOIN pg_catalog.pg_class AS target ON target.oid = foreign_key.confrelid

-- name: hidden_tables
-- The schemas that hold a table of Pod's tasks, and whether the current role may use them: first those where this session looks for tables.
SELECT quote_ident(pg_namespace.nspname) AS schema, has_schema_privilege(pg_namespace.oid, 'USAGE') AS is_open,
       quote_ident(current_user) AS role
  FROM pg_catalog.pg_class
  JOIN pg_catalog.pg_namespace ON pg_namespace.oid = pg_class.relnamespace
 WHERE relname = 'runner_manager_task' AND relkind IN ('r', 'p')
 ORDER BY quote_ident(pg_namespace.nspname) <> ALL (string_to_array(replace(current_setting('search_path'), ' ', ''), ',')),
          pg_namespace.nspname
