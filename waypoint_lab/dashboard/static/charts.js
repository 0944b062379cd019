// The time series, by Plotly.
import { colorOf, place } from "./format.js";

const CONFIG = { displayModeBar: false, responsive: true };
const MOST_POINTS = 300; // of a line, about
const MARK = { object: "dot", live: "solid", update: "dash", promotion: "dashdot" };

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function layout(changes, from, until, range) {
  const soft = color("soft");
  const line = color("line");
  const marked = changes.map((one, index) => [one, index + 1]).filter(([one]) => one.time >= from && one.time <= until);
  return {
    margin: { l: 44, r: 10, t: 18, b: 24 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: soft, size: 11 },
    showlegend: false,
    hovermode: "x unified",
    hoverlabel: { bgcolor: color("card"), font: { color: color("text") } },
    xaxis: { type: "date", range: [moment(from), moment(until)], gridcolor: line, linecolor: line, fixedrange: true, nticks: 5, tickformat: "%H:%M:%S" },
    yaxis: { gridcolor: line, zerolinecolor: line, fixedrange: true, rangemode: "tozero", ...(range ? { range } : {}) },
    shapes: marked.map(([one]) => ({
      type: "line", xref: "x", yref: "paper", x0: moment(one.time), x1: moment(one.time), y0: 0, y1: 1,
      line: { color: soft, width: 1, dash: MARK[one.kind] || "dot" },
    })),
    annotations: numbered(marked, (until - from) / 25).map(([time, text]) => ({
      x: moment(time), y: 1, xref: "x", yref: "paper", yanchor: "bottom", showarrow: false, text,
      font: { size: 10, color: soft },
    })),
  };
}

// Numbers of changes that are close together share one text.
function numbered(marked, apart) {
  const found = [];
  for (const [one, number] of marked) {
    const last = found[found.length - 1];
    if (last && one.time - last.time < apart) last.until = number;
    else found.push({ time: one.time, from: number, until: number });
  }
  return found.map((one) => [one.time, one.from === one.until ? `${one.from}` : `${one.from}–${one.until}`]);
}

// Plotly shows dates as they are written, so this is the local time without a zone.
function moment(seconds) {
  const at = new Date(1000 * seconds);
  return new Date(at.getTime() - 60000 * at.getTimezoneOffset()).toISOString().slice(0, -1);
}

function traces(service, points, fields) {
  const times = points.map((one) => moment(one.time));
  return service.backends.flatMap((backend) =>
    fields.map(([field, factor, style, name]) => ({
      x: times,
      y: points.map((one) => {
        const value = (one.backends[`${place(service)}/${place(backend)}`] || {})[field];
        return value == null ? null : factor * value;
      }),
      name: `${backend.name}${name}`,
      mode: "lines",
      line: { color: color(colorOf(service, backend)), width: style === "solid" ? 2 : 1.5, dash: style, shape: name === " weight" ? "hv" : "linear" },
      hovertemplate: "%{y:.3~g}",
      connectgaps: false,
    })),
  );
}

// The last point of each second, or of more seconds where the lines are long.
function thinned(all) {
  const seconds = Math.ceil((all[all.length - 1].time - all[0].time) / MOST_POINTS) || 1;
  const part = (one) => Math.floor(one.time / seconds);
  return all.filter((one, index) => index === all.length - 1 || part(one) !== part(all[index + 1]));
}

export function drawCharts(service, all, changes) {
  if (!service || !all.length) return;
  const points = thinned(all);
  const until = points[points.length - 1].time;
  const from = Math.min(points[0].time, until - 60);
  const charts = {
    share: [[["share", 100, "solid", ""], ["weight", 1, "dot", " weight"]], [-2, 102]],
    rate: [[["rate", 1, "solid", ""]], null],
    success: [[["success", 100, "solid", ""]], [-2, 102]],
    latency: [[["p50", 1000, "solid", " p50"], ["p99", 1000, "dot", " p99"]], null],
  };
  for (const [name, [fields, range]] of Object.entries(charts))
    window.Plotly.react(`chart-${name}`, traces(service, points, fields), layout(changes, from, until, range), CONFIG);
}
