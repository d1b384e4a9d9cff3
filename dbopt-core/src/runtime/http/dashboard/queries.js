import { $, ago, make, ms, note, number } from "./dom.js";

const SHOWN = 10;

const place = (method, at) => [make("strong", {}, method ?? "no method"), at ? ` ${at}` : ""];

/** The plan as the planner told it, indented, with its costly node above. */
function plan(of) {
  if (!of.plan) return note(of.plan_absent ? `No plan: ${of.plan_absent}.` : "Not planned yet.");
  const lines = of.plan.lines ?? [];
  return make("div", {}, note(`Plan, cost ${number(of.plan.cost, 0)}${of.plan.costly ? `; most of it: ${of.plan.costly}` : ""}`), lines.length ? make("pre", {}, lines.join("\n")) : null);
}

/** A part that opens, and stays open while the page is drawn anew. */
function part(key, summary, open, ...content) {
  const details = make("details", open.has(key) ? { class: "card", open: "" } : { class: "card" }, make("summary", {}, ...summary), ...content);
  details.dataset.key = key;
  return details;
}

function slow(one, open) {
  const summary = [...place(one.method, one.at), ` took ${ms(one.total_ms)} on ${one.node}, ${number(one.rows)} rows, ${ago(one.ago_seconds)}`, one.end === "completed" ? "" : ` (${one.end})`];
  const parts = `First row after ${ms(one.first_row_ms)}; waited ${ms(one.waited_ms)} for a connection.`;
  return part(`slow ${one.fingerprint} ${one.at}`, summary, open, make("pre", {}, one.sql), note(parts), plan(one), withValues(one));
}

/** Where the values of this very run make the planner go another way; which values is not told. */
function withValues({ plan: any, plan_for_values: own }) {
  if (!own || own.hash === any?.hash) return null;
  return make("div", {}, note("With the values that this run had, the planner goes another way:"), plan({ plan: own }));
}

function repeated(one, open) {
  const outer = one.outer ? ` after ${one.outer}${one.outer_at ? ` (${one.outer_at})` : ""}` : "";
  const summary = [...place(one.method, one.at), ` ran up to ${number(one.most)} times for one caller${outer}; about ${ms(one.lost_ms)} lost, ${ago(one.ago_seconds)}`];
  return part(`repeated ${one.method} ${one.fingerprint}`, summary, open, one.sql ? make("pre", {}, one.sql) : null, note("Write instead:"), make("pre", {}, one.instead));
}

function costly(one, open) {
  const count = one.runs.reduce((sum, runs) => sum + runs.count, 0);
  const p99 = Math.max(...one.runs.map((runs) => runs.p99_ms));
  const [first] = one.runs;
  const summary = [...place(first?.method, first?.at), ` ${number(count)} runs, ${ms(one.total_ms)} in all, 99 of 100 within ${ms(p99)}`];
  return part(`costly ${one.fingerprint}`, summary, open, make("pre", {}, one.sql), plan(one));
}

export function drawQueries({ insight }) {
  const section = $("#queries > div");
  if (!insight?.enabled) return section.replaceChildren(note("Statements are not watched (insight.enabled)."));
  // Whoever reads a plan is not disturbed: what is open is drawn anew with the same parts open, and the focus goes back.
  const open = new Set([...section.querySelectorAll("details[open]")].map((one) => one.dataset.key));
  const focused = document.activeElement?.closest?.("#queries details")?.dataset.key;
  const own = insight.statements.filter((one) => !one.own);
  const list = (title, all, draw, empty) => [make("h3", {}, title), ...(all.length ? all.slice(0, SHOWN).map((one) => draw(one, open)) : [note(empty)])];
  section.replaceChildren(
    ...list("Slow statements, newest first", insight.slow, slow, "None was slow."),
    ...list("Repeated in a loop (N+1)", insight.repeated, repeated, "Nothing was."),
    ...list("Most time in all", own, costly, "Nothing ran yet."));
  if (focused) [...section.querySelectorAll("details")].find((one) => one.dataset.key === focused)?.querySelector("summary").focus();
}
