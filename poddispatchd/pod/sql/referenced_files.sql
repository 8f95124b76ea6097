-- name: referenced_files
-- Which of the paths :paths some row of Pod names: such a file must not be deleted, whatever the journal says.
SELECT source_file AS path FROM video_encode_transcript_encodingvideo WHERE source_file = ANY(:paths::text[])
UNION SELECT source_file FROM video_encode_transcript_encodingaudio WHERE source_file = ANY(:paths::text[])
UNION SELECT source_file FROM video_encode_transcript_playlistvideo WHERE source_file = ANY(:paths::text[])
UNION SELECT overview FROM video_video WHERE overview = ANY(:paths::text[])
UNION SELECT video FROM video_video WHERE video = ANY(:paths::text[])
UNION SELECT file FROM {image_table} WHERE file = ANY(:paths::text[])
UNION SELECT file FROM {file_table} WHERE file = ANY(:paths::text[])

-- name: needed_entries
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
