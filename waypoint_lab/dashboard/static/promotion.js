// The running promotion, and the buttons. Each button is confirmed in a dialog before its command runs.
import { element, number } from "./format.js";

const $ = (id) => document.getElementById(id);
const TITLES = { promote: "Promote the next step?", pause: "Pause the promotion?", rollback: "Roll back?" };
const MEANS = {
  promote: "One more step of the promotion is applied and measured.",
  pause: "The promotion stays at its step. No further step is applied.",
  rollback: "The last healthy weight is applied again.",
};
let shown = "";
let asked = null;

function bar(text, value, needed) {
  if (!needed) return element("div", {}, text, element("span"), "");
  const share = value <= 1 ? 0 : Math.min(1, Math.log(value) / Math.log(needed));
  const meter = element("progress", { max: 1, value: share, "aria-label": text });
  return element("div", {}, text, meter, element("span", { class: "soft" }, `${number(Math.min(value, 1e6))} of ${number(needed)} to 1`));
}

function evidence(one) {
  return element(
    "div",
    { class: "evidence", style: "display:block" },
    element("h3", {}, `${one.source}: ${one.decision}`),
    one.text,
    bar("for a rollback", one.against_healthy, one.needed_bad),
    bar("for the next step", one.against_bad, one.needed_healthy),
  );
}

function panel(promotion, actions) {
  if (!promotion) return [element("p", { class: "soft" }, actions.state || "No promotion has started.")];
  const steps = promotion.steps.map((weight, index) => {
    const kind = index < promotion.passed ? "passed" : index === promotion.number - 1 ? "current" : "next";
    const sign = kind === "passed" ? "✓ " : "";
    return element("li", { class: kind, ...(kind === "current" ? { "aria-current": "step" } : {}) }, `${sign}${number(weight)} %`);
  });
  const limits = Object.entries(promotion.thresholds).map(([name, text]) => element("li", {}, `${name} ${text}`));
  const doing = promotion.waits_for ? `; waits for ${promotion.waits_for}` : "";
  return [
    element("p", { id: "phase" }, element("b", {}, promotion.phase), ` at ${promotion.step || "its start"}${doing}`),
    element("ol", { class: "steps", "aria-label": "steps" }, ...steps),
    ...(promotion.why ? [element("p", {}, promotion.why)] : []),
    ...promotion.evidence.map(evidence),
    ...(limits.length ? [element("ul", { class: "limits", "aria-label": "thresholds" }, ...limits)] : []),
  ];
}

export function showPromotion(promotion, actions) {
  const text = JSON.stringify([promotion, actions]);
  if (text === shown) return;
  shown = text;
  $("promotion").replaceChildren(...panel(promotion, actions));
  const reasons = [];
  for (const button of document.querySelectorAll("#buttons button")) {
    const { why, command } = actions.buttons[button.dataset.action];
    button.disabled = Boolean(why);
    button.title = why || command;
    if (why) reasons.push(element("li", {}, `${button.textContent}: ${why}`));
  }
  $("reasons").replaceChildren(...reasons);
  const output = $("output");
  output.hidden = !actions.command;
  output.querySelector("code").textContent = actions.command;
  const printed = output.querySelector("pre");
  printed.textContent = actions.lines.join("\n");
  printed.scrollTop = printed.scrollHeight;
}

// An answer that is no JSON is the reason of a refusal, in plain text.
async function post(name, body) {
  try {
    const answer = await fetch(`actions/${name}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    const isJson = (answer.headers.get("Content-Type") || "").startsWith("application/json");
    return isJson ? await answer.json() : { error: (await answer.text()).trim() };
  } catch {
    return { error: `${name}: the dashboard does not answer` };
  }
}

// The line stays until the next press; an empty text removes it.
function failed(text) {
  $("refused").hidden = !text;
  $("refused").textContent = text;
}

for (const button of document.querySelectorAll("#buttons button"))
  button.addEventListener("click", async () => {
    const name = button.dataset.action;
    failed("");
    const answer = await post(name, {});
    if (answer.error) return failed(answer.error);
    asked = { name, word: answer.confirm };
    $("confirm-title").textContent = TITLES[name];
    $("confirm-text").textContent = MEANS[name];
    $("confirm-command").textContent = answer.command;
    $("output").open = true;
    $("confirm").returnValue = "no";
    $("confirm").showModal();
  });

$("confirm").addEventListener("close", async () => {
  if (!asked || $("confirm").returnValue !== "yes") return;
  const { name, word } = asked;
  asked = null;
  const answer = await post(name, { confirm: word });
  if (answer.error) failed(answer.error);
});
