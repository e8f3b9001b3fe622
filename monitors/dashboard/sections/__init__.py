"""The sections of the page, in the order of its navigation."""

from __future__ import annotations

from monitors.dashboard.sections import health, lake, now
from monitors.dashboard.sections.section import Section

SECTIONS: tuple[Section, ...] = (now.SECTION, health.SECTION, lake.SECTION)
