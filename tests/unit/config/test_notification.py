import pytest

from poddispatchd.config.consistency import contradictions
from poddispatchd.config.model import Settings
from poddispatchd.config.notification import MailSettings
from poddispatchd.config.section import UnfitSettingsError
from poddispatchd.config.showing import settings_as_yaml


def findings(**sections: dict[str, object]) -> list[str]:
    return [words for _, words in contradictions(Settings.read(sections))]


def test_nothing_is_sent_unless_it_is_asked_for() -> None:
    settings = Settings()

    assert (settings.mail.enabled, settings.push.enabled, settings.imports.after) == (False, False, ())
    assert findings() == []


def test_enabled_mail_wants_a_sender() -> None:
    assert findings(mail={"enabled": True}) == [
        "mail.from_email: mail is enabled, so say who sends it",
    ]
    assert findings(mail={"enabled": True, "from_email": "Pod <pod@example.org>"}) == []


def test_a_password_does_not_travel_in_the_clear_but_on_this_machine() -> None:
    mail: dict[str, object] = {"enabled": True, "from_email": "pod@example.org", "username": "pod"}

    assert findings(mail={**mail, "host": "localhost"}) == []
    assert findings(mail={**mail, "host": "smtp.example.org", "security": "starttls"}) == []
    assert findings(mail={**mail, "host": "smtp.example.org"}) == [
        "mail.security: the password would go to smtp.example.org unencrypted, write starttls or tls"
    ]


def test_enabled_push_wants_pods_keys() -> None:
    assert findings(push={"enabled": True}) == [
        "push.vapid_private_key: push is enabled, so give Pod's key",
        "push.admin_email: push is enabled, so give an address of yours",
    ]


def test_the_command_after_an_import_is_named_by_its_path() -> None:
    assert findings(imports={"after": ["python", "manage.py"]}) == [
        "imports.after: 'python' is looked for nowhere, write its absolute path"
    ]


def test_recipients_are_addresses() -> None:
    with pytest.raises(UnfitSettingsError, match="write a mail address"):
        MailSettings.read({"admins": ["Admin <admin@example.org>"]})


def test_neither_password_nor_key_is_shown() -> None:
    settings = Settings.read({"mail": {"password": "hunter2"}, "push": {"vapid_private_key": "hunter3"}})

    assert "hunter" not in settings_as_yaml(settings) + repr(settings)
