// Draws every .chart from its data-chart (JSON) or data-chart-src (address of JSON) with uPlot; see chart.py.
(() => {
  "use strict";

  const drawn = new Map();
  const shown = new WeakMap();  // not an attribute: morphing would take it away
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const zone = document.querySelector('meta[name="zone"]')?.content || "UTC";
  const inZone = (date) => uPlot.tzDate(date, zone);
  const number = (value) => value == null ? "–" : value.toLocaleString("en-US", { maximumFractionDigits: 4 }).replace("-", "−");
  const time = (seconds) => seconds == null ? "–" : new Date(seconds * 1000).toLocaleString("sv-SE", { timeZone: zone });
  const DASHES = [[], [6, 4], [2, 3], [8, 3, 2, 3], [12, 4], [4, 2], [1, 2]];

  // Series differ by dash and not by colour alone.
  function seriesOf(one, place, chart) {
    const colour = css(`--c${(place % 7) + 1}`);
    const made = {
      label: one.unit ? `${one.label}, ${one.unit}` : one.label,
      scale: one.scale,
      stroke: colour,
      width: 1.75,
      dash: DASHES[place % DASHES.length],
      spanGaps: false,
      points: { show: one.values.filter((value) => value != null).length < 40, size: 5 },
      value: (_, value) => number(value),
    };
    if (one.style === "bars") {
      const bars = chart.series.filter((s) => s.style === "bars");
      const align = bars.length > 1 ? (bars.indexOf(one) === 0 ? -1 : 1) : 0;
      made.paths = uPlot.paths.bars({ size: [bars.length > 1 ? .42 : .75, 60], align });
      made.fill = bars.indexOf(one) % 2 ? `${colour}66` : `${colour}cc`;
      made.dash = [];
      made.points = { show: false };
    } else if (one.style === "points") {
      made.paths = () => null;
      made.points = { show: true, size: 5, fill: colour };
    } else if (one.style === "step") {
      made.paths = uPlot.paths.stepped({ align: 1 });
    }
    return made;
  }

  // A line's sign in the legend is dashed as the line is: else only its colour would tell which it is.
  function signs(plot, chart) {
    const rows = [...plot.root.querySelectorAll(".u-legend .u-series")].slice(1);
    chart.series.forEach((one, place) => {
      const marker = rows[place]?.querySelector(".u-marker");
      if (!marker || one.style === "bars" || one.style === "points") return;
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
      for (const [name, value] of [["viewBox", "0 0 26 6"], ["width", 26], ["height", 6], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
      for (const [name, value] of [["x1", 0], ["x2", 26], ["y1", 3], ["y2", 3], ["stroke", css(`--c${(place % 7) + 1}`)], ["stroke-width", 2.5], ["stroke-dasharray", DASHES[place % DASHES.length].join(" ")]]) line.setAttribute(name, value);
      svg.append(line);
      marker.className = "line-sign";
      marker.removeAttribute("style");
      marker.replaceChildren(svg);
    });
  }

  // The word that all labels begin with, e.g. the column of a result that was split by others.
  function shared(series) {
    const [word] = series[0].label.split(" ");
    return series.every((one) => one.label.startsWith(`${word} `)) ? word : undefined;
  }

  // What an axis counts: the unit that its series share, else what they are.
  function axisLabel(series) {
    const units = [...new Set(series.map((one) => one.unit))];
    const text = series.length === 1 ? [series[0].label, series[0].unit].filter(Boolean).join(", ")
      : units.length === 1 && units[0] ? units[0] : shared(series) ?? series.map((one) => one.label).join(" / ");
    return text.length <= 42 ? text : undefined;
  }

  const ALONE = { time: 1800, number: 1, category: 0.5 };  // shown on both sides of a place that is the only one
  const WHOLE = [1, 2, 5].flatMap((one) => Array.from({ length: 12 }, (_, power) => one * 10 ** power)).sort((a, b) => a - b);
  const isWhole = (series) => series.every((one) => one.values.every((value) => value == null || Number.isInteger(value)));

  const MARK_ROW = 14;  // CSS pixels a label takes

  function marks(chart) {
    return {
      hooks: {
        draw: [(plot) => {
          for (const mark of chart.marks) {
            const x = Math.round(plot.valToPos(mark.at, "x", true));
            const { left, top, width, height } = plot.bbox;
            if (x < left || x > left + width) continue;
            plot.ctx.save();
            plot.ctx.strokeStyle = css("--dim");
            plot.ctx.fillStyle = css("--text");
            plot.ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
            plot.ctx.beginPath();
            plot.ctx.moveTo(x, top);
            plot.ctx.lineTo(x, top + height);
            plot.ctx.stroke();
            plot.ctx.font = `${11 * devicePixelRatio}px system-ui`;
            plot.ctx.textAlign = x > left + width * .8 ? "right" : "left";
            // Above the plot, a line each: over bars and lines nobody could read them.
            const row = chart.marks.length - chart.marks.indexOf(mark);
            plot.ctx.fillText(mark.label, x + (plot.ctx.textAlign === "left" ? -4 : 4), top - (MARK_ROW * row - 9) * devicePixelRatio);
            plot.ctx.restore();
          }
        }],
      },
    };
  }

  function draw(box, chart) {
    forget(box);
    const wasOpen = Boolean(box.querySelector("details")?.open);
    box.replaceChildren();
    const filled = chart.series.some((one) => one.values.some((value) => value != null));
    if (!chart.x.length || !filled) {
      const empty = document.createElement("p");
      empty.className = "empty";
      empty.textContent = `${chart.title}: nothing to draw yet.`;
      box.append(empty);
      return;
    }
    const LABEL = { labelSize: 18, labelGap: 0, labelFont: "12px system-ui" };
    const names = chart.kind === "category" ? chart.x : null;
    const x = names ? chart.x.map((_, place) => place) : chart.x;
    const axis = { stroke: css("--dim"), grid: { stroke: css("--grid"), width: 1 }, ticks: { stroke: css("--grid"), width: 1 }, font: "12px system-ui" };
    const scales = { x: { time: chart.kind === "time" } };
    if (x.length === 1 || x[0] === x[x.length - 1]) {
      scales.x.range = () => [x[0] - ALONE[chart.kind], x[0] + ALONE[chart.kind]];
    } else if (chart.series.some((one) => one.style === "bars")) {
      scales.x.range = (_, low, high) => { const step = x.length > 1 ? (x[x.length - 1] - x[0]) / (x.length - 1) : 1; return [low - step, high + step]; };
    }
    // Times of day of the lake's zone, 24 hours; the date where a day begins, or where all is days.
    const clock = (_, ticks, __, ___, step) => {
      let before = "";
      return ticks.map((tick) => {
        const [day, hour] = time(tick).split(" ");
        const shown = step >= 86400 ? day : day === before ? hour.slice(0, step < 60 ? 8 : 5) : `${hour.slice(0, step < 60 ? 8 : 5)}\n${day}`;
        before = day;
        return shown;
      });
    };
    const axes = [{ ...axis, ...(chart.kind === "time" ? { values: clock, size: 44, space: (_, __, low, high) => high - low > 172800 ? 88 : high - low < 600 ? 76 : 50 } : {}), ...(names ? { values: (_, places) => places.map((place) => names[place] ?? ""), splits: () => x } : {}), label: chart.kind === "time" ? undefined : chart.x_label || undefined, ...LABEL }];
    for (const scale of [...new Set(chart.series.map((one) => one.scale))]) {
      const mine = chart.series.filter((one) => one.scale === scale);
      scales[scale] = mine.some((one) => one.style === "bars") ? { range: (_, low, high) => [Math.min(0, low * 1.08), Math.max(0, high * 1.08) || 1] } : {};
      axes.push({ ...axis, scale, side: scale === "y2" ? 1 : 3, size: scale === "y2" ? 66 : 58, label: axisLabel(mine), ...LABEL, ...(isWhole(mine) ? { incrs: WHOLE } : {}), grid: scale === "y2" ? { show: false } : axis.grid, values: (_, ticks) => shortened(ticks) });
    }
    const options = {
      width: Math.max(240, box.clientWidth), height: Number(box.dataset.height) || chart.height,
      tzDate: (seconds) => inZone(new Date(seconds * 1000)),
      scales, axes, plugins: [marks(chart)], padding: [8 + MARK_ROW * Math.max(1, chart.marks.length), null, null, null],
      cursor: { drag: { x: true, y: false }, focus: { prox: 16 } },
      legend: { live: true },
      series: [
        { label: chart.x_label || (chart.kind === "time" ? "time" : "x"), value: (_, value) => value == null ? "–" : chart.kind === "time" ? time(value) : names ? names[value] : number(value) },
        ...chart.series.map((one, place) => seriesOf(one, place, chart)),
      ],
    };
    const plot = new uPlot(options, [x, ...chart.series.map((one) => one.values)], box);
    signs(plot, chart);
    plot.root.setAttribute("role", "img");
    plot.root.setAttribute("aria-label", described(chart));
    const watcher = new ResizeObserver(() => {
      const width = Math.max(240, box.clientWidth);
      if (width !== plot.width) plot.setSize({ width, height: plot.height });
    });
    watcher.observe(box);
    drawn.set(box, { plot, chart, watcher });
    table(box, chart, wasOpen);
  }

  // Thousands are cut only where the ticks still differ then.
  // One unit for all ticks of an axis, and only where none of them is rounded by it.
  const UNITS = [[1e6, "M", 1e6], [1e3, "k", 1e4]];
  const shortened = (ticks) => {
    const largest = Math.max(...ticks.map((tick) => Math.abs(tick ?? 0)));
    const isExact = (unit) => ticks.every((tick) => Math.abs((tick ?? 0) * 100 / unit - Math.round((tick ?? 0) * 100 / unit)) < 1e-6);
    const [unit, letter] = UNITS.find(([one, , from]) => largest >= from && isExact(one)) ?? [1, ""];
    return ticks.map((tick) => tick == null ? "" : tick === 0 ? "0" : number(tick / unit) + letter);
  };

  function described(chart) {
    const parts = chart.series.map((one) => {
      const known = one.values.filter((value) => value != null);
      return known.length ? `${one.label} from ${number(Math.min(...known))} to ${number(Math.max(...known))}, last ${number(known[known.length - 1])} ${one.unit}` : `${one.label}: no values`;
    });
    return `${chart.title}. ${parts.join("; ")}. ${chart.marks.map((mark) => mark.label).join(", ")}`;
  }

  // The same values for who cannot see the chart, or wants to copy them; built when it is opened.
  function table(box, chart, open) {
    // Within the box, which morphing leaves alone.
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    summary.textContent = "The values as a table";
    const place = document.createElement("div");
    place.className = "chart-table";
    place.tabIndex = 0;
    details.append(summary, place);
    details.addEventListener("toggle", () => {
      if (!details.open || place.firstChild) return;
      const made = document.createElement("table");
      const head = made.createTHead().insertRow();
      const cell = (row, tag, text, right) => { const one = document.createElement(tag); one.textContent = text; if (right) one.className = "n"; row.append(one); };
      cell(head, "th", chart.x_label || "time");
      for (const one of chart.series) cell(head, "th", one.unit ? `${one.label}, ${one.unit}` : one.label, true);
      const body = made.createTBody();
      chart.x.slice(-2000).forEach((value, at) => {
        const index = Math.max(0, chart.x.length - 2000) + at;
        const row = body.insertRow();
        cell(row, "td", chart.kind === "time" ? time(value) : String(value));
        for (const one of chart.series) cell(row, "td", number(one.values[index]), true);
      });
      place.append(made);
    });
    details.open = open;
    box.append(details);
  }

  function forget(box) {
    const known = drawn.get(box);
    if (known) { known.watcher.disconnect(); known.plot.destroy(); drawn.delete(box); }
  }

  async function show(box) {
    const source = box.dataset.chart || box.dataset.chartSrc;
    if (!source || shown.get(box) === source) return;
    shown.set(box, source);
    try {
      if (box.dataset.chart) { draw(box, JSON.parse(box.dataset.chart)); return; }
      const answer = await fetch(source, { headers: { accept: "application/json" } });
      if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail || `the server answered ${answer.status}`);
      const chart = await answer.json();
      if (box.isConnected && shown.get(box) === source) { draw(box, chart); pointers(); }
    } catch (error) {
      forget(box);
      box.replaceChildren();
      const told = document.createElement("p");
      told.className = "failed";
      told.textContent = `This chart could not be drawn: ${error.message}`;
      box.append(told);
    }
  }

  // [data-mark-of] marks a place of a chart that was fetched once, e.g. the moment that a slider stands at.
  function pointers() {
    for (const one of document.querySelectorAll("[data-mark-of]")) {
      const known = drawn.get(document.getElementById(one.dataset.markOf));
      if (!known) continue;
      known.chart.marks.splice(0, known.chart.marks.length, { at: Number(one.dataset.markAt), label: one.dataset.markLabel });
      known.plot.redraw(false);
    }
  }

  function all() {
    for (const box of drawn.keys()) if (!box.isConnected) forget(box);
    for (const box of document.querySelectorAll(".chart")) show(box);
    pointers();
  }

  document.addEventListener("DOMContentLoaded", all);
  document.addEventListener("htmx:after:swap", all);
  const redraw = () => { for (const [box, { chart }] of [...drawn]) draw(box, chart); };
  document.addEventListener("theme", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
})();
