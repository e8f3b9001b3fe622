"""The section Chain: what it shows is what was captured, whatever moment is asked for."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from dashboard_client import browsing, chart_in, text_of
from health_lake import DAY, INDIA, NOW, OPEN, HealthLake, Rows
from litestar.testing import TestClient

from catalog.contracts import OPTION_CHAIN

EXPIRY = date(2026, 10, 27)
SPITEFUL = '<script>alert("x")</script>'
Page = TestClient[Any]


def ladder(*, symbol: str = "NIFTY", day: date = DAY, chains: int = 30) -> Rows:
    """Chains of 15 strikes, a minute apart, with holes as captured chains have them."""
    draws = np.random.default_rng(11)
    opening = datetime.combine(day, OPEN.timetz())
    return [
        {
            "date": day, "exchange": "NSE", "event_time": opening + timedelta(minutes=minute),
            "received_time": opening + timedelta(minutes=minute, seconds=1.5), "symbol": symbol,
            "expiry": EXPIRY, "strike": 24_600.0 + 50 * step, "option_type": side,
            "ltp": round(float(draws.uniform(1, 400)), 2), "oi": int(draws.integers(1, 9_000)) * 75,
            "volume": int(draws.integers(1, 9_000)) * 75,
            "iv": None if step == 3 else float(draws.uniform(0.09, 0.3)),
            "underlying_price": 24_950.0 + minute, "source": "live", "dq_flags": 0,
        }
        for minute in range(chains) for step in range(15) for side in ("CE", "PE")
    ]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> HealthLake:
    lake = HealthLake(tmp_path_factory.mktemp("chain"))
    lake.commit(OPTION_CHAIN, [*ladder(), *ladder(symbol=SPITEFUL, chains=2)])
    lake.commit(OPTION_CHAIN, ladder(day=date(2026, 10, 23), chains=5), sequence=2)
    return lake


@pytest.fixture(scope="module")
def page(made: HealthLake) -> Iterator[Page]:
    with browsing(made.settings, NOW) as client:
        yield client


def of(symbol: str = "NIFTY", **more: Any) -> dict[str, Any]:
    return {"exchange": "NSE", "date": str(DAY), "chain": f"{EXPIRY}|live|{symbol}", **more}


def captured(made: HealthLake, place: int) -> dict[str, Any]:
    """A chain by plain DuckDB over the Parquet files, without a view or statement of ours."""
    files = (made.settings.lake.path("option_chain") / "**" / "*.parquet").as_posix()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = connection.sql(
            f"SELECT epoch(event_time), strike, option_type, oi, iv, volume FROM read_parquet('{files}')"
            f" WHERE symbol = 'NIFTY' AND date = DATE '{DAY}' ORDER BY ALL"
        ).fetchall()
    moment = sorted({row[0] for row in rows})[place]
    legs = {(row[1], row[2]): row[3:] for row in rows if row[0] == moment}
    strikes = sorted({strike for strike, _ in legs})
    call_oi = [legs[strike, "CE"][0] for strike in strikes]
    put_oi = [legs[strike, "PE"][0] for strike in strikes]

    def payout(settled: float) -> float:
        calls = sum(oi * max(0.0, settled - strike) for oi, strike in zip(call_oi, strikes, strict=True))
        return calls + sum(
            oi * max(0.0, strike - settled) for oi, strike in zip(put_oi, strikes, strict=True)
        )

    ivs = [legs[strike, "PE"][1] for strike in strikes]
    return {
        "at": moment, "strikes": strikes, "call_oi": call_oi, "put_oi": put_oi,
        "max_pain": min(strikes, key=payout), "pcr": sum(put_oi) / sum(call_oi), "put_iv": ivs,
    }  # fmt: skip


@pytest.mark.parametrize("place", [0, 13, 29])
def test_a_moment_shows_the_chain_that_was_captured_then(made: HealthLake, page: Page, place: int) -> None:
    found = page.get("/chain/moment", params=of(place=place))
    truth = captured(made, place)
    chart = chart_in(found.text, "chain-oi")
    assert found.status_code == 200
    assert (chart["x"], [one["values"] for one in chart["series"]]) == (
        truth["strikes"], [truth["call_oi"], truth["put_oi"]]
    )  # fmt: skip
    marks = {mark["label"].rsplit(" ", 1)[0]: mark["at"] for mark in chart["marks"]}
    spot = 24_950.0 + place
    assert marks["max pain"] == truth["max_pain"]
    assert abs(marks["ATM"] - spot) == min(abs(strike - spot) for strike in truth["strikes"])
    smile = chart_in(found.text, "chain-smile")["series"][1]["values"]
    assert smile == [None if iv is None else round(100 * iv, 4) for iv in truth["put_iv"]]
    assert None in smile
    text = text_of(found.text)
    assert f"{truth['pcr']:.3f} by OI" in text
    assert datetime.fromtimestamp(truth["at"], INDIA).strftime("%Y-%m-%d %H:%M:%S") in text
    assert f"chain {place + 1} of 30, received 1.5 s later" in text


def test_the_course_has_every_chain_with_its_ratio(made: HealthLake, page: Page) -> None:
    chart = page.get("/chain/course.json", params=of()).json()
    assert len(chart["x"]) == 30
    for place in (0, 7, 29):
        truth = captured(made, place)
        assert chart["x"][place] == truth["at"]
        assert chart["series"][0]["values"][place] == pytest.approx(truth["pcr"], abs=1e-12)
        assert chart["series"][2]["values"][place] == 24_950.0 + place


def test_the_page_opens_on_the_newest_chain_of_the_newest_session(page: Page) -> None:
    answer = page.get("/chain")
    if "Reading the chain" in answer.text:  # a machine under load: the page loads it by itself
        answer = page.get("/chain/view")
    assert "2026-10-26 09:44:00" in text_of(answer.text)
    assert 'max="29"' in answer.text


def test_a_link_leads_to_its_moment_again(page: Page) -> None:
    at = datetime(2026, 10, 26, 9, 20, 40, tzinfo=INDIA)
    for text in (at.isoformat(), at.astimezone(UTC).isoformat(), "2026-10-26T09:20:40"):
        found = page.get("/chain/view", params=of(at=text))
        assert "2026-10-26 09:20:00 chain 6 of 30" in text_of(found.text)
    address = found.text.split('data-address="')[1].split('"')[0].replace("&amp;", "&")
    again = page.get(address.replace("/chain?", "/chain/view?"))
    assert "chain 6 of 30" in text_of(again.text)


def test_every_session_can_be_chosen_and_what_it_lacks_is_said(page: Page) -> None:
    found = page.get("/chain/view", params=of() | {"date": "2026-10-23"})
    assert "chain 5 of 5" in text_of(found.text)
    other = page.get("/chain/view", params=of() | {"date": "2026-10-22"})
    assert "2026-10-22 was not captured; this is 2026-10-26" in text_of(other.text)
    expiry = page.get("/chain/view", params=of() | {"chain": "2026-11-03|live|NIFTY"})
    assert "live 2026-11-03" in text_of(expiry.text) or "NIFTY live 2026-11-03" in text_of(expiry.text)
    assert "was not captured" in text_of(expiry.text)


def test_while_the_session_runs_the_newest_chain_follows_and_an_earlier_one_stays(page: Page) -> None:
    newest = page.get("/chain/moment", params=of(place=29)).text
    earlier = page.get("/chain/moment", params=of(place=28)).text
    assert 'hx-trigger="every 5s"' in newest
    assert "every 5s" not in earlier


def test_after_the_close_it_is_asked_for_more_seldom(made: HealthLake) -> None:
    with browsing(made.settings, NOW + timedelta(hours=5)) as client:
        newest = client.get("/chain/moment", params=of(place=29)).text
        earlier = client.get("/chain/moment", params=of(place=28)).text
    assert 'hx-trigger="every 60s"' in newest
    assert "every" not in earlier


def test_the_newest_chain_of_an_earlier_session_stays(page: Page) -> None:
    earlier = page.get("/chain/view", params=of() | {"date": "2026-10-23"}).text
    assert "every" not in earlier


def asked_again(text: str) -> str:
    """The address that a page asks for by itself."""
    found = re.search(r'hx-get="([^"]+)" hx-trigger="every \d+s"', text)
    assert found is not None
    return html.unescape(found[1])


def test_a_page_left_open_overnight_finds_the_next_session(tmp_path: Path) -> None:
    lake = HealthLake(tmp_path)
    lake.commit(OPTION_CHAIN, ladder(day=date(2026, 10, 23), chains=5))
    with browsing(lake.settings, NOW) as client:
        evening = client.get("/chain/view").text
        assert "chain 5 of 5" in text_of(evening)
        lake.commit(OPTION_CHAIN, ladder(chains=7), sequence=2)
        morning = client.get(asked_again(evening)).text
    assert "chain 7 of 7" in text_of(morning)
    assert "was not captured" not in text_of(morning)


def test_a_page_opened_before_the_first_chain_finds_it(tmp_path: Path) -> None:
    lake = HealthLake(tmp_path)
    lake.settings.root.mkdir(parents=True)
    with browsing(lake.settings, NOW) as client:
        before = client.get("/chain/view").text
        assert "No chain was captured yet." in text_of(before)
        lake.commit(OPTION_CHAIN, ladder(chains=3))
        assert "chain 3 of 3" in text_of(client.get(asked_again(before)).text)


def test_a_symbol_that_is_a_script_is_shown_and_not_run(page: Page) -> None:
    view = page.get("/chain/view", params=of(SPITEFUL)).text
    assert SPITEFUL not in view
    assert "&lt;script&gt;" in view
    assert SPITEFUL in html.unescape(view)
    assert page.get("/chain/moment", params=of(SPITEFUL, place=1)).status_code == 200


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"date": "26/10/2026"}, "is no date"),
        ({"at": "noon"}, "is no time"),
    ],
)
def test_what_cannot_be_read_is_named(page: Page, wrong: dict[str, str], told: str) -> None:
    assert told in text_of(page.get("/chain/view", params=of() | wrong).text)


def test_a_place_that_is_not_there_is_refused(page: Page) -> None:
    for place in (-1, 30):
        answer = page.get("/chain/moment", params=of(place=place), headers={"accept": "text/html"})
        assert (answer.status_code, "30 chains" in answer.text) == (409, True)
    assert page.get("/chain/moment", params=of(place=1) | {"chain": "NIFTY"}).status_code == 409


def test_a_lake_without_chains_says_what_would_bring_some(tmp_path: Path) -> None:
    lake = HealthLake(tmp_path)
    lake.settings.root.mkdir(parents=True)
    with browsing(lake.settings, NOW) as client:
        text = text_of(client.get("/chain/view").text)
    assert "No chain was captured yet." in text
    assert "strikelake demo" in text


def test_a_damaged_file_is_an_error_and_no_empty_chain(tmp_path: Path) -> None:
    lake = HealthLake(tmp_path)
    lake.commit(OPTION_CHAIN, ladder(chains=2))
    for file in lake.settings.lake.path("option_chain").rglob("*.parquet"):
        file.write_bytes(b"PAR1 no more PAR1")
    with browsing(lake.settings, NOW) as client:
        text = text_of(client.get("/chain/view", params=of()).text)
    assert "This could not be read." in text
    assert "No chain was captured" not in text


def test_a_chain_that_is_committed_while_the_page_is_open_is_the_next_to_be_shown(tmp_path: Path) -> None:
    lake = HealthLake(tmp_path)
    rows = ladder(chains=4)
    last = rows[-1]["event_time"]
    lake.commit(OPTION_CHAIN, [row for row in rows if row["event_time"] < last])
    with browsing(lake.settings, NOW) as client:
        assert "chain 3 of 3" in text_of(client.get("/chain/view").text)
        lake.commit(OPTION_CHAIN, [row for row in rows if row["event_time"] == last], sequence=2)
        assert "chain 4 of 4" in text_of(client.get("/chain/view").text)
        assert len(client.get("/chain/course.json", params=of()).json()["x"]) == 4


@pytest.mark.parametrize(
    "at", ["0001-01-01", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "noon", "\0", "2026-02-30"]
)
def test_a_moment_that_is_none_is_told(page: Page, at: str) -> None:
    answer = page.get("/chain/view", params=of(at=at))
    assert answer.status_code == 200
    assert "is no time" in text_of(answer.text)


def test_the_newest_chain_of_an_open_session_turns_stale_as_its_rule_says(
    made: HealthLake, page: Page
) -> None:
    def limit(client: Page, **asked: Any) -> str | None:
        found = re.search(
            r'id="chain-now"[^>]*data-stale-after="([^"]*)"', client.get("/chain/view", params=asked).text
        )
        return found and found[1]

    newest = {"exchange": "NSE", "chain": f"{EXPIRY}|live|NIFTY"}
    assert limit(page, **newest) == "480.0"
    # What is looked back at is as old as it is.
    assert limit(page, **newest, date=str(DAY), at="2026-10-26T09:20:00+05:30") is None
    with browsing(made.settings, NOW + timedelta(hours=6)) as evening:
        assert limit(evening, **newest) is None
