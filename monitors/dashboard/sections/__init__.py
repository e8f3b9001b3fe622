"""The sections of the page, in the order of its navigation."""

from __future__ import annotations

from monitors.dashboard.sections import chain, drift, health, lake, model, now, paper
from monitors.dashboard.sections.section import Section

SECTIONS: tuple[Section, ...] = (
    now.SECTION, chain.SECTION, model.SECTION, drift.SECTION, paper.SECTION, health.SECTION, lake.SECTION,
)  # fmt: skip
