"""Watch the lake, the feed, the model and paper trading, and tell people when something is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lake.cli import settings_of
from lake.errors import SettingsError
from lake.output import Format, TextOrJson, show_rows, to_json
from monitors.alerts_cli import app, configured
from monitors.schedule import Scheduler

if TYPE_CHECKING:
    from datetime import timedelta

    from lake.settings import Settings
    from monitors.rules import RuleSet

__all__ = ["app"]

_FIRING = 3
_EVERY = Annotated[str, typer.Option(help="Time between two checks: 90s, 5m ...")]
_EXCHANGES = Annotated[
    list[str] | None, typer.Option("--exchange", help="Only this exchange; may be repeated.")
]
_OUTPUT = Annotated[TextOrJson, typer.Option(help="How to print the result.")]
_ROWS = Annotated[Format, typer.Option(help="How to print the rows.")]


@app.callback()
def monitors() -> None:
    """Watch the lake, the feed, the model and paper trading, and tell people when something is wrong."""


@app.command(epilog="Example: strikelake monitors check --exchange NSE --output json")
def check(
    ctx: typer.Context,
    exchange: _EXCHANGES = None,
    every: _EVERY = "5m",
    now: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Look at the session as of this time; tells nobody, keeps nothing."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell nobody, keep nothing, leave no heartbeat.")
    ] = False,
    output: _OUTPUT = TextOrJson.TEXT,
) -> None:
    """Make one health check; exit code 3 if something fires, 1 if something could not be checked.

    --every says when the next check is due: the watch tells if it does not come.
    """
    from monitors.service import Service

    settings, rules = configured(ctx)
    service = Service.of(settings, rules, exchanges=_known(exchange, rules), every=_duration(every))
    moment = _moment(now, settings.timezone)
    done = service.look(moment) if dry_run or moment is not None else service.check()
    _show(done, output, settings)
    raise typer.Exit(done.exit_code)


@app.command(epilog="Example: strikelake monitors run --every 5m")
def run(
    ctx: typer.Context,
    every: _EVERY = "5m",
    exchange: _EXCHANGES = None,
    once: Annotated[bool, typer.Option("--once", help="End after what is due now.")] = False,
) -> None:
    """Check again and again while a session runs, and sum the day up after its close; until Ctrl-C.

    Between sessions it looks once an hour at what must hold always.
    """
    from monitors.service import Service

    settings, rules = configured(ctx)
    service = Service.of(settings, rules, exchanges=_known(exchange, rules), every=_duration(every))
    try:
        for told in service.run(once=once):
            typer.echo(told)
    except KeyboardInterrupt:
        typer.echo("stopped; nobody watches now", err=True)


@app.command(epilog="Example: strikelake monitors watch")
def watch(ctx: typer.Context, output: _OUTPUT = TextOrJson.TEXT) -> None:
    """See whether checks are made and the writer runs; for a scheduled task of its own.

    Exit code 3 if the monitor or the writer has gone quiet. Leaves no heartbeat itself.
    """
    from monitors.service import Service

    settings, rules = configured(ctx)
    done = Service.of(settings, rules).watch()
    _show(done, output, settings)
    raise typer.Exit(done.exit_code)


@app.command(epilog="Example: strikelake monitors drift --exchange NSE --report")
def drift(
    ctx: typer.Context,
    exchange: _EXCHANGES = None,
    now: Annotated[
        str | None, typer.Option(metavar="TIME", help="Look at the session as of this time.")
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Make Evidently's report of the session as well.")
    ] = False,
    output: _OUTPUT = TextOrJson.TEXT,
) -> None:
    """Compare live features with the model's training dataset; exit code 3 if some have drifted.

    Scores are kept in the table drift_scores. A breach takes three windows in a row, 25 minutes apart.
    """
    from catalog.reference import ReferenceData
    from monitors.drift_told import drift_lines, drift_of

    settings, rule_set = configured(ctx)
    calendar = ReferenceData.load(settings.root).calendar
    moment = _moment(now, settings.timezone) or datetime.now(UTC)
    names = _known(exchange, rule_set) or rule_set.exchanges
    found = [drift_of(settings, calendar, name, moment, report=report) for name in names]
    if output is TextOrJson.JSON:
        typer.echo(to_json([one.as_data() for one in found], zone=settings.timezone))
    else:
        for one in found:
            typer.echo("\n".join(drift_lines(one)))
    raise typer.Exit(_FIRING if any(one.breaches for one in found) else 0)


@app.command(epilog="Example: strikelake monitors rules")
def rules(
    ctx: typer.Context,
    output: _ROWS = Format.TABLE,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Print a rule file of Prometheus instead.")
    ] = False,
) -> None:
    """List the rules as they are in force, with the user's changes."""
    _, rule_set = configured(ctx)
    if prometheus:
        from monitors.prometheus_rules import alert_rules

        typer.echo(alert_rules(rule_set), nl=False)
        return
    rows = [
        {
            "rule": one.name, "severity": one.severity.name, "metric": one.metric,
            "measure": str(one.measure),
            "breach": f"{one.comparison} {one.threshold:g}", "for_s": one.for_s, "phase": str(one.phase),
            "warmup_s": one.warmup_s, "exchanges": " ".join(one.exchanges), "enabled": one.enabled,
            "runbook": one.runbook, "origin": one.origin,
        }
        for one in rule_set.rules.values()
    ]  # fmt: skip
    short = ["rule", "severity", "metric", "measure", "breach", "phase", "enabled"]
    show_rows(rows, output, columns=short if output is Format.TABLE else None)


@app.command(epilog="Example: strikelake monitors metrics --prometheus --file strikelake.prom")
def metrics(
    ctx: typer.Context,
    output: _ROWS = Format.TABLE,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Print what they are now, as Prometheus reads it.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.prom", help="Write that to a file, for the textfile collector of node_exporter."
        ),
    ] = None,
) -> None:
    """List the metrics: what is measured, in which unit."""
    from monitors.metrics import METRICS

    if file is not None and (not prometheus or file.suffix != ".prom"):
        raise SettingsError("--file goes with --prometheus, and node_exporter reads files named *.prom only")
    if prometheus:
        _expose(ctx, file)
        return
    rows = [
        {"metric": one.name, "about": one.about, "unit": one.unit, "labels": " ".join(one.labels)}
        for one in METRICS.values()
    ]
    show_rows(rows, output)


@app.command(epilog="Example: strikelake monitors runbook feed_stale")
def runbook(
    name: Annotated[str, typer.Argument(help="Section, or rule or alert that has one.")],
) -> None:
    """Print a section of the runbook: what it means, how to look, what to do, when to close."""
    from monitors.rules import load_rules, runbook_sections

    sections = runbook_sections()
    found = load_rules().rules.get(name)
    section = found.runbook if found is not None else name
    if section not in sections:
        raise SettingsError(f"the runbook has no section {name!r}; there are: {', '.join(sections)}")
    typer.echo(f"## {section}\n\n{sections[section]}")


@app.command(epilog="Example: strikelake monitors schedule --print cron")
def schedule(
    ctx: typer.Context,
    scheduler: Annotated[Scheduler, typer.Option("--print", help="For which scheduler.")],
    every: _EVERY = "5m",
    watch: Annotated[
        bool, typer.Option("--watch", help="windows: the task of the watch, not of the check.")
    ] = False,
) -> None:
    """Print what the system's scheduler needs to make the checks: nothing is installed."""
    from monitors.schedule import job_of
    from monitors.schedule import schedule as text

    settings = settings_of(ctx)
    typer.echo(text(job_of(settings, _duration(every)), scheduler, watch=watch), nl=False)


def _expose(ctx: typer.Context, file: Path | None) -> None:
    """Tell the metrics as Prometheus reads them; a file is replaced whole."""
    from catalog.reference import ReferenceData
    from lake.durability import replace_durably
    from monitors.prometheus_state import exposition

    settings, rule_set = configured(ctx)

    text = exposition(settings, ReferenceData.load(settings.root).calendar, rule_set)
    if file is None:
        typer.echo(text.decode(), nl=False)
        return
    replace_durably(file, text)
    # Made in a folder of node_exporter, which runs as somebody else.
    file.chmod(0o644)


def _known(exchanges: list[str] | None, rule_set: RuleSet) -> tuple[str, ...]:
    """The exchanges that were named.

    Raises:
        SettingsError: One is not watched.
    """
    unknown = [name for name in exchanges or () if name not in rule_set.exchanges]
    if unknown:
        watched = ", ".join(rule_set.exchanges)
        raise SettingsError(f"--exchange {unknown[0]}: it is not watched; there are: {watched}")
    return tuple(exchanges or ())


def _duration(text: str) -> timedelta:
    from monitors.rules import duration

    return duration(text, what="--every")


def _moment(text: str | None, timezone: str) -> datetime | None:
    from zoneinfo import ZoneInfo

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"--now {text!r} is no time (YYYY-MM-DD HH:MM)") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(timezone))


def _show(done: Any, output: TextOrJson, settings: Settings) -> None:
    if output is TextOrJson.JSON:
        typer.echo(to_json(done.as_data(), zone=settings.timezone))
    else:
        typer.echo("\n".join(done.lines()))
