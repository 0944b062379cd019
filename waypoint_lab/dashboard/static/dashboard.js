// Receives the state of the stack as server-sent events, and shows it.
import { drawCharts } from "./charts.js";
import { colorOf, element, number, percent, place } from "./format.js";
import { drawPicture } from "./picture.js";
import { showPromotion } from "./promotion.js";

const KEPT_POINTS = 1500;
const LATE_SECONDS = 5;
const CHART_MILLISECONDS = 1000;
const AGE_MILLISECONDS = 1000;
const state = { snapshot: null, points: [], changes: [], service: "", earliest: 0, next: 0, waiting: false, connected: false };
const $ = (id) => document.getElementById(id);

const milliseconds = (seconds) => (seconds == null ? "–" : `${(1000 * seconds).toFixed(0)} ms`);
const clock = (seconds) => new Date(1000 * seconds).toLocaleTimeString("en-GB");

function chosen() {
  const services = state.snapshot.services;
  return services.find((one) => place(one) === state.service) || services[0] || null;
}

function showServices() {
  const names = state.snapshot.services.map(place);
  const select = $("service");
  if ([...select.options].map((one) => one.value).join() !== names.join()) {
    select.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
    if (names.includes(state.service)) select.value = state.service;
  }
  $("chooser").hidden = names.length < 2;
}

function showTable(service) {
  const rows = (service ? service.backends : []).map((one) => {
    const color = element("span", { class: "key", style: `background:var(--${colorOf(service, one)})` });
    const share = one.share ? `${percent(one.share.value)} ` : "no request";
    const interval = one.share ? element("small", { class: "line" }, `${percent(one.share.low)} to ${percent(one.share.high)}`) : "";
    const declared = one.weight == null ? "–" : `${number(one.weight)} %`;
    const behind = one.live_weight !== one.weight && one.live_weight != null;
    const weight = element("td", {}, declared);
    if (behind) weight.append(" ", element("small", {}, `live ${number(one.live_weight)} %`));
    return element(
      "tr",
      { "data-backend": one.name },
      element("td", {}, color, one.name, " ", element("small", { class: "line" }, one.role)),
      weight,
      element("td", {}, share, interval),
      element("td", {}, one.rate.toFixed(1)),
      element("td", {}, percent(one.success && one.success.value)),
      element("td", {}, milliseconds(one.p50_seconds)),
      element("td", {}, milliseconds(one.p99_seconds)),
    );
  });
  $("backends").replaceChildren(...rows);
  $("window").textContent = service ? `last ${state.snapshot.window_seconds.toFixed(0)} s, by ${service.source}` : "";
}

function addChanges(found) {
  const known = new Set(state.changes.map((one) => `${one.time} ${one.kind} ${one.text}`));
  const added = found.filter((one) => !known.has(`${one.time} ${one.kind} ${one.text}`));
  if (!added.length) return false;
  state.changes.push(...added);
  state.changes.sort((one, other) => one.time - other.time);
  $("changes").replaceChildren(
    ...[...state.changes].reverse().map((one) =>
      element("li", {}, element("time", {}, clock(one.time)), " ", element("b", {}, one.kind), ` ${one.text}`),
    ),
  );
  return true;
}

function show(event) {
  const snapshot = event.snapshot;
  if (event.changes) {
    state.points = event.points;
    state.changes = [];
    addChanges(event.changes);
  } else {
    state.points.push(...event.points);
    state.points.splice(0, state.points.length - KEPT_POINTS);
  }
  if (!snapshot) return showPromotion(null, event.actions);
  state.snapshot = snapshot;
  showConnection();
  const changed = addChanges(snapshot.changes);
  $("stack").textContent = `stack ${snapshot.stack}, namespace ${snapshot.namespace}`;
  $("problem").hidden = !snapshot.problem;
  $("problem").textContent = snapshot.problem;
  showServices();
  showTable(chosen());
  drawPicture($("picture"), snapshot, chosen());
  showPromotion(snapshot.promotion, event.actions);
  if (changed || performance.now() > state.next) schedule();
}

// Charts take longer to draw than all the rest. They are drawn after it, and get a fifth of the time at most.
function schedule() {
  if (state.waiting) return;
  state.waiting = true;
  setTimeout(() => {
    state.waiting = false;
    redraw();
  }, Math.max(0, state.earliest - performance.now()));
}

function redraw() {
  if (document.hidden || !state.snapshot || !window.Plotly) return;
  const began = performance.now();
  drawCharts(chosen(), state.points, state.changes);
  const now = performance.now();
  state.earliest = now + 4 * (now - began);
  state.next = Math.max(now + CHART_MILLISECONDS, state.earliest);
}

// Called in intervals as well: a connection that stalls sends neither a message nor an error.
function showConnection() {
  if (!state.snapshot || !state.connected) return;
  const age = Math.abs(Date.now() / 1000 - state.snapshot.time); // the clock may be set back
  const late = age > LATE_SECONDS;
  const text = late ? `the last sample is ${age.toFixed(0)} s old` : "live";
  if ($("connection").textContent !== text) $("connection").textContent = text;
  $("connection").className = late ? "lost" : "live";
}

function connect() {
  const events = new EventSource("events");
  events.onerror = () => {
    state.connected = false;
    $("connection").textContent = "the dashboard does not answer";
    $("connection").className = "lost";
  };
  events.onmessage = (message) => {
    state.connected = true;
    show(JSON.parse(message.data));
  };
}

$("service").addEventListener("change", () => {
  state.service = $("service").value;
  showTable(chosen());
  drawPicture($("picture"), state.snapshot, chosen());
  redraw();
});
window.addEventListener("resize", () => state.snapshot && drawPicture($("picture"), state.snapshot, chosen()));
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
setInterval(showConnection, AGE_MILLISECONDS);
connect();
