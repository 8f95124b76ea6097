-- name: needed
-- Those of the names :names that stand in the path of a recording which is not imported for certain, or is again.
SELECT DISTINCT part.name
  FROM recorder_recording AS recording
 CROSS JOIN LATERAL unnest(string_to_array(recording.source_file, '/')) AS part (name)
 WHERE part.name = ANY (:names::text[])
   AND (NOT EXISTS (SELECT FROM runner_manager_task AS done
                     WHERE done.recording_id = recording.id AND done.type = 'studio'
                       AND done.status = 'completed')
        OR EXISTS (SELECT FROM runner_manager_task AS other
                    WHERE other.recording_id = recording.id AND other.type = 'studio'
                      AND other.status NOT IN ('completed', 'failed', 'timeout')))
