"""What a report shows of the configuration."""

import msgspec

from waypoint_lab.cli import reports
from waypoint_lab.config.models import NotifySettings
from waypoint_lab.config.settings import LabConfig


def test_settings_of_a_report_show_the_server_of_a_webhook_only() -> None:
    config = msgspec.structs.replace(LabConfig(), notify=NotifySettings("https://hooks.example.com/T0/secret"))
    assert reports._set(config) == {"notify": {"webhook": "https://hooks.example.com/[secret]"}}
