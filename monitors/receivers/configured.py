"""The receivers that the settings name, and what each is told of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lake.errors import SettingsError
from lake.settings import Settings
from monitors.alerts import Severity
from monitors.grouping import GroupTerms, Subscription
from monitors.receivers.apprise_receiver import AppriseReceiver, check_urls
from monitors.receivers.log_file import LogFile
from monitors.receivers.receiver import Receiver
from monitors.receivers.webhook import Webhook

LOG, WEBHOOK = "log", "webhook"


@dataclass(frozen=True, slots=True)
class Configured:
    """What the settings name.

    Attributes:
        receivers: The alert log first, then the webhook, then the Apprise URLs, as far as there are any.
        subscriptions: What each is told of, in the same order.
    """

    receivers: tuple[Receiver, ...]
    subscriptions: tuple[Subscription, ...]


def configured_receivers(settings: Settings, terms: GroupTerms | None = None) -> Configured:
    """Make the receivers; opens nothing, and does not import Apprise.

    Args:
        settings: The settings.
        terms: How alerts are put together, for all of them.

    Raises:
        SettingsError: A URL or token is not valid, or a name is used twice; secrets are not shown.
    """
    terms = terms or GroupTerms()
    receivers: list[Receiver] = [LogFile(settings.alerts_log, name=LOG)]
    subscriptions = [Subscription(LOG, reaches_people=False, terms=terms)]
    url, token = settings.alert_webhook_url, settings.alert_webhook_token
    if url is not None:
        secret = None if token is None else token.get_secret_value()
        receivers.append(Webhook(url.get_secret_value(), secret, name=WEBHOOK))
        least = Severity[settings.alert_webhook_minimum_severity]
        subscriptions.append(Subscription(WEBHOOK, minimum_severity=least, terms=terms))
    elif token is not None:
        raise SettingsError("alert_webhook_token: there is a token, but no alert_webhook_url")
    for entry in settings.alert_apprise:
        receivers.append(AppriseReceiver(entry.url.get_secret_value(), name=entry.name))
        least = Severity[entry.minimum_severity]
        subscriptions.append(Subscription(entry.name, minimum_severity=least, tags=entry.tags, terms=terms))
    names = [receiver.name for receiver in receivers]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(
                f"alert_apprise: the name {name!r} is used twice ({LOG} and {WEBHOOK} are taken)"
            )
    return Configured(tuple(receivers), tuple(subscriptions))


def check_receivers(receivers: Sequence[Receiver]) -> None:
    """Ask Apprise whether it knows all URLs; takes about a second, and sends nothing.

    Raises:
        SettingsError: It does not take one; the entry is named, the URL is not shown.
        DeliveryError: Apprise could not be started.
    """
    check_urls([receiver for receiver in receivers if isinstance(receiver, AppriseReceiver)])
