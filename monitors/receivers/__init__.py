"""Receivers: the alert log, the webhook, and whatever Apprise reaches."""
