"""The windows of the configuration, in their time zone."""

from zoneinfo import ZoneInfo

from poddispatchd.config.model import Settings
from poddispatchd.domain.availability import Availability
from poddispatchd.domain.time_windows import TimeWindows


def availability_of(settings: Settings) -> Availability:
    """When tasks may be submitted, by the settings in effect."""
    windows = settings.windows
    zone = ZoneInfo(windows.time_zone or settings.pod.time_zone)
    return Availability(
        {kind: TimeWindows(hours, zone) for kind, hours in windows.task_types.items()},
        {name: TimeWindows(hours, zone) for name, hours in windows.runner_managers.items()},
    )
