// Replay of a session: the buttons beside the slider, and what morphing leaves as the reader set it.
(() => {
  "use strict";

  const slider = () => document.getElementById("chain-place");
  const button = () => document.querySelector('[data-go="play"]');
  const STEP_MS = 400;
  let playing = 0;
  let asked = null;  // the place that was asked for and has not come yet

  const shown = () => document.getElementById("chain-moment")?.dataset.place;

  // The next moment is asked for when the last one is there: what is dragged is followed as fast as the lake
  // answers, and never asked faster.
  function follow() {
    const field = slider();
    const moment = document.getElementById("chain-moment");
    if (!field || !moment) return;
    const behind = shown() !== field.value;
    moment.setAttribute("aria-busy", String(behind));
    const told = document.getElementById("chain-place-told");
    if (told) told.textContent = behind ? `chain ${(Number(field.value) + 1).toLocaleString("en-US")} is being read …` : "";
    if (!behind) asked = null;
    else if (asked === null) { asked = field.value; field.dispatchEvent(new CustomEvent("move")); }
  }

  function go(place) {
    const field = slider();
    if (!field) return;
    field.value = place;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function play(on) {
    clearInterval(playing);
    playing = 0;
    const pressed = button();
    if (on && slider()) {
      if (Number(slider().value) >= Number(slider().max)) go(0);
      // The next one is asked for when this one is there: a slow lake is not asked faster than it answers.
      playing = setInterval(() => {
        const field = slider();
        if (!field || Number(field.value) >= Number(field.max)) play(false);
        else if (shown() === field.value) go(Number(field.value) + 1);
      }, STEP_MS);
    }
    if (pressed) {
      pressed.setAttribute("aria-pressed", String(Boolean(playing)));
      pressed.setAttribute("aria-label", playing ? "Pause" : "Play");
      pressed.textContent = playing ? "❚❚" : "▶▶";
    }
  }

  function told() {
    const time = document.querySelector("#chain-time strong");
    if (slider() && time) slider().setAttribute("aria-valuetext", time.textContent);
  }

  document.addEventListener("click", (event) => {
    const what = event.target.closest?.("[data-go]")?.dataset.go;
    const field = slider();
    if (!what || !field) return;
    if (what === "play") { play(!playing); return; }
    play(false);
    go(what === "end" ? Number(field.max) : Number(field.value) + Number(what));
  });
  document.addEventListener("input", (event) => { if (event.target.id === "chain-place") follow(); });
  // Also after an answer that failed: one that is still wanted is asked for at the next movement.
  document.addEventListener("htmx:finally:request", (event) => {
    if (event.target?.id !== "chain-place") return;
    const missed = asked !== null && shown() !== asked;
    asked = null;
    const told = document.getElementById("chain-place-told");
    if (!missed) follow();
    else if (told) told.textContent = "▲ That moment could not be read: what is shown is another.";
  });
  // A list of strikes opens at the money: its ends are what nobody trades.
  document.addEventListener("toggle", (event) => {
    if (event.target.id !== "chain-legs" || !event.target.open) return;
    const list = event.target.querySelector(".scroll");
    const row = list?.querySelector("tr.atm");
    if (row) list.scrollTop = row.offsetTop - (list.clientHeight - row.offsetHeight) / 2;
  }, true);
  document.addEventListener("change", (event) => { if (event.target.form?.id === "chain-form") play(false); });
  document.addEventListener("htmx:after:swap", () => {
    // What is shown can be sent on as a link.
    const address = document.getElementById("chain-moment")?.dataset.address;
    if (address) history.replaceState(null, "", address);
    for (const field of document.querySelectorAll("#chain-view [data-value]")) {
      // The server's word, when it came anew; a slider that was moved since keeps its place.
      if (field.dataset.value !== field.dataset.seen && !(field.id === "chain-place" && asked !== null)) { field.value = field.dataset.value; field.dataset.seen = field.dataset.value; }
    }
    told();
  });
  document.addEventListener("DOMContentLoaded", () => {
    for (const field of document.querySelectorAll("#chain-view [data-value]")) field.dataset.seen = field.dataset.value;
    told();
  });
})();
