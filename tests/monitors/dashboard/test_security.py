"""What keeps strangers out: each way in is tried, over HTTP."""

from __future__ import annotations

import logging
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from health_lake import HealthLake, build
from page_server import Served, csrf_of, noon, serving

from lake.errors import SettingsError
from monitors.dashboard.sections import SECTIONS
from monitors.dashboard.security import Access, host_of, is_loopback
from monitors.dashboard.token_file import FILE_NAME, token_of
from monitors.dashboard.wrong_tokens import BURST, REFILL_S, WrongTokens

TOKEN = "t" * 43
PATHS = [section.path for section in SECTIONS]
EVIL = "<script>alert(1)</script>"


def renamed(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """A symbol that a browser would run, if it were let."""
    return [{**row, "symbol": EVIL} if row["symbol"] == "NIFTY" else row for row in rows]


@pytest.mark.parametrize("path", [*PATHS, "/nowhere", "/static/app.js", "/metrics"])
def test_every_answer_carries_the_headers(page: Served, path: str) -> None:
    with page.client() as client:
        headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("path", PATHS)
def test_no_page_has_anything_inline(page: Served, path: str) -> None:
    with page.client() as client:
        html = client.get(path).text
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert "<style" not in html
    assert not re.search(r"<[^>]*\s(?:on[a-z]+|style)\s*=", html)
    assert not re.search(
        r"(?:https?:)?//(?!www\.w3\.org)[a-z0-9.-]+/", re.sub(r"lake <code>.*?</code>", "", html)
    )


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "[::1", ""]
)
def test_a_name_that_is_not_ours_is_refused(page: Served, host: str) -> None:
    """DNS rebinding: the browser is sent here by a name that somebody else owns."""
    with page.client() as client:
        assert client.get("/", headers={"host": host}).status_code in {400, 421}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:8501"])
def test_our_own_names_are_taken(page: Served, host: str) -> None:
    with page.client() as client:
        assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/lake/sql",
        "/lake/csv",
        "/lake/doctor",
        "/health/acknowledge",
        "/health/silence",
        "/health/end-silence",
    ],
)
class TestForgery:
    """A page of another site sends a form of ours."""

    def test_without_a_token_it_is_refused(self, page: Served, path: str) -> None:
        with page.client() as client:
            client.get("/")
            assert client.post(path, data={"sql": "SELECT 1"}).status_code == 403

    def test_a_token_without_its_cookie_is_refused(self, page: Served, path: str) -> None:
        with page.client() as client, page.client() as other:
            token = csrf_of(client.get("/").text)
            assert (
                other.post(path, headers={"x-csrf-token": token}, data={"sql": "SELECT 1"}).status_code == 403
            )

    @pytest.mark.parametrize(
        "header",
        [
            {"origin": "https://evil.example"},
            {"origin": "http://[::1"},
            {"origin": "null"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ],
        ids=["origin", "no origin at all", "null", "cross-site", "same-site"],
    )
    def test_another_origin_is_refused_even_with_a_token(
        self, page: Served, path: str, header: dict[str, str]
    ) -> None:
        with page.visitor() as visitor:
            headers = {"x-csrf-token": visitor.csrf, **header}
            answer = visitor.client.post(path, headers=headers, data={"sql": "SELECT 1"})
        assert answer.status_code == 403
        assert "another site" in answer.text


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize(
    ("mode", "dest"),
    [
        ("no-cors", "image"),
        ("cors", "empty"),
        ("no-cors", "script"),
        ("navigate", "iframe"),
        ("navigate", "object"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/live/now", "/metrics", "/static/app.js"])
def test_another_site_can_load_no_part_of_it(
    page: Served, site: str, mode: str, dest: str, path: str
) -> None:
    headers = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
    with page.client(headers=headers) as client:
        answer = client.get(path)
    assert answer.status_code == 403
    assert page.dashboard.live.pages == 0


def test_a_link_on_another_site_leads_here(page: Served) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    with page.client(headers=headers) as client:
        assert client.get("/health").status_code == 200
        assert client.post("/lake/sql", data={"sql": "SELECT 1"}).status_code == 403


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(page: Served) -> None:
    with page.client() as client:
        cookie = client.get("/").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


@pytest.fixture(scope="module")
def guarded(made: HealthLake) -> Iterator[Served]:
    with serving(made.settings, clock=noon, access=Access(token=TOKEN, port=1)) as served:
        yield served


class TestToken:
    """A page that others on the network reach."""

    @pytest.mark.parametrize("path", [*PATHS, "/live/now", "/lake/table/option_chain", "/metrics"])
    def test_without_it_nothing_is_shown(self, guarded: Served, path: str) -> None:
        with guarded.client() as client:
            answer = client.get(path)
            part = client.get(path, headers={"hx-request": "true"})
        assert answer.status_code in {303, 401}
        assert answer.headers.get("location", "/login").startswith("/login")
        assert part.status_code == 401

    @pytest.mark.parametrize("given", ["", "wrong", TOKEN[:-1], f"{TOKEN}x", "ü"])
    def test_a_wrong_one_is_refused(self, guarded: Served, given: str) -> None:
        with guarded.client() as client:
            token = csrf_of(client.get("/login").text)
            answer = client.post("/login", data={"token": given, "_csrf_token": token})
            assert answer.status_code == 403
            assert client.get("/").status_code == 303

    def test_the_right_one_opens_the_page_and_is_not_in_the_cookie(self, guarded: Served) -> None:
        with guarded.client() as client:
            token = csrf_of(client.get("/login").text)
            answer = client.post("/login", data={"token": TOKEN, "next": "/health", "_csrf_token": token})
            assert answer.status_code == 303
            assert answer.headers["location"] == "/health"
            cookie = answer.headers["set-cookie"]
            assert TOKEN not in cookie
            assert "httponly" in cookie.lower()
            assert client.get("/health").status_code == 200

    @pytest.mark.parametrize(
        "target", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example"]
    )
    def test_a_login_leads_to_no_other_site(self, guarded: Served, target: str) -> None:
        with guarded.client() as client:
            token = csrf_of(client.get("/login").text)
            answer = client.post("/login", data={"token": TOKEN, "next": target, "_csrf_token": token})
        assert answer.headers["location"] == "/"

    def test_a_forged_cookie_is_refused(self, guarded: Served) -> None:
        with guarded.client(cookies={"strikelake_1": "0" * 64}) as client:
            assert client.get("/").status_code == 303

    def test_programs_show_it_in_a_header(self, guarded: Served) -> None:
        with guarded.client() as client:
            right = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
            wrong = client.get("/metrics", headers={"authorization": "Bearer x"})
        assert right.status_code == 200
        assert "strikelake_" in right.text
        assert wrong.status_code == 401

    def test_it_is_in_no_log_and_no_address(self, guarded: Served, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        with guarded.client() as client:
            token = csrf_of(client.get("/login").text)
            answers = [
                client.post("/login", data={"token": TOKEN, "_csrf_token": token}),
                client.get("/"),
                client.get("/nowhere"),
            ]
        assert not [
            one for one in answers if TOKEN in one.text or TOKEN in str(one.headers) or TOKEN in str(one.url)
        ]
        assert TOKEN not in caplog.text
        assert TOKEN not in repr(guarded.dashboard.access)


class TestWrongTokens:
    """Guessing is noticed and cheap, and locks nobody out."""

    def test_a_few_are_mistakes_and_more_must_wait(self) -> None:
        now = 100.0
        wrong = WrongTokens(clock=lambda: now)
        assert [wrong.count("a") for _ in range(BURST)] == [0] * BURST
        assert wrong.count("b") == REFILL_S
        now += REFILL_S / 2
        assert wrong.count("a") == REFILL_S / 2
        now += REFILL_S / 2
        assert wrong.count("a") == 0
        assert wrong.count("a") > 0
        now += 1_000_000
        assert [wrong.count("a") for _ in range(BURST + 1)] == [*[0] * BURST, REFILL_S]

    def test_it_is_told_once_a_minute_and_takes_no_memory(self, caplog: pytest.LogCaptureFixture) -> None:
        now = 0.0
        wrong = WrongTokens(clock=lambda: now)
        for number in range(2_000):
            wrong.count(f"10.0.{number % 256}.{number // 256}")
            now += 0.05  # a hundred seconds in all
        told = [one for one in caplog.records if one.message == "wrong tokens"]
        assert len(told) == 2
        assert "10.0." in str(told[0].__dict__["last_from"])
        assert not any(hasattr(value, "__len__") for value in vars(wrong).values())

    def test_the_right_one_is_taken_while_somebody_guesses(self, made: HealthLake) -> None:
        now = 0.0
        access = Access(token=TOKEN)
        wrong = WrongTokens(clock=lambda: now)
        with (
            serving(made.settings, clock=noon, access=access, wrong=wrong) as served,
            served.client() as guessing,
            served.client() as user,
        ):
            token = csrf_of(guessing.get("/login").text)
            answers = [
                guessing.post("/login", data={"token": f"guess {n}", "_csrf_token": token})
                for n in range(BURST + 2)
            ]
            assert [one.status_code for one in answers] == [*[403] * BURST, 429, 429]
            assert answers[-1].headers["retry-after"] == f"{REFILL_S:.0f}"
            assert "too many" in answers[-1].text
            # A header is no way around.
            guessed = guessing.get("/metrics", headers={"authorization": "Bearer guess"})
            assert guessed.status_code == 429
            assert guessing.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
            token = csrf_of(user.get("/login").text)
            answer = user.post("/login", data={"token": TOKEN, "_csrf_token": token})
            assert answer.status_code == 303
            assert user.get("/").status_code == 200
            now += REFILL_S
            token = csrf_of(guessing.get("/login").text)
            answer = guessing.post("/login", data={"token": "mistyped", "_csrf_token": token})
            assert answer.status_code == 403

    def test_who_shows_none_is_not_counted(self, made: HealthLake) -> None:
        with (
            serving(made.settings, clock=noon, access=Access(token=TOKEN)) as served,
            served.client() as client,
        ):
            assert {client.get("/").status_code for _ in range(2 * BURST)} == {303}

    @pytest.mark.parametrize(("scheme", "is_secure"), [("https", True), ("http", False)])
    def test_behind_tls_the_cookie_is_for_tls_alone(
        self, made: HealthLake, scheme: str, is_secure: bool
    ) -> None:
        with (
            serving(made.settings, clock=noon, access=Access(token=TOKEN)) as served,
            served.client(headers={"x-forwarded-proto": scheme}) as client,
        ):
            token = csrf_of(client.get("/login").text)
            answer = client.post("/login", data={"token": TOKEN, "_csrf_token": token})
        assert ("secure" in answer.headers["set-cookie"].lower()) == is_secure


class TestProxy:
    """A reverse proxy names who it has let in."""

    def test_its_word_is_taken_from_its_address_only(self, made: HealthLake) -> None:
        for proxies, status in ((frozenset({"127.0.0.1"}), 200), (frozenset({"10.0.0.1"}), 401)):
            access = Access(proxy_header="X-Forwarded-User", proxies=proxies)
            with serving(made.settings, clock=noon, access=access) as served, served.client() as client:
                assert client.get("/", headers={"x-forwarded-user": "asha"}).status_code == status

    def test_who_it_names_is_shown_and_nobody_else_gets_in(self, made: HealthLake) -> None:
        access = Access(proxy_header="X-Forwarded-User")
        with serving(made.settings, clock=noon, access=access) as served, served.client() as client:
            assert "you are asha" in client.get("/", headers={"x-forwarded-user": "asha"}).text
            assert client.get("/").status_code == 401
            assert client.get("/", headers={"x-forwarded-user": ""}).status_code == 401


class TestTokenFile:
    """Where the token is kept."""

    def test_it_is_made_once_for_the_user_alone(self, tmp_path: Path) -> None:
        token, path = token_of(tmp_path)
        assert len(token) >= 43
        assert token_of(tmp_path) == (token, path)
        if sys.platform != "win32":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has access lists")
    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
    def test_one_that_others_can_read_is_refused(self, tmp_path: Path, mode: int) -> None:
        _, path = token_of(tmp_path)
        path.chmod(mode)
        with pytest.raises(SettingsError, match="chmod 600"):
            token_of(tmp_path)

    def test_an_empty_one_is_no_token(self, tmp_path: Path) -> None:
        _, path = token_of(tmp_path)
        path.write_text("", encoding="ascii")
        with pytest.raises(SettingsError, match="no token"):
            token_of(tmp_path)
        assert path.name == FILE_NAME


def test_a_symbol_named_script_is_shown_and_not_run(tmp_path: Path) -> None:
    made = build(tmp_path, change=renamed)
    with serving(made.settings, clock=noon) as served, served.client() as client:
        seen = [client.get(path).text for path in PATHS]
        with client.stream("GET", "/live/now") as stream:
            told = next(text for text in stream.iter_text() if "hx-partial" in text)
        with served.visitor() as visitor:
            seen.append(
                visitor.send(
                    "/lake/sql", sql="SELECT DISTINCT symbol, '<b>' AS \"<i>\" FROM option_chain"
                ).text
            )
            seen.append(visitor.send("/lake/sql", sql='SELECT nothing FROM "<script>x"').text)
    shown = "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert shown in told
    assert shown in seen[-2]
    for text in (*seen, told):
        assert EVIL not in text
        assert "<script>" not in text
        assert "<i>" not in text


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("localhost:1", "localhost"),
        ("[::1]:1", "::1"),
        ("A.b", "a.b"),
        ("a b", "a b"),
        ("x@y", ""),
        ("a/b", ""),
        ("h:99999", ""),
    ],
)
def test_the_host_of_an_authority(authority: str, host: str) -> None:
    assert host_of(authority) == host


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("192.168.0.1", False),
        ("x", False),
    ],
)
def test_what_is_of_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_server_on_all_interfaces_is_asked_for_by_address_or_declared_name() -> None:
    access = Access(any_address=True, token=TOKEN)
    assert access.is_ours("192.168.1.7")
    assert access.is_ours("localhost")
    assert not access.is_ours("evil.example")


def test_http_methods_that_are_not_ours_are_refused(page: Served) -> None:
    with page.client() as client:
        for method in ("PUT", "DELETE", "PATCH", "TRACE"):
            assert client.request(method, "/lake/sql").status_code in {403, 405}
        assert client.post("/lake/sql", content=b"x" * 2_000_000).status_code in {403, 413}


@pytest.mark.parametrize("path", ["/static/%00", "/%00", f"/static/{'a' * 5_000}", "/health%00"])
def test_an_address_that_is_none_is_refused(page: Served, path: str) -> None:
    with page.client() as client:
        assert client.get(path).status_code == 400


def test_files_outside_static_are_not_served(page: Served) -> None:
    with page.client() as client:
        for path in (
            "/static/../app.py",
            "/static/%2e%2e/app.py",
            "/static/..%2fapp.py",
            "/static/vendor/../../app.py",
        ):
            answer = client.get(httpx.URL(page.url + "/").copy_with(raw_path=path.encode()))
            assert answer.status_code in {400, 404}, path
