"""Office hours, as the settings have them."""

from __future__ import annotations

from envtrail.config import Config
from envtrail.model.hours import When


def read_office_hours(config: Config) -> When:
    """Days and hours of work."""
    office = config.office
    return When(days=list(office.days), hours=list(office.hours), zone=office.zone or "", holidays=list(office.holidays))
