"""What a report shows of the configuration."""

import msgspec
import pytest

from tests.unit.configs import lab_config
from waypoint_lab.cli import reports
from waypoint_lab.config.models import NotifySettings
from waypoint_lab.config.settings import LabConfig


def test_settings_of_a_report_show_the_server_of_a_webhook_only() -> None:
    config = msgspec.structs.replace(LabConfig(), notify=NotifySettings("https://hooks.example.com/T0/secret"))
    assert reports._set(config) == {"notify": {"webhook": "https://hooks.example.com/[secret]"}}


@pytest.mark.parametrize(
    "objects",
    [
        {
            "canary": {
                "evidence": ["prometheus"],
                "gate": {
                    "successRate": 99,
                    "prometheus": {
                        "url": "https://bob:hunter2@prom.example.com/t?token=abcd1234",
                        "requests": "r",
                        "successRate": "s",
                    },
                },
            }
        },
        {"canary": {"requestHeaders": {"x-from": "https://bob:hunter2@a.example.com/?token=abcd1234"}}},
    ],
    ids=["gate", "header"],
)
def test_settings_of_a_report_show_of_each_address_the_server_only(objects: dict[str, object]) -> None:
    shown = str(reports._set(lab_config("waypoint", "canary", **objects)))
    assert "https://" in shown
    assert "example.com/[secret]" in shown
    assert not [secret for secret in ("bob", "hunter2", "abcd1234") if secret in shown]
