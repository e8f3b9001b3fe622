"""What the doctor says of one thing that is wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: Stable code, see the table of `catalog.doctor`.
        table: Table, spool or dataset concerned.
        subject: File, version, partition or batch.
        detail: For a person: what is wrong, and what it means.
        repair: What `--repair` does about it, empty if it cannot.
        repaired: True once that is done.
    """

    kind: str
    table: str
    subject: str
    detail: str
    repair: str = ""
    repaired: bool = False


_SHOWN = 5
_WIDTH = 80


def told(findings: Sequence[Finding], *, repaired: bool) -> Iterator[str]:
    """Lines for a person, within 80 columns but for single long names; many alike are counted.

    Args:
        findings: What was found.
        repaired: Whether mending was asked for.
    """
    groups: dict[tuple[str, str, str, bool], list[Finding]] = {}
    for finding in findings:
        key = (finding.kind, finding.table, finding.repair, finding.repaired)
        groups.setdefault(key, []).append(finding)
    for (kind, table, repair, done), group in groups.items():
        state = "mended" if done else ("can be mended" if repair and not repaired else "left")
        count = f"{len(group):,} x " if len(group) > 1 else ""
        yield f"{count}{kind}  {table}  [{state}]"
        for finding in group[:_SHOWN]:
            yield from _wrapped(finding.subject, "  ")
            yield from _wrapped(finding.detail, "    ")
        if len(group) > _SHOWN:
            yield f"  ... and {len(group) - _SHOWN:,} more: see --output json"
        if repair:
            yield from _wrapped(f"{'done' if done else '--repair'}: {repair}", "  ")
    mended = sum(f.repaired for f in findings)
    counted = f"{len(findings):,} finding{'' if len(findings) == 1 else 's'}"
    yield counted + (f", {mended:,} mended, {len(findings) - mended:,} left" if repaired else "")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent + "  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
