-- name: missing_rights
-- The pairs of table (:tables) and privilege (:privileges) that the current role lacks, on the whole table or, of the
-- columns :columns (by table, with blanks between them), on those that are named; tables and columns that do not exist
-- are left out.
SELECT wanted.table_name, wanted.privilege, lacking.columns
  FROM unnest(:tables::text[], :privileges::text[], :columns::text[]) AS wanted (table_name, privilege, columns)
 CROSS JOIN LATERAL (
     -- CASE: a privilege that columns cannot have, as DELETE, must not be asked for; it would be an error.
    SELECT CASE WHEN wanted.columns = '' THEN ARRAY[]::text[]
           ELSE ARRAY(SELECT attname::text
                        FROM pg_catalog.pg_attribute
                       WHERE attrelid = to_regclass(wanted.table_name) AND attnum > 0 AND NOT attisdropped
                         AND attname = ANY (string_to_array(wanted.columns, ' '))
                         AND NOT has_column_privilege(attrelid, attnum, wanted.privilege)
                       ORDER BY attnum) END AS columns) AS lacking
 WHERE to_regclass(wanted.table_name) IS NOT NULL
   AND CASE WHEN wanted.columns = '' THEN NOT has_table_privilege(to_regclass(wanted.table_name), wanted.privilege)
            ELSE lacking.columns <> '{}' END
 ORDER BY wanted.table_name, wanted.privilege

-- name: missing_sequences
-- The sequences that give new rows of the tables :tables their ids and that the current role may not use. Those of identity
-- columns need no right, but for the tables :numbered, whose ids we take ourselves.
SELECT sequence.seqrelid::regclass::text AS name
  FROM unnest(:numbered::text[]) AS wanted (name)
  JOIN pg_catalog.pg_depend AS used
    ON used.classid = 'pg_catalog.pg_class'::regclass AND used.deptype = 'i'
   AND used.refclassid = 'pg_catalog.pg_class'::regclass AND used.refobjid = to_regclass(wanted.name)
  JOIN pg_catalog.pg_sequence AS sequence ON sequence.seqrelid = used.objid
 WHERE NOT has_sequence_privilege(sequence.seqrelid, 'USAGE, UPDATE')
 UNION
SELECT sequence.seqrelid::regclass::text
  FROM unnest(:tables::text[]) AS wanted (name)
  JOIN pg_catalog.pg_attrdef AS preset ON preset.adrelid = to_regclass(wanted.name)
  JOIN pg_catalog.pg_depend AS used
    ON used.classid = 'pg_catalog.pg_attrdef'::regclass AND used.objid = preset.oid
   AND used.refclassid = 'pg_catalog.pg_class'::regclass
       -- Not pg_class: who asks for this right of what is no sequence gets an error.
  JOIN pg_catalog.pg_sequence AS sequence ON sequence.seqrelid = used.refobjid
 WHERE NOT has_sequence_privilege(sequence.seqrelid, 'USAGE, UPDATE')
 ORDER BY name

-- name: hidden_rows
-- The tables, of :tables, of which policies may hide rows from the current role.
SELECT DISTINCT name FROM unnest(:tables::text[]) AS wanted (name)
 WHERE CASE WHEN to_regclass(name) IS NULL THEN false ELSE row_security_active(to_regclass(name)) END
 ORDER BY name

-- name: role
-- Who the current role is, and what it may do with everything.
SELECT rolname AS name, rolsuper AS is_superuser,
       EXISTS (SELECT FROM pg_catalog.pg_class
                WHERE pg_class.oid = to_regclass('runner_manager_task')
                  AND pg_has_role(current_user, relowner, 'USAGE')) AS owns_tables,
       has_database_privilege(current_database(), 'CREATE') AS may_create
  FROM pg_catalog.pg_roles WHERE rolname = current_user

-- name: surplus_rights
-- What the current role may do with whole tables beyond the rights given, as those above.
WITH needed AS MATERIALIZED (
    SELECT to_regclass(table_name)::oid AS relation, privilege, columns
      FROM unnest(:tables::text[], :privileges::text[], :columns::text[]) AS given (table_name, privilege, columns)
)
SELECT pg_class.oid::regclass::text AS table_name, array_agg(privilege ORDER BY place) AS privileges
  FROM pg_catalog.pg_class
 CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'])
       WITH ORDINALITY AS every (privilege, place)
 WHERE relkind IN ('r', 'p')
   AND relnamespace = (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = to_regclass('runner_manager_task'))
   AND has_table_privilege(pg_class.oid, privilege)
   AND NOT EXISTS (SELECT FROM needed
                    WHERE needed.relation = pg_class.oid AND needed.privilege = every.privilege AND needed.columns = '')
 GROUP BY pg_class.oid
 ORDER BY pg_class.oid::regclass::text

-- name: grant
-- Run by the owner of Pod's tables, in Pod's database.
DO $$
DECLARE
    item record;
    names text;
    sequence regclass;
    schema name;
BEGIN
  -- Everybody may connect and use a schema, until a DBA takes that from PUBLIC.
  IF NOT has_database_privilege({role}::name, current_database()::text, 'CONNECT') THEN
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), {role});
  END IF;
  IF to_regnamespace('poddispatchd') IS NULL THEN
    BEGIN
      EXECUTE format('CREATE SCHEMA poddispatchd AUTHORIZATION %I', {role});
    EXCEPTION WHEN insufficient_privilege THEN
      -- Only a member of the role can make it the owner.
      CREATE SCHEMA poddispatchd;
      EXECUTE format('GRANT ALL ON SCHEMA poddispatchd TO %I', {role});
    END;
  END IF;
  FOR item IN SELECT to_regclass(name) AS place, * FROM (VALUES
{rights}
  ) AS wanted (name, privilege, columns) LOOP
    CONTINUE WHEN item.place IS NULL;
    SELECT relnamespace::regnamespace INTO schema FROM pg_catalog.pg_class
     WHERE oid = item.place AND NOT has_schema_privilege({role}::name, relnamespace, 'USAGE');
    IF schema IS NOT NULL THEN
      EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', schema, {role});
    END IF;
    IF item.columns = '' THEN
      EXECUTE format('GRANT %s ON %s TO %I', item.privilege, item.place, {role});
    ELSE
      SELECT string_agg(DISTINCT quote_ident(attname), ', ') INTO names
        FROM pg_catalog.pg_attribute
        JOIN unnest(string_to_array(item.columns, ' ')) AS given (pattern)
          ON attname LIKE replace(replace(pattern, '_', E'\\_'), '*', '%')
       WHERE attrelid = item.place AND attnum > 0 AND NOT attisdropped;
      IF names IS NOT NULL THEN
        EXECUTE format('GRANT %s (%s) ON %s TO %I', item.privilege, names, item.place, {role});
      END IF;
    END IF;
    CONTINUE WHEN item.privilege <> 'INSERT';
    -- Of identity and serial columns, and those that somebody has made by hand.
    FOR sequence IN
      SELECT DISTINCT pg_class.oid::regclass
        FROM pg_catalog.pg_depend
        JOIN pg_catalog.pg_class
          ON pg_class.relkind = 'S'
         AND (pg_depend.classid = 'pg_catalog.pg_class'::regclass AND pg_depend.objid = pg_class.oid
              AND pg_depend.refclassid = 'pg_catalog.pg_class'::regclass AND pg_depend.refobjid = item.place
           OR pg_depend.classid = 'pg_catalog.pg_attrdef'::regclass
              AND pg_depend.objid IN (SELECT oid FROM pg_catalog.pg_attrdef WHERE adrelid = item.place)
              AND pg_depend.refclassid = 'pg_catalog.pg_class'::regclass AND pg_depend.refobjid = pg_class.oid)
    LOOP
      EXECUTE format('GRANT USAGE ON SEQUENCE %s TO %I', sequence, {role});
    END LOOP;
  END LOOP;
END $$;

-- name: join
-- Let the current role act as the other one until "leave": on a managed server it is no superuser, and whoever makes a
-- role is no member of it, or, since PostgreSQL 16, one that may not act as it.
DO $$
BEGIN
  IF NOT pg_has_role(current_user, {role}::name,
                     CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END) THEN
    EXECUTE format('GRANT %I TO %I', {role}, current_user);
    PERFORM set_config('poddispatchd.joined', 'yes', true);
  END IF;
END $$

-- name: leave
-- End the membership that "join" has given.
DO $$
BEGIN
  IF current_setting('poddispatchd.joined', true) = 'yes' THEN
    EXECUTE format('REVOKE %I FROM %I', {role}, current_user);
  END IF;
END $$
