"""Office hours, as the settings have them."""

from __future__ import annotations

from datetime import date

from envtrail.config import Config
from envtrail.errors import ConfigError
from envtrail.model.hours import When, parse_days, parse_hours, parse_zone


def read_office_hours(config: Config) -> When:
    """Days and hours of work.

    Raises:
        ConfigError: a setting means no days, hours, zone or dates.
    """
    days, hours, zone = config.names("office.days"), config.names("office.hours"), config.text("office.zone")
    try:
        parse_days(days)
        for word in hours:
            parse_hours(word)
        if zone:
            parse_zone(zone)
        holidays = [date.fromisoformat(word) for word in config.names("office.holidays")]
    except ValueError as fault:
        raise ConfigError(f"the settings `office.*`: {fault}", hint="`envtrail config show` prints what is in force") from None
    return When(days=days, hours=hours, zone=zone, holidays=holidays)
