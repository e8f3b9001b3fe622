"""What people do about alerts: look at them, silence them, say that they saw them, try receivers out."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lake.cli import settings_of
from lake.errors import DeliveryError, SettingsError
from lake.output import Format, show_rows

if TYPE_CHECKING:
    from lake.settings import Settings
    from monitors.alerts import Alert
    from monitors.engine import Muted
    from monitors.rules import RuleSet

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)

_FIRING = 3

_ROWS = Annotated[Format, typer.Option(help="How to print the rows.")]
_AUTHOR = Annotated[str | None, typer.Option("--by", help="Who you are  [default: the user's name]")]


@app.command(epilog="Example: strikelake monitors alerts --all")
def alerts(
    ctx: typer.Context,
    all_: Annotated[bool, typer.Option("--all", help="Resolved ones as well.")] = False,
    output: _ROWS = Format.TABLE,
) -> None:
    """List the alerts that are pending or fire, and why nobody is told of some; exit code 3 if one fires."""
    from monitors.alerting import opened_engine
    from monitors.alerts import AlertState

    settings, rules = configured(ctx)
    with opened_engine(settings, rules) as (engine, _):
        found = engine.alerts()
        muted = engine.muted(datetime.now(UTC))
    shown = [one for one in found if all_ or one.state is not AlertState.RESOLVED]
    rows = [_row(one, muted.get(one.fingerprint)) for one in shown]
    short = ["fingerprint", "state", "severity", "exchange", "rule", "since", "muted", "summary"]
    every = [*short, "labels", "value", "runbook", "acknowledged", "evidence"]
    show_rows(rows, output, columns=short if output is Format.TABLE else every, zone=settings.timezone)
    if any(one.state is AlertState.FIRING for one in found):
        raise typer.Exit(_FIRING)


@app.command(
    epilog='Example: strikelake monitors silence exchange=NSE rule=feed_stale --for 2h --why "exchange halt"'
)
def silence(
    ctx: typer.Context,
    matchers: Annotated[
        list[str] | None,
        typer.Argument(help='Labels that must match: rule=..., exchange!=..., symbol=~"N.*"'),
    ] = None,
    length: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 1d.")] = "1h",
    why: Annotated[str, typer.Option("--why", help="For whoever looks at it later.")] = "",
    author: _AUTHOR = None,
    end: Annotated[str | None, typer.Option("--end", help="End the silence of this id instead.")] = None,
    output: _ROWS = Format.TABLE,
) -> None:
    """Tell nobody of alerts that match, for a while; without matchers, list the silences."""
    from monitors.alerting import opened_engine
    from monitors.matchers import Matcher
    from monitors.rules import duration

    settings, rules = configured(ctx)
    now = datetime.now(UTC)
    with opened_engine(settings, rules) as (engine, _):
        if end is not None:
            engine.expire_silence(now, end)
        elif matchers:
            engine.silence(
                now, [Matcher.parse(one) for one in matchers],
                ends_at=now + duration(length, what="--for"), author=_author(author), comment=why,
            )  # fmt: skip
        found = engine.silences()
    rows = [
        {
            "id": one.id, "state": one.state(now), "ends_at": one.ends_at, "by": one.author,
            "why": one.comment, "matchers": " ".join(str(matcher) for matcher in one.matchers),
        }
        for one in found
        if one.state(now) != "expired" or one.id == end
    ]  # fmt: skip
    columns = ["id", "state", "ends_at", "by", "why", "matchers"]
    show_rows(rows, output, columns=columns, zone=settings.timezone)


@app.command(epilog='Example: strikelake monitors ack 3f9a --why "restarting the tracker"')
def ack(
    ctx: typer.Context,
    fingerprint: Annotated[str, typer.Argument(help="The alert's, or its first digits.")],
    why: Annotated[str, typer.Option("--why", help="What you do about it.")] = "",
    author: _AUTHOR = None,
) -> None:
    """Say that you have seen an alert: it is not repeated until it is resolved, or gets worse."""
    from monitors.alerting import opened_engine

    settings, rules = configured(ctx)
    with opened_engine(settings, rules) as (engine, _):
        alert = engine.acknowledge(datetime.now(UTC), fingerprint, author=_author(author), comment=why)
    typer.echo(f"{alert.fingerprint} {alert.exchange} {alert.finding.rule}: seen by {_author(author)}")


@app.command("test-receivers", epilog="Example: strikelake monitors test-receivers")
def try_receivers(
    ctx: typer.Context,
    receiver: Annotated[
        list[str] | None, typer.Option("--receiver", help="Only this one; may be repeated.")
    ] = None,
    output: _ROWS = Format.TABLE,
) -> None:
    """Send a test to every receiver of the settings; exit code 1 if one does not take it."""
    from monitors.alert_store import FILE_NAME
    from monitors.alerting import opened_engine
    from monitors.dispatch import dispatch
    from monitors.receivers.configured import check_receivers

    settings, rules = configured(ctx)
    with opened_engine(settings, rules) as (engine, found):
        chosen = [one for one in found.receivers if not receiver or one.name in receiver]
        unknown = set(receiver or ()) - {one.name for one in chosen}
        if unknown:
            known = ", ".join(one.name for one in found.receivers)
            raise SettingsError(f"--receiver {min(unknown)}: there is none of that name; there are: {known}")
        check_receivers(chosen)
        keys = {one.name: engine.enqueue_test(datetime.now(UTC), one.name).key for one in chosen}
    sent = dispatch(settings.root / FILE_NAME, chosen)
    rows = []
    for name, key in keys.items():
        taken = key in sent.delivered.get(name, ())
        why = sent.failed.get(name) or ("it hangs" if name in sent.hanging else "it waits for its next try")
        rows.append({"receiver": name, "taken": taken, "why": "" if taken else why})
    show_rows(rows, output)
    refused = [row["receiver"] for row in rows if not row["taken"]]
    if refused:
        raise DeliveryError(f"{', '.join(map(str, refused))} did not take the test; it is tried again")


def configured(ctx: typer.Context) -> tuple[Settings, RuleSet]:
    """Settings and rules of this call.

    Raises:
        SettingsError: One of them is not valid.
    """
    from monitors.rules import load_rules

    settings = settings_of(ctx)
    return settings, load_rules(settings.rules_file or settings.root / "rules.yaml")


def _author(given: str | None) -> str:
    try:
        return given or getpass.getuser()
    except (OSError, KeyError) as error:
        raise SettingsError("--by: say who you are; this system does not know") from error


def _row(alert: Alert, muted: Muted | None) -> dict[str, Any]:
    found, seen = alert.finding, alert.acknowledgement
    reasons = []
    if muted:
        reasons += [f"silence {one}" for one in muted.silences]
        reasons += [f"alert {one}" for one in muted.inhibitors]
        reasons += ["not looked at now"] if muted.held else []
    return {
        "fingerprint": alert.fingerprint, "state": str(alert.state), "severity": found.severity.name,
        "exchange": alert.exchange, "rule": found.rule, "since": alert.active_since,
        "muted": ", ".join(reasons), "summary": found.summary, "labels": dict(found.labels),
        "value": found.value, "runbook": found.runbook,
        "acknowledged": f"{seen.author}: {seen.comment}" if seen else "", "evidence": dict(found.evidence),
    }  # fmt: skip
