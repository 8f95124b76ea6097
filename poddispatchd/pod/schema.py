"""The names of Pod's tables and columns that poddispatchd depends on."""

from collections.abc import Mapping

READ: Mapping[str, str] = {
    "auth_user": "id username email",
    "authentication_owner": "user_id hashkey affiliation establishment",
    "cut_cutvideo": "id video_id start end duration",
    "django_site": "id domain name",
    "dressing_dressing": "id title position opacity opening_credits_id ending_credits_id watermark_id",
    "dressing_dressing_videos": "dressing_id video_id",
    "recorder_recorder": "id type_id",
    "recorder_recorder_sites": "recorder_id site_id",
    "recorder_recording": "id title source_file comment recorder_id user_id",
    "runner_manager": "id name priority url token site_id",
    "video_encode_transcript_videorendition": "id resolution video_bitrate audio_bitrate encode_mp4",
}
"""Tables that are only read or updated, with the columns that must be there."""

WRITTEN: Mapping[str, str] = {
    "completion_track": "id kind lang enrich_ready src_id video_id",
    "runner_manager_task": (
        "id type status task_id date_added rank script_output video_id recording_id runner_manager_id"
    ),
    "video_encode_transcript_encodingaudio": "id name encoding_format source_file video_id",
    "video_encode_transcript_encodinglog": "id log logfile video_id",
    "video_encode_transcript_encodingstep": "id num_step desc_step video_id",
    "video_encode_transcript_encodingvideo": "id name encoding_format source_file rendition_id video_id",
    "video_encode_transcript_playlistvideo": "id name encoding_format source_file video_id",
    "video_video": (
        "id video title slug description date_added cursus main_lang transcript allow_downloading is_360 "
        "is_restricted disable_comment is_draft password duration overview encoding_in_progress is_video "
        "date_delete owner_id type_id thumbnail_id"
    ),
    "video_video_sites": "video_id site_id",
}
"""Tables that get new rows, with the columns that must be there."""

OPTIONAL_VALUES: Mapping[str, str] = {
    "video_video": "date_evt licence order",
}
"""Columns of written tables that are supplied when they are there."""

WRITTEN_WITH_PODFILE: Mapping[str, str] = {
    "podfile_customfilemodel": "id name description folder_id created_by_id uploaded_at file",
    "podfile_customimagemodel": "id name description folder_id created_by_id uploaded_at file",
    "podfile_userfolder": "id name owner_id created_at",
    "podfile_userfolder_users": "id userfolder_id user_id",
}

WRITTEN_WITHOUT_PODFILE: Mapping[str, str] = {
    "main_customfilemodel": "id file",
    "main_customimagemodel": "id file",
}

COPIED: Mapping[str, str] = {
    "recorder_recorder_additional_users": "recorder_id user_id",
    "recorder_recorder_channel": "recorder_id channel_id",
    "recorder_recorder_discipline": "recorder_id discipline_id",
    "recorder_recorder_restrict_access_to_groups": "recorder_id",
    "recorder_recorder_tags": "recorder_id",
    "recorder_recorder_theme": "recorder_id theme_id",
    "video_video_additional_owners": "video_id user_id",
    "video_video_channel": "video_id channel_id",
    "video_video_discipline": "video_id discipline_id",
    "video_video_restrict_access_to_groups": "video_id",
    "video_video_tags": "video_id",
    "video_video_theme": "video_id theme_id",
}
"""Many-to-many tables between a recorder or a video and something else; a Pod may lack some."""

NOTIFIED: Mapping[str, str] = {
    "webpush_pushinformation": "user_id subscription_id",
    "webpush_subscriptioninfo": "id endpoint auth p256dh",
}
"""Tables that are only read for web push; a Pod may lack them."""

PRIORITY_USERS = (
    "runner_manager_priority_user",
    "runner_manager_priorityuser",
    "video_encode_transcript_priorityuser",
)
"""What the table of priority users can be called: as the tables beside it, or as Django calls one itself.

Older Pods have none.
"""

POINTERS = (
    ("video_video", "thumbnail_id"),
    ("completion_track", "src_id"),
    ("dressing_dressing", "watermark_id"),
)
"""Foreign keys that tell which tables hold custom images and files."""
