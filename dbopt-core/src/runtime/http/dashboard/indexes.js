import { $, ago, bytes, later, make, note, number, table } from "./dom.js";

/** Who says that it helps. */
function verified({ by, why_not }) {
  if (by === "hypopg") return [make("span", { class: "good-text" }, "by the planner, with HypoPG")];
  if (by === "scratch") return [make("span", { class: "good-text" }, "by the planner, on a copy")];
  return [make("span", { class: "odd-text", title: why_not ?? "" }, "by nobody"), make("small", {}, why_not ?? "")];
}

/** A text to take along: copied where the browser lets us, and selected where it does not. */
function toCopy(text) {
  const code = make("code", {}, `${text};`);
  const button = make("button", { type: "button", "aria-label": `Copy: ${text}` }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  return [code, button];
}

function served(one) {
  const places = one.places.map((place) => `${place.method}${place.at ? ` ${place.at}` : ""}`).join(", ");
  return make("li", {}, places ? make("strong", {}, places) : null, make("code", {}, one.sql));
}

const missing = (all) => table("Missing indexes", [["missing"], ["cost before", "n"], ["after", "n"], ["size", "n"], ["writes/s", "n"], ["verified"], ["for"]], all.map((one) => {
  const first = one.serves[0];
  return [
    ["text", ...toCopy(one.create)], ["n", number(first?.before)], ["n", number(first?.after)], ["n", bytes(one.size_bytes)], ["n", number(one.writes_per_second, 1)],
    ["", ...verified(one.verified)], ["text", make("ul", {}, ...one.serves.slice(0, 3).map(served))]];
}));

const unneeded = (all) => table("Indexes that are not needed", [["not needed"], ["kind"], ["size", "n"], ["why"], ["to drop it"]], all.map((one) =>
  [["text", `${one.name} on ${one.table}`], [one.kind === "invalid" ? "bad" : "", one.kind], ["n", bytes(one.bytes)], ["text", one.why], ["text", ...toCopy(one.drop)]]));

function content({ report, absent }) {
  const reason = absent ? note(report ? `The last look failed: ${absent}. What follows is from before.` : `No advice: ${absent}.`) : null;
  if (!report) return [reason];
  const lists = [report.missing.length ? missing(report.missing) : null, report.unneeded.length ? unneeded(report.unneeded) : null];
  const nothing = lists.every((list) => list === null) ? note(`Nothing to do: ${number(report.statements)} statements were looked at.`) : null;
  const skipped = report.skipped.length ? note(`Not looked at: ${number(report.skipped.length)} of the statements; the first one because ${report.skipped[0].why}.`) : null;
  return [reason, ...lists, nothing, skipped, ...report.notes.map((text) => make("p", { class: "odd-text" }, text))];
}

export function drawIndexes({ insight }) {
  const section = $("#indexes > div");
  const advice = insight?.indexes;
  const when = [
    advice?.report ? `Looked at ${number(advice.report.statements)} ${advice.report.statements === 1 ? "statement" : "statements"} of this instance ${ago(advice.ago_seconds)}` : null,
    advice && advice.next_seconds !== null ? `the next look is in ${later(advice.next_seconds)}` : null];
  $("#indexes > p").textContent = when.filter(Boolean).join("; ");
  // Drawn anew only when it changes, so that nobody loses what he is about to copy.
  const text = JSON.stringify([advice?.report, advice?.absent]);
  if (section.dataset.text === text) return;
  section.dataset.text = text;
  section.replaceChildren(...content(advice ?? { report: null, absent: "this version of the application gives none" }).filter(Boolean));
}
