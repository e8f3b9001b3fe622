// Replay of a session: the buttons beside the slider, and what morphing leaves as the reader set it.
(() => {
  "use strict";

  const slider = () => document.getElementById("chain-place");
  const button = () => document.querySelector('[data-go="play"]');
  const STEP_MS = 400;
  let playing = 0;

  function go(place) {
    const field = slider();
    if (!field) return;
    field.value = place;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function play(on) {
    clearInterval(playing);
    playing = 0;
    const shown = button();
    if (on && slider()) {
      if (Number(slider().value) >= Number(slider().max)) go(0);
      // The next one is asked for when this one is there: a slow lake is not asked faster than it answers.
      playing = setInterval(() => {
        const field = slider();
        const there = document.getElementById("chain-moment")?.dataset.place;
        if (!field || Number(field.value) >= Number(field.max)) play(false);
        else if (there === field.value) go(Number(field.value) + 1);
      }, STEP_MS);
    }
    if (shown) {
      shown.setAttribute("aria-pressed", String(Boolean(playing)));
      shown.setAttribute("aria-label", playing ? "Pause" : "Play");
      shown.textContent = playing ? "❚❚" : "▶▶";
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
  document.addEventListener("change", (event) => { if (event.target.form?.id === "chain-form") play(false); });
  document.addEventListener("htmx:after:swap", () => {
    // What is shown can be sent on as a link.
    const address = document.getElementById("chain-moment")?.dataset.address;
    if (address) history.replaceState(null, "", address);
    for (const field of document.querySelectorAll("#chain-view [data-value]")) {
      // The server's word, when it came anew; a slider that was moved since keeps its place.
      if (field.dataset.value !== field.dataset.seen) { field.value = field.dataset.value; field.dataset.seen = field.dataset.value; }
    }
    told();
  });
  document.addEventListener("DOMContentLoaded", () => {
    for (const field of document.querySelectorAll("#chain-view [data-value]")) field.dataset.seen = field.dataset.value;
    told();
  });
})();
