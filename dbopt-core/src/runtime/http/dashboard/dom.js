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

/** In place of a table: why there is nothing in it, or what there is to say about it. */
export const note = (text) => make("p", { class: "none" }, text);

/** The states in which a node gets calls. */
export const SERVES = ["healthy", "degraded"];
