// Ages, connection, theme, shortcuts. What is shown comes from the server; this only keeps clocks going.
(() => {
  "use strict";

  const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
  // The server's clock is the one that ages are counted by: a phone's may be minutes off.
  let ahead = Date.now() - Number(meta("server-now") || Date.now());
  const opened = Date.now();
  const SILENT_MS = 5000;  // the stream says something every two seconds
  let heard = 0;      // server time of the newest successful look
  let contact = Date.now();
  let connected = false;
  let lostAt = 0;     // this machine's time
  const now = () => Date.now() - ahead;

  const pad = (value) => String(Math.floor(value)).padStart(2, "0");
  function duration(ms) {
    const s = Math.max(0, Math.round(ms / 1000));
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} m ${pad(s % 60)} s`;
    if (s < 86400) return `${Math.floor(s / 3600)} h ${pad((s % 3600) / 60)} m`;
    return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
  }
  const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };

  const zone = meta("zone") || "UTC";
  const ofDay = new Intl.DateTimeFormat("en-IN", { timeZone: zone, hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZoneName: "short" });

  function tick() {
    link();
    const clock = document.getElementById("clock");
    if (clock) put(clock, ofDay.format(now()));
    for (const one of document.querySelectorAll("[data-age-from]")) put(one, duration(now() - Number(one.dataset.ageFrom)));
    for (const one of document.querySelectorAll("[data-until]")) put(one, duration(Number(one.dataset.until) - now()));
    for (const card of document.querySelectorAll(".card")) {
      const own = Number(card.dataset.asOf || 0);
      const asOf = "live" in card.dataset ? Math.max(own, heard) : own;
      const badge = card.querySelector("[data-card-age]");
      if (!asOf || !badge) continue;
      const age = now() - asOf;
      const limit = Number(card.dataset.staleAfter || 0) * 1000;
      // A card that the stream renews is stale as soon as the stream is cut.
      const stale = limit > 0 && (age > limit || (lostAt > 0 && "live" in card.dataset));
      card.classList.toggle("is-stale", stale);
      put(badge, stale ? `⚠ stale: ${duration(age)} old` : age < 3000 ? "just now" : `${duration(age)} ago`);
    }
  }

  function link() {
    const shown = document.getElementById("link");
    if (!shown) return;
    const silent = Date.now() - contact;
    const started = Date.now() - opened < 8000;
    const state = connected && silent < SILENT_MS ? "live" : !heard && started ? "wait" : "lost";
    if (state !== "lost") lostAt = 0;
    else if (!lostAt) lostAt = Date.now();
    cut(state === "lost" && !document.hidden);
    const text = { live: "live", wait: "connecting", lost: document.hidden ? "paused" : "no connection" }[state];
    if (shown.dataset.state !== state) shown.dataset.state = state;
    put(shown.querySelector(".link-text"), text);
  }

  // Said where it cannot be missed: on a phone the header has been scrolled away.
  function cut(is) {
    const bar = document.getElementById("cut");
    if (!bar) return;
    put(document.getElementById("cut-age"), `${duration(now() - (heard || Number(meta("server-now"))))} old`);
    if (bar.hidden === is) bar.hidden = !is;
  }

  function listen() {
    const stream = document.getElementById("stream");
    if (!stream) return;
    stream.addEventListener("htmx:sse:after:connection", () => { connected = true; contact = Date.now(); link(); });
    stream.addEventListener("beat", (event) => {
      contact = Date.now();
      heard = Math.max(heard, Number(event.detail?.data || 0));
      ahead = Math.min(ahead, Date.now() - heard);  // the smallest difference is the one with the least delay
      tick();
    });
    stream.addEventListener("htmx:sse:after:message", (event) => {
      contact = Date.now();
      if (!event.detail?.message?.event) heard = Math.max(heard, now());
      tick();
    });
    // A stream that ended is no error of htmx's; it says that it begins another.
    stream.addEventListener("htmx:sse:before:connection", () => { connected = false; tick(); });
    stream.addEventListener("htmx:sse:error", () => { connected = false; tick(); });
    stream.addEventListener("htmx:sse:close", () => { connected = false; tick(); });
    // htmx begins a broken stream anew, but not one that never began: the server was full, or away.
    setInterval(() => { if (!connected) stream.dispatchEvent(new CustomEvent("again")); }, 5000);
  }

  function tell(text) {
    const told = document.getElementById("told");
    if (!told) return;
    told.textContent = text;
    told.hidden = false;
    clearTimeout(tell.timer);
    tell.timer = setTimeout(() => { told.hidden = true; }, 8000);
  }
  document.addEventListener("htmx:response:error", (event) => {
    const { response, text } = event.detail?.ctx ?? {};
    if (response?.status === 401 || response?.status === 403) { tell("The page is older than the server: load it anew."); return; }
    // What failed is told, and put in no place: a card that asks again by itself would be gone for good.
    const said = new DOMParser().parseFromString(text ?? "", "text/html").body.textContent.replace(/\s+/g, " ").trim();
    tell(said.slice(0, 400) || `The server answered ${response?.status}.`);
  });
  document.addEventListener("htmx:error", (event) => {
    if (event.target?.id !== "stream") tell("The server does not answer.");
  });

  // Theme: the system's, unless the reader chose.
  const isDark = () => (document.documentElement.dataset.theme
    || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  function toggleTheme() {
    const chosen = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = chosen;
    try { localStorage.setItem("theme", chosen); } catch { /* storage is off */ }
    document.dispatchEvent(new CustomEvent("theme"));
  }

  // Shortcuts: single keys, which can be turned off; never while something is typed.
  const keysOn = () => { try { return localStorage.getItem("keys") !== "off"; } catch { return true; } };
  function shortcuts(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !keysOn()) return;
    if (event.target.closest?.("input, textarea, select, dialog, [contenteditable]")) return;
    const go = /^[1-9]$/.test(event.key) && document.querySelector(`nav a[data-shortcut="${event.key}"]`);
    if (go) { event.preventDefault(); go.click(); }
    else if (event.key === "t") toggleTheme();
    else if (event.key === "?") document.getElementById("keys-dialog")?.showModal();
    else if (event.key === "/") {
      const field = document.querySelector("main textarea, main input:not([type=hidden]), main select");
      if (field) { event.preventDefault(); field.focus(); }
    }
  }

  // Ctrl and Enter in a field of several lines sends its form.
  function send(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches?.("textarea")) {
      event.preventDefault();
      event.target.form?.requestSubmit();
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    listen();
    tick();
    // On a phone the navigation is wider than the screen: the section that is open must be seen.
    const here = document.querySelector("nav a[aria-current]");
    const list = here?.closest("ul");
    if (list) list.scrollLeft = here.offsetLeft - (list.clientWidth - here.offsetWidth) / 2;
    setInterval(tick, 1000);
    document.addEventListener("htmx:after:swap", tick);
    document.addEventListener("visibilitychange", () => { contact = Date.now(); tick(); });
    document.addEventListener("keydown", shortcuts);
    document.addEventListener("keydown", send);
    document.getElementById("theme")?.addEventListener("click", toggleTheme);
    document.getElementById("keys")?.addEventListener("click", () => document.getElementById("keys-dialog")?.showModal());
    const box = document.getElementById("keys-on");
    if (box) {
      box.checked = keysOn();
      box.addEventListener("change", () => { try { localStorage.setItem("keys", box.checked ? "on" : "off"); } catch { /* storage is off */ } });
    }
    // A form of its own saves the file: what it sends is what stands in the box.
    for (const copy of document.querySelectorAll("[data-copy-of]")) {
      copy.form?.addEventListener("submit", () => { copy.value = document.getElementById(copy.dataset.copyOf)?.value ?? ""; });
    }
    // An example statement, put into the box.
    document.addEventListener("click", (event) => {
      const example = event.target.closest?.("[data-fill]");
      const field = example && document.getElementById(example.dataset.fill);
      if (field) { field.value = example.dataset.text; field.focus(); }
    });
  });
})();
