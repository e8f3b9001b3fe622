"""The command `strikelake`: finds the rooms' commands and imports one only when it is called."""

from __future__ import annotations

import ast
import difflib
import importlib.metadata
import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from lake.errors import StrikelakeError
from lake.output import printable

if TYPE_CHECKING:
    from lake.settings import Settings

GROUP = "strikelake.commands"
_ORDER = ("demo", "ingest", "sql", "dataset", "explain", "monitors", "dashboard", "lake", "catalog")

_EXTRAS = {
    "lightgbm": "explain", "shap": "explain", "sklearn": "explain", "matplotlib": "explain",
    "joblib": "explain", "evidently": "monitors", "apprise": "monitors", "httpx": "monitors",
    "scipy": "monitors", "yaml": "monitors", "litestar": "monitors", "uvicorn": "monitors",
    "jinja2": "monitors", "prometheus_client": "monitors", "psutil": "monitors",
    "websockets": "live", "keyring": "live", "google": "live",
}  # fmt: skip
"""Packages that commands need and a plain install does not bring, and the extra that does."""


class LazyCommands(TyperGroup):
    """Commands from entry points; `--help` reads their modules' docstrings without running them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands, ours first in the order of use."""
        del ctx
        names = _entry_points()
        return sorted(names, key=lambda n: (_ORDER.index(n) if n in _ORDER else len(_ORDER), n))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Name and first line of a command, for lists; nothing is imported."""
        del ctx
        entry = _entry_points().get(cmd_name)
        return None if entry is None else TyperCommand(cmd_name, help=_first_line(entry))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, imported now."""
        entry = _entry_points().get(args[0]) if args else None
        if entry is None:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            return ctx.fail(f"No such command {args[0]!r}.{hint}")
        command = typer.main.get_command(entry.load())
        command.name = args[0]
        return args[0], command, args[1:]

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an interrupt ends it with a word and exit code 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("\nstrikelake: interrupted", err=True)
            raise SystemExit(130) from None


app = typer.Typer(
    cls=LazyCommands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: strikelake demo",
)


def _show_version(wanted: bool) -> None:
    """Eager: the version is shown without a command."""
    if wanted:
        typer.echo(f"strikelake {importlib.metadata.version('strikelake')}")
        raise typer.Exit


@app.callback()
def strikelake(
    ctx: typer.Context,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the lake  [default: data, or STRIKELAKE_ROOT]")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="One log line a micro-batch.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """A lakehouse for option-chain ticks: capture, query in SQL, look back in time."""
    del version
    ctx.obj = {"root": root, "debug": debug, "verbose": verbose}


def settings_of(ctx: typer.Context, **given: Any) -> Settings:
    """The settings of this call: what a command was given, then `--root`, environment, file, defaults.

    Raises:
        SettingsError: A value is not valid.
    """
    from lake.logs import configure_logging
    from lake.settings import load_settings

    options = ctx.find_root().obj
    configure_logging(verbose=options["verbose"])
    return load_settings(**{"root": options["root"], **given})


def command_line(settings: Settings) -> str:
    """`strikelake`, with the `--root` a user has to give to come to the same lake again."""
    if settings.root == type(settings).model_fields["root"].default:
        return "strikelake"
    root = str(settings.root)
    quoted = subprocess.list2cmdline([root]) if sys.platform == "win32" else shlex.quote(root)
    return f"strikelake --root {quoted}"


def main() -> None:
    """Run the command line; exit 0 fine, 1 our error in one line, 2 usage, 3 a breach, 130 interrupted."""
    if hasattr(sys.stdout, "reconfigure"):
        # Data is UTF-8 wherever it goes; a console that cannot show a character gets its escape.
        encoding = None if sys.stdout.isatty() else "utf-8"
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")
    debug = "--debug" in sys.argv
    try:
        app(prog_name="strikelake", standalone_mode=True)
    except KeyboardInterrupt:
        typer.echo("strikelake: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, a pager) has seen enough; nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if debug or extra is None:
            raise
        typer.echo(f"strikelake: this needs {error.name}: pip install 'strikelake[{extra}]'", err=True)
        sys.exit(1)
    except (StrikelakeError, OSError) as error:
        if debug:
            raise
        # Names of files and values in messages are others': they must not drive the terminal.
        message = "\n".join(map(printable, str(error).split("\n")))
        typer.echo(f"strikelake: {message}", err=True)
        sys.exit(1)


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}


def _first_line(entry: importlib.metadata.EntryPoint) -> str:
    """First line of the docstring of a command's module, which is parsed and not imported."""
    room, _, module = entry.module.partition(".")
    spec = importlib.util.find_spec(room)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder, *module.split(".")).with_suffix(".py")
        if file.is_file():
            doc = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            return doc.partition("\n")[0]
    return ""
