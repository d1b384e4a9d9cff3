import { $, SERVES, bytes, make, number, percent, rate, seconds } from "./dom.js";

// The map: the primary above, those that it feeds below it, those that they feed below them.

function rows(status) {
  const known = new Map(status.nodes.map((node) => [node.name, node]));
  const depth = (node, seen = new Set()) => {
    if (node.name === status.primary) return 0;
    const feeder = known.get(node.upstream);
    if (!feeder || seen.has(node.name)) return 1;
    return 1 + depth(feeder, seen.add(node.name));
  };
  const levels = [];
  for (const node of status.nodes) (levels[depth(node)] ??= []).push(node);
  return levels.filter(Boolean);
}

function fact(term, value) {
  return [make("dt", {}, term), make("dd", {}, value)];
}

function drawNode(node, status, newest, open) {
  const sample = newest?.nodes.find((one) => one.name === node.name);
  const mood = node.state === "healthy" ? "" : ["degraded", "unknown", "returning"].includes(node.state) ? "odd" : "bad";
  const role = node.name === status.primary ? "primary" : (node.role ?? "unknown role");
  const pool = (one) => [
    make("dt", {}, `${one.lane} pool`),
    make("dd", {}, `${one.in_use} of ${one.max} in use${one.waiting ? `, ${one.waiting} wait` : ""}${one.circuit.state === "closed" ? "" : `, circuit ${one.circuit.state.replace("_", "-")}`}`),
  ];
  const share = (value) => (value === null || value === undefined ? null : percent(value * 100));
  const host = ["cpu", "memory", "disk"].filter((part) => share(node.host[part])).map((part) => `${part} ${share(node.host[part])}`).join(", ");
  const details = make("details", open ? { open: "" } : {},
    make("summary", {}, "more"),
    make("dl", {},
      ...fact("position", node.position ?? "unknown"),
      ...(node.receiver ? fact("receiver", node.receiver) : []),
      ...(node.upstream ? fact("follows", node.upstream) : []),
      ...(node.balance ? fact("weight", `${number(node.balance.weight, 2)} of ${number(node.balance.capacity, 2)}, slowness ${number(node.balance.slowness, 2)}`) : []),
      ...fact("losses", number(node.losses)),
      ...fact("machine", host || node.host_absent || "unknown"),
      ...node.pools.flatMap(pool)),
    ...node.notes.map((note) => make("p", { class: "cause" }, note)));
  details.dataset.node = node.name;
  const most = node.pools.reduce((sum, one) => sum + one.max, 0);
  const used = node.pools.reduce((sum, one) => sum + one.in_use, 0);
  return make("article", { class: `node ${mood}`, "data-name": node.name, "aria-label": `${node.name}, ${role}, ${node.state}` },
    make("h3", {}, node.name, make("span", {}, role)),
    make("p", { class: "state" }, node.state),
    node.cause ? make("p", { class: "cause" }, node.cause) : null,
    make("dl", {},
      ...(role === "primary" ? [] : fact("behind", `${seconds(node.lag_seconds)}${node.lag_bytes ? `, ${bytes(node.lag_bytes)}` : ""}`)),
      ...fact("calls per second", rate(sample?.calls_per_second ?? null)),
      ...fact("connections", `${used} of ${most}`)),
    make("meter", { min: 0, max: Math.max(most, 1), value: used, high: 0.8 * most, "aria-label": `connections of ${node.name} in use` }),
    details);
}

export function drawMap(status, newest) {
  const map = $("#map");
  const open = new Set([...map.querySelectorAll("details[open]")].map((one) => one.dataset.node));
  const focused = document.activeElement?.closest?.("#map details")?.dataset.node;
  map.replaceChildren(...rows(status).map((row) =>
    make("div", { class: "row" }, ...row.map((node) => drawNode(node, status, newest, open.has(node.name))))));
  if (focused) [...map.querySelectorAll("details")].find((one) => one.dataset.node === focused)?.querySelector("summary").focus();
  drawLines(status);
}

export function drawLines(status) {
  const map = $("#map");
  map.querySelector("svg")?.remove();
  const box = map.getBoundingClientRect();
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawn.setAttribute("aria-hidden", "true");
  const cards = new Map([...map.querySelectorAll(".node")].map((card) => [card.dataset.name, card.getBoundingClientRect()]));
  for (const node of status.nodes) {
    const [from, to] = [cards.get(node.upstream), cards.get(node.name)];
    if (!from || !to || node.name === status.primary) continue;
    const [x1, y1, x2, y2] = [from.x + from.width / 2 - box.x, from.bottom - box.y, to.x + to.width / 2 - box.x, to.y - box.y];
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", `M${x1},${y1} C${x1},${y1 + 20} ${x2},${y2 - 20} ${x2},${y2}`);
    if (node.receiver !== "streaming" || !SERVES.concat("lagging", "returning").includes(node.state)) path.setAttribute("class", "cut");
    drawn.append(path);
  }
  map.prepend(drawn);
}
