import { $, SERVES, make, ms, percent, rate, seconds } from "./dom.js";

// What is wrong, in words, worst first.

/** The alerts that say what is found here anyway. */
const SAID = ["primary", "replicas", "node", "redis", "pool", "journal"];

function findings(status) {
  const found = [];
  const say = (level, text) => found.push({ level, text });
  if (status.health === "down") say(2, "No node can be used: every call is refused. Look at the causes below, at the servers and at the network between.");
  else if (!status.primary)
    say(2, "No node accepts writes: writes and critical calls wait or are refused, reads go on. Promote a replica, or wait until your failover has.");
  for (const node of status.nodes) {
    if (node.state === "healthy" || node.state === "unknown") continue;
    const leads = node.name === status.primary;
    const role = leads ? "the primary" : node.role ? `a ${node.role}` : "a node";
    const [level, effect] = SERVES.includes(node.state) ? [1, "It is used all the same."]
      : leads ? [2, "Writes wait or are refused until it is back or another one is promoted."]
      : [1, "It gets no calls; the others do its work."];
    say(level, `${node.name}, ${role}, is ${node.state}${node.cause ? `: ${node.cause}` : ""}${/[.?!]$/.test(node.cause) ? "" : "."} ${effect}`);
  }
  const replicas = status.nodes.filter((node) => node.name !== status.primary);
  if (status.primary && replicas.length && !replicas.some((node) => SERVES.includes(node.state)))
    say(2, `No replica serves: the primary reads in their place, ${status.primary_reads.max} at once.`);
  if (status.cache.redis === "down") say(1, "Redis does not answer: each instance caches in its own memory and for a short time only.");
  if (status.cache.journal > 0) say(1, `${status.cache.journal} invalidations wait until Redis takes them; what they concern is not served from Redis meanwhile.`);
  if (status.limits.redis === "down") say(1, "Redis does not answer: rate limits hold per instance, by the policy for a lost Redis.");
  for (const circuit of status.open_circuits)
    say(1, `The ${circuit.lane} circuit of ${circuit.node} is ${circuit.state.replace("_", "-")}${circuit.cause ? `: ${circuit.cause}` : ""}.`);
  if (status.connections.utilization_percent > 80)
    say(1, `${percent(status.connections.utilization_percent)} of the connections are in use: calls will wait soon.`);
  for (const warning of status.warnings) say(1, warning);
  for (const alert of status.alerts)
    if (!SAID.includes(alert.rule) && !found.some((known) => alert.subject && known.text.includes(alert.subject))) say(1, alert.summary);
  return found.sort((one, other) => other.level - one.level);
}

export function drawVerdict(status) {
  const found = findings(status);
  const worst = Math.max(0, ...found.map((one) => one.level));
  const serving = status.nodes.filter((node) => node.name !== status.primary && SERVES.includes(node.state)).length;
  const replicas = Math.max(status.nodes.length - 1, 0);
  const title = worst === 0 ? "All is well." : worst === 1 ? "It works, and something wants to be looked at." : "Something is broken.";
  const who = status.primary
    ? `${status.primary} is the primary; ${serving} of ${replicas} replicas serve reads.`
    : `There is no primary; ${serving} of ${replicas} replicas serve reads.`;
  const text = [title, who, ...found.map((one) => one.text)].join("\n");
  const section = $("#verdict");
  // Whoever listens to the page is told what is new, not every two seconds the same.
  if (section.dataset.text === text) return;
  section.dataset.text = text;
  section.replaceChildren(
    make("div", { class: `verdict ${["", "odd", "down"][worst]}` },
      make("strong", {}, title), " ", who,
      found.length ? make("ul", {}, ...found.map((one) => make("li", {}, one.text))) : null));
  document.title = `${worst === 2 ? "✖ " : worst === 1 ? "! " : ""}dbopt`;
}

export function drawFigures(status, newest) {
  const figure = (label, value, mood = "") => make("div", { class: `figure ${mood}` }, make("b", {}, value), make("span", {}, label));
  const calls = newest ? newest.calls_per_second.reduce((sum, one) => sum + one, 0) : null;
  const lags = status.nodes.filter((node) => node.name !== status.primary).map((node) => node.lag_seconds);
  const worst = lags.some((lag) => lag === null) ? null : Math.max(0, ...lags);
  $("#figures").replaceChildren(
    figure("calls per second", rate(calls)),
    figure("99 of 100 calls within", ms(newest?.p99_ms)),
    figure("errors of nodes per second", rate(newest?.errors_per_second ?? null), newest?.errors_per_second > 0 ? "bad" : ""),
    figure("connections in use", percent(status.connections.utilization_percent), status.connections.utilization_percent > 80 ? "odd" : ""),
    figure("answered by the cache", percent(newest?.hit_rate_percent)),
    figure("the most that a replica is behind", lags.length ? seconds(worst) : "no replica", worst === null || worst > 5 ? "odd" : ""));
}
