// The picture: clients, waypoint and backends. Widths are shares, colours are rates of success.
import { number, percent } from "./format.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const BOX = { width: 150, height: 50 };
const NARROW = 640;
const ROW = 112;
const NARROW_ROW = 88;
const LETTER = 7.2; // width of a letter in pixels, about

function svg(name, attributes, text) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text != null) made.textContent = text;
  return made;
}

function fit(text, width) {
  const letters = Math.floor(width / LETTER);
  return text.length > letters ? `${text.slice(0, Math.max(1, letters - 1))}…` : text;
}

function box(x, y, width, title, below, attributes = {}) {
  const rows = [below].flat().filter(Boolean);
  const height = BOX.height + 18 * Math.max(0, rows.length - 1);
  const group = svg("g", attributes);
  group.append(svg("rect", { class: "box", x: x - width / 2, y: y - height / 2, width, height, rx: 7 }));
  const top = y - 9 * rows.length + 5;
  const name = svg("text", { x, y: top, "text-anchor": "middle", "font-weight": 600 }, fit(title, width - 12));
  name.append(svg("title", {}, title));
  group.append(name);
  rows.forEach((row, index) =>
    group.append(svg("text", { class: "soft", x, y: top + 18 * (index + 1), "text-anchor": "middle" }, fit(row, width - 8))),
  );
  return group;
}

function badge(kind, text, x, y, most) {
  const shown = fit(`${kind}: ${text}`, most - 16);
  const width = Math.min(most, LETTER * shown.length + 18);
  const group = svg("g", { class: kind });
  group.append(svg("rect", { x: x - width / 2, y: y - 12, width, height: 24, rx: 12 }));
  const line = svg("text", { x, y: y + 4.5, "text-anchor": "middle", "font-size": 12 }, shown);
  line.append(svg("title", {}, text));
  group.append(line);
  return group;
}

function edge(path, share, success, attributes) {
  const quality = !share ? "none" : success == null || success >= 0.99 ? "good" : success >= 0.95 ? "fair" : "poor";
  const width = share ? 2 + 18 * share : 1.5;
  return svg("path", { d: path, class: `edge ${quality}`, "stroke-width": width.toFixed(1), ...attributes });
}

function lines(one) {
  const live = one.live_weight == null ? one.weight : one.live_weight;
  const declared = live == null ? "by header" : `weight ${number(live)} %`;
  if (!one.requests) return [declared, "no request"];
  return [`${percent(one.share.value)}, ${declared}`, `${one.rate.toFixed(1)}/s, ${percent(one.success && one.success.value)} succeed`];
}

// Faults and policies where they act: at the waypoint, or at the backends.
function acting(snapshot, service) {
  const name = service ? service.name : "";
  const faults = snapshot.faults.filter((one) => !name || one.service === name || one.service.startsWith(`${name}.`));
  const at = (place) => faults.filter((one) => one.at === place).map((one) => ["fault", one.text]);
  const policies = snapshot.policies
    .filter((one) => !name || !one.service || one.service.split(", ").includes(name))
    .map((one) => ["policy", one.text || `${one.action} ${one.name}`]);
  return { waypoint: [...at("waypoint"), ...policies].slice(0, 5), upstream: at("upstream").slice(0, 2) };
}

function own(service) {
  const found = Object.entries((service && service.own_answers) || {}).map(([kind, count]) => `${kind} × ${count}`);
  return found.length ? `answers itself: ${found.join(", ")}` : "";
}

export function drawPicture(place, snapshot, service) {
  const width = Math.max(300, place.clientWidth);
  const backends = service ? service.backends : [];
  const acts = acting(snapshot, service);
  const narrow = width < NARROW;
  const total = service && service.requests ? 1 : null;
  const canvas = narrow
    ? vertical(width, service, backends, acts, total)
    : horizontal(width, service, backends, acts, total);
  const said = backends.map((one) => `${one.name}: ${lines(one).join(", ")}`).join("; ");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Requests from clients through the waypoint. ${said || "No backend yet."}`);
  place.replaceChildren(canvas);
}

function horizontal(width, service, backends, acts, total) {
  const most = 340;
  const height = Math.max(backends.length * ROW, 2 * (acts.waypoint.length * 28 + 70), 170) + 10;
  const middle = height / 2;
  const canvas = svg("svg", { viewBox: `0 0 ${width} ${height}`, height });
  const [client, waypoint, right] = [BOX.width / 2 + 4, width * 0.42, width - 112];
  const start = waypoint + BOX.width / 2;
  canvas.append(edge(`M${client + 75} ${middle}H${waypoint - 75}`, total, null, { "data-edge": "client" }));
  backends.forEach((one, index) => {
    const y = middle + (index - (backends.length - 1) / 2) * ROW;
    const end = right - 105;
    const bend = (start + end) / 2;
    const path = `M${start} ${middle}C${bend} ${middle} ${bend} ${y} ${end} ${y}`;
    canvas.append(edge(path, one.share && one.share.value, one.success && one.success.value, data(one)));
  });
  backends.forEach((one, index) => {
    const y = middle + (index - (backends.length - 1) / 2) * ROW;
    canvas.append(box(right, y, 210, one.name, one.role, { "data-backend": one.name }));
    lines(one).forEach((line, row) =>
      canvas.append(svg("text", { class: row ? "soft" : "", x: right, y: y + (row ? 40 : -31), "text-anchor": "middle", "font-size": 12 }, line)),
    );
  });
  canvas.append(box(client, middle, BOX.width, "clients", service ? `${service.rate.toFixed(1)} requests/s` : ""));
  canvas.append(box(waypoint, middle, BOX.width, "waypoint", service ? service.name : ""));
  acts.waypoint.forEach(([kind, text], index) => canvas.append(badge(kind, text, waypoint, middle - 46 - 28 * index, most)));
  acts.upstream.forEach(([kind, text], index) => canvas.append(badge(kind, text, (start + right) / 2 - 52, middle + 28 * index, 230)));
  if (own(service)) canvas.append(svg("text", { x: waypoint, y: middle + 46, "text-anchor": "middle" }, own(service)));
  return canvas;
}

function vertical(width, service, backends, acts, total) {
  const center = width / 2;
  const top = 34;
  const waypoint = top + 100 + acts.waypoint.length * 28;
  const first = waypoint + 120 + acts.upstream.length * 28;
  const height = first + Math.max(0, backends.length - 1) * NARROW_ROW + 50;
  const canvas = svg("svg", { viewBox: `0 0 ${width} ${height}`, height });
  canvas.append(edge(`M${center} ${top + 25}V${waypoint - 25}`, total, null, { "data-edge": "client" }));
  backends.forEach((one, index) => {
    const y = first + index * NARROW_ROW;
    const path = `M${center - 50} ${waypoint + 25}C20 ${waypoint + 70} 24 ${y - 40} 24 ${y - 12}C24 ${y} 30 ${y} 60 ${y}`;
    canvas.append(edge(path, one.share && one.share.value, one.success && one.success.value, data(one)));
  });
  backends.forEach((one, index) => {
    const y = first + index * NARROW_ROW;
    canvas.append(box((width + 60) / 2, y, width - 64, `${one.name}${one.role ? ` (${one.role})` : ""}`, lines(one), { "data-backend": one.name }));
  });
  canvas.append(box(center, top, 200, "clients", service ? `${service.rate.toFixed(1)} requests/s` : ""));
  canvas.append(box(center, waypoint, 200, "waypoint", service ? service.name : ""));
  acts.waypoint.forEach(([kind, text], index) => canvas.append(badge(kind, text, center, waypoint - 46 - 28 * index, width - 8)));
  acts.upstream.forEach(([kind, text], index) => canvas.append(badge(kind, text, center, waypoint + 66 + 28 * index, width - 60)));
  if (own(service)) canvas.append(svg("text", { x: center + 20, y: waypoint + 44, "text-anchor": "middle" }, own(service)));
  return canvas;
}

function data(one) {
  const weight = one.live_weight == null ? one.weight : one.live_weight;
  return { "data-edge": one.name, "data-weight": weight ?? "", "data-share": one.share ? one.share.value : "" };
}
