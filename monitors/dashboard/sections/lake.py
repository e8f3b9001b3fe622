"""Lake: tables, datasets, the doctor, and a box for SQL."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath
from litestar.response import Template

from lake.errors import StrikelakeError
from monitors.dashboard.backend import Backend
from monitors.dashboard.doctor_run import DoctorRun
from monitors.dashboard.live import Fragment
from monitors.dashboard.rendering import Renderer
from monitors.dashboard.sections.lake_model import (
    DatasetRow,
    dataset_rows,
    examples,
    table_detail,
    table_rows,
)
from monitors.dashboard.sections.section import Opened, Section
from monitors.dashboard.sql_box import CSV_ROWS, MEMORY_MB, ROWS, TIMEOUT_S, SqlBox
from monitors.dashboard.sql_result import drawn

_DATASETS_S = 10.0

Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]


class LakePage:
    """Values of the templates of this section."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._datasets: tuple[DatasetRow, ...] = ()
        self._datasets_s = float("-inf")
        self.doctor = DoctorRun(backend.settings, backend.calendar, backend.clock)
        self.box = SqlBox(backend.settings)

    async def tables(self) -> dict[str, Any]:
        """The tables, or why there are none."""
        try:
            read = await self._backend.reader.read("tables", table_rows)
        except StrikelakeError as error:
            return {"rows": (), "problem": str(error)}
        return {"rows": read.value, "problem": ""}

    async def datasets(self) -> dict[str, Any]:
        """The datasets, not older than ten seconds."""
        if time.monotonic() - self._datasets_s > _DATASETS_S:
            try:
                self._datasets = await asyncio.to_thread(dataset_rows, self._backend.settings.lake)
            except OSError as error:
                return {"rows": (), "problem": str(error)}
            self._datasets_s = time.monotonic()
        return {"rows": self._datasets, "problem": ""}


def _opened(backend: Backend, renderer: Renderer) -> Opened:
    made = LakePage(backend)
    limits = {"rows": ROWS, "csv_rows": CSV_ROWS, "seconds": TIMEOUT_S, "memory_mb": MEMORY_MB}

    @get("/lake", name="lake")
    async def page(request: Request[Any, Any, Any]) -> Template:
        """The page."""
        made.box.prepare()
        tables = await made.tables()
        return await renderer.page(
            backend, "lake", request, tables=tables, datasets=await made.datasets(), doctor=made.doctor.state,
            examples=examples(tables["rows"]), limits=limits, looked_at=backend.clock(),
        )  # fmt: skip

    async def live() -> list[Fragment]:
        return [
            renderer.fragment("lake-tables", "lake_tables.html", tables=await made.tables()),
            renderer.fragment("lake-datasets", "lake_datasets.html", datasets=await made.datasets()),
            renderer.fragment("lake-doctor", "lake_doctor.html", doctor=made.doctor.state),
        ]

    @get("/lake/table/{name:str}")
    async def detail(name: FromPath[str]) -> Template:
        """Columns and newest commits of a table."""
        read = await backend.reader.read(
            ("table", name), lambda session: table_detail(session, name), tables=[name]
        )
        return Template("lake_table.html", context={"table": read.value})

    @post("/lake/doctor", status_code=200)
    async def doctor(data: Form) -> Template:
        """Let the doctor look; the stream brings what it finds."""
        made.doctor.begin(checksums=data.get("checksums") == "on")
        return Template("lake_doctor.html", context={"id": "lake-doctor", "doctor": made.doctor.state})

    @post("/lake/sql", status_code=200)
    async def sql(data: Form) -> Template:
        """Rows of a statement."""
        statement = data.get("sql", "")
        try:
            result = await made.box.run(statement)
        except StrikelakeError as error:
            return Template("sql_result.html", context={"problem": str(error), "result": None, "chart": None})
        chart = drawn(result, backend.zone)
        return Template("sql_result.html", context={"problem": "", "result": result, "chart": chart})

    @post("/lake/csv", status_code=200)
    async def csv(data: Form) -> Response[str]:
        """The same as a file."""
        text = await made.box.csv(data.get("sql", ""))
        headers = {"content-disposition": 'attachment; filename="strikelake.csv"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

    return Opened([page, detail, doctor, sql, csv], live, made.box.close)


SECTION = Section("lake", "/lake", "Lake", "Tables, datasets, the doctor, and SQL.", _opened)
