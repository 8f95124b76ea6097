-- Tasks that runner managers have accepted.

-- name: store
-- (SELECT $n): PostgreSQL does not look into the arrays, and one plan serves for all of them.
-- Each row :tasks, of type :types, of video :videos or recording :recordings, carries from now on the id :task_ids that manager :runner_managers gave, if it is
-- pending as it was added at :dates_added (NULL: whenever), Pod still has that manager, no other run has that id nor was given up
-- under it, and none of its source runs under another. Nor was the id stored before: then the row is pending again since, and its
-- run is over.
-- Its intent :submissions is settled, with the reason :reasons; :adopted says of an adopted one, which need not be open. What people see of
-- it is in :shown_videos to :comments. A run that belongs to no row is to be stopped.
-- A row that someone else holds is left alone. The newest {newest} tasks are searched for the ids, with those that the
-- journal knows by them, and all of the same sources: the table has no index on ids. OFFSET 0: see `open`.
WITH wanted AS MATERIALIZED (
    SELECT *
      FROM unnest((SELECT :tasks::bigint[]), (SELECT :types::text[]), (SELECT :dates_added::timestamptz[]), (SELECT :videos::bigint[]),
                  (SELECT :recordings::bigint[]), (SELECT :runner_managers::bigint[]), (SELECT :task_ids::text[]), (SELECT :submissions::bigint[]),
                  (SELECT :reasons::text[]), (SELECT :adopted::boolean[]), (SELECT :shown_videos::bigint[]), (SELECT :steps::integer[]),
                  (SELECT :words::text[]), (SELECT :heads::text[]), (SELECT :tails::text[]), (SELECT :shown_recordings::bigint[]),
                  (SELECT :comments::text[]))
           AS task (id, type, date_added, video_id, recording_id, runner_manager_id, task_id,
                    submission_id, reason, is_adopted,
                    shown_video_id, step, words, head, tail, shown_recording_id, comment)
), held AS MATERIALIZED (
    SELECT task.id, task.status, task.task_id, task.runner_manager_id, task.date_added
      FROM runner_manager_task AS task
     WHERE task.id = ANY ((SELECT :tasks::bigint[])::bigint[])
     ORDER BY task.id
       FOR NO KEY UPDATE OF task SKIP LOCKED
), hint AS MATERIALIZED (
    SELECT wanted.id AS of_id, submission.task_pk AS id
      FROM wanted
      JOIN poddispatchd.submission ON submission.task_id = wanted.task_id
                                  AND submission.runner_manager_id = wanted.runner_manager_id
     UNION
    SELECT wanted.id, sighting.task_pk FROM wanted JOIN poddispatchd.sighting ON sighting.task_id = wanted.task_id
     UNION
    SELECT wanted.id, newest.id
      FROM (SELECT id, runner_manager_id, task_id FROM runner_manager_task ORDER BY id DESC LIMIT {newest}) AS newest
      JOIN wanted ON wanted.task_id = newest.task_id AND wanted.runner_manager_id = newest.runner_manager_id
), known AS MATERIALIZED (
    SELECT of_id, id FROM hint
     UNION
    SELECT hint.of_id, other.id
      FROM hint
     CROSS JOIN LATERAL (SELECT * FROM runner_manager_task AS task WHERE task.id = hint.id OFFSET 0) AS wanted
     CROSS JOIN LATERAL (SELECT id FROM runner_manager_task AS other WHERE {same_source} OFFSET 0) AS other
), duplicate AS MATERIALIZED (
    SELECT wanted.id AS of_id, other.id, other.status, other.runner_manager_id, other.task_id
      FROM wanted
     CROSS JOIN LATERAL (SELECT * FROM runner_manager_task AS other WHERE {same_source} OFFSET 0) AS other
     WHERE other.id <> wanted.id
), judged AS MATERIALIZED (
    SELECT wanted.*, held.id IS NOT NULL AS is_held,
           held.status = 'pending' AND coalesce(held.task_id, '') = ''
               AND held.date_added = coalesce(wanted.date_added, held.date_added)
               AND (SELECT submission.task_id FROM poddispatchd.submission WHERE submission.id = wanted.submission_id) IS NULL
               AS is_pending,
           (held.runner_manager_id, held.task_id) IS NOT DISTINCT FROM (wanted.runner_manager_id, wanted.task_id)
               AS carries_id,
           NOT EXISTS (SELECT FROM runner_manager AS manager WHERE manager.id = wanted.runner_manager_id)
               AS is_managerless,
           (SELECT true FROM runner_manager_task AS task WHERE task.id = wanted.id) IS NOT NULL AS is_there,
           EXISTS (SELECT
                     FROM (SELECT id FROM known WHERE of_id = wanted.id
                            UNION SELECT id FROM duplicate WHERE of_id = wanted.id) AS named
                     JOIN runner_manager_task AS task ON task.id = named.id
                    WHERE task.id <> wanted.id
                      AND (task.runner_manager_id, task.task_id) = (wanted.runner_manager_id, wanted.task_id)
                      AND NOT (task.status IN ('pending', 'running')
                               AND task.id IN (SELECT id FROM duplicate WHERE of_id = wanted.id)))
               -- A run that another task has given up is being stopped, or nobody works on it: a manager hands it out, for the
               -- same bytes, for as long as it calls it running. A row that carries it goes on with it.
               OR ((held.runner_manager_id, held.task_id) IS DISTINCT FROM (wanted.runner_manager_id, wanted.task_id)
                   AND EXISTS (SELECT FROM poddispatchd.submission AS given_up
                                WHERE given_up.task_id = wanted.task_id
                                  AND given_up.runner_manager_id = wanted.runner_manager_id
                                  AND given_up.task_pk <> wanted.id AND given_up.state IN ('lost', 'orphaned')))
               AS is_known,
           (SELECT min(id) FROM duplicate
             WHERE of_id = wanted.id AND status IN ('running', 'warning')
               AND (runner_manager_id, task_id) IS DISTINCT FROM (wanted.runner_manager_id, wanted.task_id))
               AS running_duplicate
      FROM wanted
      LEFT JOIN held USING (id)
), marked AS (
    UPDATE runner_manager_task AS task
       SET status = 'running', runner_manager_id = judged.runner_manager_id, task_id = judged.task_id, rank = NULL
      FROM judged
     WHERE task.id = ANY ((SELECT :tasks::bigint[])::bigint[]) AND task.id = judged.id AND task.status = 'pending'
       AND judged.is_pending AND NOT judged.is_managerless AND NOT judged.is_known AND judged.running_duplicate IS NULL
    RETURNING task.id
), outcome AS MATERIALIZED (
    SELECT judged.*, marked.id IS NOT NULL AS is_new,
           CASE WHEN is_there AND NOT is_held THEN 'locked'
                WHEN is_known THEN 'known'
                WHEN marked.id IS NOT NULL OR carries_id THEN 'running'
                ELSE 'orphaned'
           END AS verdict
      FROM judged
      LEFT JOIN marked ON marked.id = judged.id
), ended AS MATERIALIZED (
    SELECT *, CASE verdict WHEN 'running' THEN 'accepted' WHEN 'orphaned' THEN 'orphaned' ELSE 'lost' END AS new_state
      FROM outcome
     WHERE verdict = 'running' OR (verdict IN ('orphaned', 'known') AND NOT is_adopted)
), settled AS (
    UPDATE poddispatchd.submission
       SET state = ended.new_state, task_id = CASE WHEN ended.verdict <> 'known' THEN ended.task_id END,
           reason = CASE WHEN ended.verdict = 'known' THEN 'Its runner manager gave the id of another run.'
                         ELSE ended.reason END,
           settled_at = now()
      FROM ended
     WHERE submission.id = ended.submission_id
       AND (submission.state = 'open' OR (ended.is_adopted AND submission.state IN ('refused', 'lost')))
       AND (ended.verdict <> 'known' OR submission.attempt = 1)
), unwanted AS (
    -- With its intent: whoever stores this has the run stopped at once, and nothing else leads to it after a kill.
    INSERT INTO poddispatchd.unwanted_run (runner_manager_id, task_id, task_pk, next_request_at)
    SELECT runner_manager_id, task_id, id, now() + make_interval(secs => {first_wait})
      FROM ended
     WHERE verdict = 'orphaned'
        ON CONFLICT DO NOTHING
), forgotten AS (
    DELETE FROM poddispatchd.own_task
     USING ended
     WHERE own_task.task_pk = ended.id AND ended.verdict <> 'known'
), given AS MATERIALIZED (
    SELECT DISTINCT runner_manager_id AS id FROM ended WHERE verdict <> 'known'
), free AS MATERIALIZED (
    -- Whoever holds a manager's row must not keep its tasks from being stored, and a row that each of these statements wrote would
    -- have each wait for the commit of the one before. To the second is enough.
    SELECT state.id
      FROM poddispatchd.manager_state AS state
      JOIN given USING (id)
     WHERE (state.last_given_at BETWEEN now() - interval '1 second' AND now() + interval '1 second') IS NOT TRUE
       FOR NO KEY UPDATE OF state SKIP LOCKED
), remembered AS (
    UPDATE poddispatchd.manager_state AS state SET last_given_at = now() FROM free WHERE state.id = free.id
), first_given AS (
    INSERT INTO poddispatchd.manager_state (id, last_given_at)
    SELECT id, now() FROM given WHERE id NOT IN (SELECT id FROM poddispatchd.manager_state)
        ON CONFLICT (id) DO NOTHING
), shown AS (
    SELECT * FROM outcome WHERE is_new
), {show_accepted}
SELECT id, verdict, is_new, running_duplicate, is_managerless FROM outcome

-- name: lock_intents
-- Which of the intents :intents no id is known of yet; nobody else settles them until the end of the transaction.
SELECT id FROM poddispatchd.submission
 WHERE id = ANY (:intents::bigint[]) AND task_id IS NULL AND state IN ('open', 'refused', 'lost')
 ORDER BY id
   FOR NO KEY UPDATE

-- name: show_accepted
-- Parts of a statement: what people see of accepted tasks, one in each row of `shown`. Its video is worked on, at this
-- step with these words. Its log, if it has a head, begins anew, tells what becomes of the encodings that the video
-- has, and ends with the tail. Its recording gets the comment.
mark AS (
    UPDATE video_video SET encoding_in_progress = true
      FROM shown
     WHERE video_video.id = shown.shown_video_id AND NOT encoding_in_progress
), step AS (
    INSERT INTO video_encode_transcript_encodingstep AS step (video_id, num_step, desc_step)
    SELECT DISTINCT ON (shown_video_id) shown_video_id, step, words
      FROM shown
     WHERE shown_video_id IS NOT NULL
     ORDER BY shown_video_id, head IS NULL
        ON CONFLICT (video_id) DO UPDATE SET num_step = excluded.num_step, desc_step = excluded.desc_step
     WHERE (step.num_step, step.desc_step) IS DISTINCT FROM (excluded.num_step, excluded.desc_step)
), kept (is_there, words) AS (
    VALUES (true, 'Kept until the new files are there'), (false, 'Nothing to delete')
), log AS (
    INSERT INTO video_encode_transcript_encodinglog (video_id, log, logfile)
    SELECT shown_video_id,
           concat(head, E'\nVideo: ', of_video.words, E'\nAudio: ', of_audio.words,
                  E'\nPlaylist: ', of_playlist.words, tail), ''
      FROM shown
      JOIN kept AS of_video ON of_video.is_there
           = EXISTS (SELECT FROM video_encode_transcript_encodingvideo WHERE video_id = shown_video_id)
      JOIN kept AS of_audio ON of_audio.is_there
           = EXISTS (SELECT FROM video_encode_transcript_encodingaudio WHERE video_id = shown_video_id)
      JOIN kept AS of_playlist ON of_playlist.is_there
           = EXISTS (SELECT FROM video_encode_transcript_playlistvideo WHERE video_id = shown_video_id)
     WHERE head IS NOT NULL AND shown_video_id IS NOT NULL
        ON CONFLICT (video_id) DO UPDATE SET log = excluded.log
), remark AS (
    UPDATE recorder_recording AS recording
       SET comment = recording.comment || E'\n' || shown.comment
      FROM shown
     WHERE recording.id = shown.shown_recording_id
)
