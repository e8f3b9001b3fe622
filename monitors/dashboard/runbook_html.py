"""The runbook's small Markdown as HTML: paragraphs, lists, code and bold, everything escaped first."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_BOLD = re.compile(r"\*\*(.+?)\*\*")
_CODE = re.compile(r"`([^`]+)`")
_FENCE = re.compile(r"^```\w*$")


def runbook_html(text: str) -> Markup:
    """A section as HTML."""
    made: list[str] = []
    lines: list[str] = []
    code: list[str] | None = None

    def flush() -> None:
        if not lines:
            return
        if all(line.startswith("- ") for line in lines):
            made.append(f"<ul>{''.join(f'<li>{_inline(line[2:])}</li>' for line in lines)}</ul>")
        else:
            made.append(f"<p>{_inline(' '.join(lines))}</p>")
        lines.clear()

    for line in text.splitlines():
        if _FENCE.match(line.strip()):
            flush()
            if code is None:
                code = []
            else:
                made.append(f"<pre><code>{escape(chr(10).join(code))}</code></pre>")
                code = None
        elif code is not None:
            code.append(line)
        elif not line.strip():
            flush()
        elif line.startswith("  ") and lines and lines[-1].startswith("- "):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line.strip())
    flush()
    return Markup("".join(made))  # noqa: S704 - every part of it is escaped above


def _inline(text: str) -> str:
    safe = str(escape(text))
    return _CODE.sub(r"<code>\1</code>", _BOLD.sub(r"<strong>\1</strong>", safe))
