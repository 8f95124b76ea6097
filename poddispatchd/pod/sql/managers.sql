-- Runner managers. `is_active` came with newer Pods; without it every manager is active.

-- name: all
-- Every runner manager, in the order in which Pod asks them.
SELECT manager.id, name, priority, url, token, site_id,
       coalesce((to_jsonb(manager) ->> 'is_active')::boolean, true) AS is_active
  FROM runner_manager AS manager
 ORDER BY site_id, priority, manager.id

-- name: latest_tasks
-- When the latest tasks of runner managers were added, whoever submitted them: of the :newest newest tasks only.
SELECT runner_manager_id, max(date_added) AS added
  FROM (SELECT runner_manager_id, date_added FROM runner_manager_task ORDER BY id DESC LIMIT :newest) AS newest
 WHERE runner_manager_id IS NOT NULL
 GROUP BY runner_manager_id

-- name: sites
-- Every site.
SELECT id, domain FROM django_site ORDER BY id
