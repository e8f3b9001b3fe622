"""The HTTP pollers against a real server that plays NSE, BSE and Upstox, well and badly."""

from __future__ import annotations

import ast
import gzip
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from exchange_site import Asked, ExchangeSite, Reply, exchange_site, in_turn, json_reply
from pydantic import SecretStr

from ingest.live.delivery import Delivery
from ingest.live.http_client import HttpLimits
from ingest.live.poll_sources import BSE, NSE, UPSTOX, PollSource
from ingest.live.poller import Pace, Poller
from ingest.live.runner import Listen
from ingest.retry import retry
from lake.errors import SettingsError

EXPIRIES = "/api/option-chain-contract-info"
CHAIN = "/api/option-chain-v3"
HOME = "/option-chain"
DURING = datetime(2026, 7, 10, 5, 0, tzinfo=UTC)
AT_NIGHT = datetime(2026, 7, 10, 19, 0, tzinfo=UTC)
SECRET = "s3cr3t-bearer"  # noqa: S105 - made up


@pytest.fixture
def chain(samples: Path) -> bytes:
    return (samples / "nse_api_json/v3/nifty_option_chain_new.json").read_bytes()


@pytest.fixture
def page(samples: Path) -> bytes:
    return (samples / "nse_api_json/not_json/nifty_option_chain.json").read_bytes()


@pytest.fixture
def site(samples: Path, chain: bytes) -> Iterator[ExchangeSite]:
    """NSE on a good day: nothing without its cookie."""
    expiries = (samples / "nse_api_json/v3/nifty_dropdown.json").read_bytes()

    def home(asked: Asked, before: int) -> Reply:
        del asked
        return Reply(
            body=b"<!doctype html><html>the page</html>",
            headers={"Set-Cookie": f"nsit=visit{before}; Path=/"},
        )

    with exchange_site() as running:
        running.on(HOME, home)
        running.on(EXPIRIES, with_cookie(in_turn(json_reply(expiries))))
        running.on(CHAIN, with_cookie(in_turn(json_reply(chain))))
        yield running


def with_cookie(answer: Callable[[Asked, int], Reply]) -> Callable[[Asked, int], Reply]:
    def guarded(asked: Asked, before: int) -> Reply:
        if "nsit=" not in asked.headers.get("Cookie", ""):
            return Reply(401, b'{"error": "Unauthorized"}')
        return answer(asked, before)

    return guarded


def poller(
    site: ExchangeSite,
    reference: Any,
    source: PollSource = NSE,
    symbols: tuple[str, ...] = ("NIFTY",),
    *,
    limits: HttpLimits | None = None,
    now: datetime = DURING,
    pace: Pace | None = None,
    **more: Any,
) -> Listen:
    async def listen(delivery: Delivery) -> None:
        await Poller(
            source,
            list(symbols),
            reference,
            delivery,
            pace=pace
            or Pace(
                every_s=0.05,
                between_s=0.0,
                least_wait_s=0.0,
                first_wait_s=0.02,
                most_wait_s=0.1,
                blocked_wait_s=0.05,
            ),
            address=site.url,
            limits=limits or HttpLimits(total_s=20.0),
            now=lambda: now,
            **{"expiries": 1, **more},
        ).run()

    return listen


def served(run: Any, chains: int) -> Callable[[], bool]:
    """Whether so many chains came, and the connection is told to be up, which follows a moment later."""
    return lambda: run.delivery.counts.chains >= chains and run.ups[-1:] == [True]


def reasons(lake: Any) -> Counter[str]:
    return Counter(row["reason"] for row in lake.rows("quarantine"))


def test_nse_is_visited_for_its_cookie_then_asked_for_expiries_and_chains(
    lake: Any, new_run: Any, reference: Any, site: ExchangeSite, chain: bytes
) -> None:
    run = new_run("nse-poll")
    run.until(served(run, 1), poller(site, reference))
    assert [asked.path for asked in site.asked[:3]] == [HOME, EXPIRIES, CHAIN]
    assert site.asked[2].query == {"type": "Indices", "symbol": "NIFTY", "expiry": "14-Jul-2026"}
    rows = lake.rows()
    by_hand = {
        (float(row["strikePrice"]), kind, row[kind]["lastPrice"] or None, row[kind]["openInterest"] * 65)
        for row in json.loads(chain)["data"]
        for kind in ("CE", "PE")
    }
    assert {(row["strike"], row["option_type"], row["ltp"], row["oi"]) for row in rows} == by_hand
    assert len(rows) == run.delivery.counts.chains * len(by_hand)
    assert {row["source"] for row in rows} == {"nse-poll"}
    assert run.ups == [True, False]
    assert lake.totals()["difference"] == 0


def test_several_symbols_are_never_asked_for_at_once(
    new_run: Any, reference: Any, site: ExchangeSite
) -> None:
    run = new_run("nse-poll")
    run.until(
        served(run, 6),
        poller(site, reference, symbols=("NIFTY", "Nifty Bank", "BANKNIFTY", "RELIANCE")),
    )
    assert site.most_under_way == 1
    assert [asked.query["symbol"] for asked in site.requests(EXPIRIES)] == ["NIFTY", "BANKNIFTY", "RELIANCE"]
    kinds = {asked.query["symbol"]: asked.query["type"] for asked in site.requests(CHAIN)}
    assert kinds == {"NIFTY": "Indices", "BANKNIFTY": "Indices", "RELIANCE": "Equity"}


def test_a_cookie_that_ended_is_got_anew_and_nothing_is_lost(
    new_run: Any, reference: Any, site: ExchangeSite, chain: bytes
) -> None:
    def ended_once(asked: Asked, before: int) -> Reply:
        if before == 1 or ("visit0" in asked.headers["Cookie"] and before > 1):
            return Reply(403, b"{}")
        return json_reply(chain)

    site.on(CHAIN, with_cookie(ended_once))
    run = new_run("nse-poll")
    run.until(served(run, 3), poller(site, reference))
    assert len(site.requests(HOME)) == 2
    assert "visit1" in site.requests(CHAIN)[-1].headers["Cookie"]
    assert run.delivery.counts.rejected == {}
    assert run.ups == [True, False]


def test_a_block_page_is_told_kept_whole_and_waited_out(
    lake: Any, new_run: Any, reference: Any, site: ExchangeSite, chain: bytes, page: bytes
) -> None:
    site.on(
        CHAIN,
        with_cookie(in_turn(json_reply(chain), Reply(body=page), Reply(body=page), json_reply(chain))),
    )
    run = new_run("nse-poll")
    run.until(served(run, 2), poller(site, reference))
    assert reasons(lake) == {"html_instead_of_json": 2}
    assert [json.loads(row["payload"]) for row in lake.rows("quarantine")] == [page.decode()] * 2
    assert run.ups[:3] == [True, False, True]
    assert run.states[1].why == "blocked (HTTP 200)"
    third, fourth = (asked.at for asked in site.requests(CHAIN)[2:4])
    assert fourth - third >= 0.05
    assert lake.totals()["difference"] == 0


def test_retry_after_is_kept(new_run: Any, reference: Any, site: ExchangeSite, chain: bytes) -> None:
    site.on(
        CHAIN,
        with_cookie(in_turn(Reply(429, b"slow down", {"Retry-After": "1"}), json_reply(chain))),
    )
    run = new_run("nse-poll")
    run.until(served(run, 1), poller(site, reference))
    first, second = (asked.at for asked in site.requests(CHAIN)[:2])
    assert second - first >= 1.0
    assert run.states[0].why == "asked to slow down (HTTP 429)"


def test_half_a_body_is_kept_and_asked_for_again(
    lake: Any, new_run: Any, reference: Any, site: ExchangeSite, chain: bytes
) -> None:
    half = chain[: len(chain) // 2]
    site.on(
        CHAIN,
        with_cookie(in_turn(Reply(body=half, announced=len(chain)), json_reply(chain))),
    )
    run = new_run("nse-poll")
    run.until(served(run, 1), poller(site, reference))
    assert reasons(lake) == {"incomplete_answer": 1}
    assert json.loads(lake.rows("quarantine")[0]["payload"]) == half.decode()
    assert len(lake.rows()) == 80 * run.delivery.counts.chains


def test_a_server_that_hangs_is_left_in_time(
    new_run: Any, reference: Any, site: ExchangeSite, chain: bytes
) -> None:
    site.on(CHAIN, with_cookie(in_turn(Reply(hang=True), json_reply(chain))))
    run = new_run("nse-poll")
    run.until(
        served(run, 1),
        poller(site, reference, limits=HttpLimits(silence_s=0.3, total_s=20.0)),
    )
    assert run.ups == [False, True, False]
    assert "in time" in run.states[0].why


def test_an_answer_beyond_the_limit_is_not_read_to_its_end(
    lake: Any, new_run: Any, reference: Any, site: ExchangeSite, chain: bytes
) -> None:
    bomb = gzip.compress(b" " * (8 << 20))
    site.on(
        CHAIN,
        with_cookie(in_turn(Reply(body=bomb, headers={"Content-Encoding": "gzip"}), json_reply(chain))),
    )
    run = new_run("nse-poll")
    run.until(
        served(run, 1),
        poller(site, reference, limits=HttpLimits(total_s=20.0, answer_bytes=1 << 20)),
    )
    assert reasons(lake) == {"answer_too_large": 1}


def test_a_redirect_to_another_host_is_not_followed(new_run: Any, reference: Any, site: ExchangeSite) -> None:
    with exchange_site() as elsewhere:
        site.on(CHAIN, in_turn(Reply(302, b"", {"Location": f"{elsewhere.url}/away"})))
        run = new_run("nse-poll")
        run.until(lambda: len(site.requests(CHAIN)) >= 2, poller(site, reference))
        assert elsewhere.asked == []
    assert run.states[0].why.startswith("http://127.0.0.1")


@pytest.mark.parametrize("answer", [b"{}", b"null", b'{"records": {"data": []}}', b"\xff\xfe"])
def test_an_answer_that_is_no_chain_is_kept_and_the_source_asked_less(
    lake: Any, new_run: Any, reference: Any, site: ExchangeSite, chain: bytes, answer: bytes
) -> None:
    site.on(CHAIN, with_cookie(in_turn(json_reply(answer), json_reply(chain))))
    run = new_run("nse-poll")
    run.until(served(run, 1), poller(site, reference))
    assert sum(reasons(lake).values()) == 1
    assert len(site.requests(HOME)) == 2
    assert run.ups == [False, True, False]


def test_nothing_is_asked_when_no_session_runs(new_run: Any, reference: Any, site: ExchangeSite) -> None:
    rounds = []
    run = new_run("nse-poll")

    async def listen(delivery: Delivery) -> None:
        def now() -> datetime:
            rounds.append(1)
            return AT_NIGHT

        await Poller(
            NSE, ["NIFTY"], reference, delivery, pace=Pace(every_s=0.01), address=site.url, now=now
        ).run()

    run.until(lambda: len(rounds) >= 5, listen)
    assert site.asked == []
    run = new_run("nse-poll")
    run.until(served(run, 1), poller(site, reference, now=AT_NIGHT, always=True))


def test_bse_answers_in_its_own_shape(lake: Any, new_run: Any, reference: Any, samples: Path) -> None:
    document = (samples / "bse_api_json/sensex_option_chain.json").read_bytes()
    dates = {"Table1": [{"ExpiryDate": "23 Jul 2026"}, {"ExpiryDate": "16 Jul 2026"}]}
    with exchange_site() as site:
        site.on("/BseIndiaAPI/api/ddlExpiry_IV/w", in_turn(json_reply(dates)))
        site.on("/BseIndiaAPI/api/DerivOptionChain_IV/w", in_turn(json_reply(document)))
        run = new_run("bse-poll")
        run.until(served(run, 1), poller(site, reference, BSE, ("SENSEX",)))
        assert site.asked[1].query == {"Expiry": "16 Jul 2026", "scrip_cd": "1", "strprice": "0"}
    table = json.loads(document)["Table"]
    expected = {
        (
            float(row["Strike_Price1"]),
            kind,
            int((row[f"{prefix}Open_Interest"] or "-1").replace(",", "")) * 20,
        )
        for row in table
        for kind, prefix in (("CE", "C_"), ("PE", ""))
    }
    found = {
        (row["strike"], row["option_type"], -20 if row["oi"] is None else row["oi"]) for row in lake.rows()
    }
    assert found == expected
    assert {row["exchange"] for row in lake.rows()} == {"BSE"}


def test_upstox_is_asked_with_its_token_and_a_refused_one_ends_the_run(
    lake: Any, new_run: Any, reference: Any, samples: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = gzip.decompress(
        (samples / "upstox_chain_log/Bankex.2025-01-23.payload_lines.log.gz").read_bytes()
    ).decode()
    answer = ast.literal_eval(lines.splitlines()[0].partition("successfully: ")[2])
    contracts = {"status": "success", "data": [{"expiry": "2025-02-25"}, {"expiry": "2025-01-27"}]}
    now = datetime(2025, 1, 23, 8, 23, tzinfo=UTC)
    with exchange_site() as site, caplog.at_level(logging.DEBUG):
        site.on("/v2/option/contract", in_turn(json_reply(contracts)))
        site.on(
            "/v2/option/chain",
            in_turn(json_reply(answer), Reply(401, b'{"status": "error"}')),
        )
        run = new_run("upstox")
        bearer = SecretStr(SECRET)
        with pytest.raises(SettingsError, match="refused the token") as raised:
            run.until(lambda: False, poller(site, reference, UPSTOX, ("BANKEX",), now=now, bearer=bearer))
        assert [asked.headers["Authorization"] for asked in site.asked] == [f"Bearer {SECRET}"] * 3
        assert site.asked[1].query == {"instrument_key": "BSE_INDEX|BANKEX", "expiry_date": "2025-01-27"}
    assert SECRET not in str(raised.value)
    assert SECRET not in caplog.text
    assert SECRET not in "".join(str(vars(record)) for record in caplog.records)
    rows = lake.rows()
    expected = {
        (
            row["strike_price"],
            kind,
            row[side]["market_data"]["ltp"] or None,
            int(row[side]["market_data"]["oi"]),
        )
        for row in answer["data"]
        for kind, side in (("CE", "call_options"), ("PE", "put_options"))
    }
    assert {(row["strike"], row["option_type"], row["ltp"], row["oi"]) for row in rows} == expected
    assert {row["source"] for row in rows} == {"upstox"}
    assert lake.totals()["difference"] == 0


def test_legs_that_could_not_be_converted_come_in_by_a_retry_each_poll_once(
    lake: Any, new_run: Any, reference: Any, site: ExchangeSite, chain: bytes
) -> None:
    """Two polls alike of a symbol without a lot size: once that is known, both come in, and only once."""
    unknown = chain.replace(b'"NIFTY"', b'"NOSUCHINDEX"')
    assert unknown != chain
    site.on(CHAIN, with_cookie(in_turn(json_reply(unknown))))
    run = new_run("nse-poll")
    run.until(served(run, 2), poller(site, reference, symbols=("NOSUCHINDEX",)))
    legs = run.delivery.counts.chains * 80
    assert reasons(lake) == {"unknown_lot_size": legs}
    (lake.settings.root / "lot_sizes.csv").write_text(
        "exchange,symbol,valid_from,lot_size\nNSE,NOSUCHINDEX,2026-01-01,10\n", encoding="utf-8"
    )
    assert retry(lake.settings).accepted == legs
    assert retry(lake.settings).accepted == 0
    rows = lake.rows()
    assert len(rows) == legs
    assert {row["source"] for row in rows} == {"nse-poll"}
    contracts = sum(row[kind]["openInterest"] for row in json.loads(chain)["data"] for kind in ("CE", "PE"))
    assert sum(row["oi"] for row in rows) == contracts * 10 * run.delivery.counts.chains
