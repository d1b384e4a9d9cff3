// The page asks the application what it knows, again and again, and draws it. It changes nothing there.

import { drawCharts, redrawCharts } from "./charts.js";
import { $ } from "./dom.js";
import { drawIndexes } from "./indexes.js";
import { drawLines, drawMap } from "./map.js";
import { drawQueries } from "./queries.js";
import { drawMethods, drawTables } from "./tables.js";
import { drawFigures, drawVerdict } from "./verdict.js";

const EVERY = 2000;
const PATIENCE = 5000;

let samples = [];
let newest = 0;
let status = null;
let heard = null;

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function look() {
  try {
    const [now, history] = await Promise.all([ask("metrics/json"), ask(`metrics/history?after=${newest}`)]);
    // An application that was started again counts from the beginning.
    if (history.newest < newest) return void ([samples, newest] = [[], 0]);
    const at = Date.now();
    samples.push(...history.samples.map((sample) => ({ ...sample, taken: at - sample.ago_seconds * 1000 })));
    samples = samples.filter((sample) => sample.taken > at - 900_000);
    [newest, status, heard] = [history.newest, now, at];
    draw();
  } catch (error) {
    console.warn(error);
  }
  tellAge();
}

function draw() {
  const latest = samples.at(-1);
  drawVerdict(status);
  drawFigures(status, latest);
  drawMap(status, latest);
  drawCharts(samples, status);
  drawMethods(status);
  drawQueries(status);
  drawIndexes(status);
  drawTables(status);
}

function tellAge() {
  const silent = heard === null ? null : (Date.now() - heard) / 1000;
  const lost = silent === null || silent > 6;
  const text = silent === null ? "The application has not answered yet" : lost ? `The application has not answered for ${Math.round(silent)} s: what you see is from then` : "live";
  $("#fresh").textContent = text;
  $("#fresh").className = lost ? "bad-text" : "";
}

function applyTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  redrawCharts();
  if (status) draw();
}

$("#theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const theme = dark ? "light" : "dark";
  localStorage.setItem("dbopt-theme", theme);
  applyTheme(theme);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => applyTheme(localStorage.getItem("dbopt-theme")));
addEventListener("resize", () => status && drawLines(status));

const stored = localStorage.getItem("dbopt-theme");
if (stored) document.documentElement.dataset.theme = stored;
for (;;) {
  if (!document.hidden) await look();
  await new Promise((wake) => setTimeout(wake, EVERY));
}
