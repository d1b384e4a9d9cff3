// Elements, and numbers as people read them.

export const $ = (selector, within = document) => within.querySelector(selector);

/** An element: everything that comes from outside becomes text, never markup. */
export function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const number = (value, digits = 0) =>
  value === null || value === undefined ? "–" : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
export const rate = (value) => number(value, value !== null && value < 10 ? 1 : 0);
export const ms = (value) => (value === null || value === undefined ? "–" : `${number(value, value < 10 ? 1 : 0)} ms`);
export const percent = (value) => (value === null || value === undefined ? "–" : `${number(value, value < 10 ? 1 : 0)} %`);
export const seconds = (value) => (value === null || value === undefined ? "unknown" : `${number(value, value < 10 ? 1 : 0)} s`);

export function bytes(value) {
  if (value === null || value === undefined) return "unknown";
  const unit = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  while (value >= 1024 && place < unit.length - 1) [value, place] = [value / 1024, place + 1];
  return `${number(value, place && value < 10 ? 1 : 0)} ${unit[place]}`;
}

export function ago(value) {
  if (value < 60) return `${Math.floor(value)} s ago`;
  if (value < 3600) return `${Math.floor(value / 60)} min ago`;
  return `${Math.floor(value / 3600)} h ago`;
}

export const later = (value) => (value > 7200 ? `${number(value / 3600)} h` : value > 120 ? `${number(value / 60)} min` : seconds(value));

/** A table of its own name: `heads` are texts with the class of their column, a cell is a text, or an array of its own class and what is in it. */
export function table(name, heads, lines) {
  const kind = (value) => (value ? { class: value } : {});
  const head = make("tr", {}, ...heads.map(([text, column]) => make("th", kind(column), text)));
  // On a phone a line may be a card, whose cells say what they are.
  const cell = (one, i) => {
    const [own, ...content] = Array.isArray(one) ? one : [heads[i][1], one];
    return make("td", { ...kind(own), "data-label": heads[i][0] }, ...content);
  };
  const rows = lines.map((line) => make("tr", {}, ...line.map(cell)));
  return make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": name }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}

/** In place of a table: why there is nothing in it, or what there is to say about it. */
export const note = (text) => make("p", { class: "none" }, text);

/** The states in which a node gets calls. */
export const SERVES = ["healthy", "degraded"];
