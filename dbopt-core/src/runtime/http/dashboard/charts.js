import { $, make, ms, number, percent, rate, seconds } from "./dom.js";

const colours = ["--blue", "--violet", "--teal", "--pink", "--odd", "--good"];
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const CHARTS = [
  { id: "latency", title: "Latency", unit: ms, lines: () => [["half within", (s) => s.p50_ms], ["99 of 100 within", (s) => s.p99_ms]] },
  { id: "throughput", title: "Calls per second", unit: rate, lines: () => [["reads", (s) => s.calls_per_second[0]], ["writes", (s) => s.calls_per_second[1]], ["critical", (s) => s.calls_per_second[2]]] },
  { id: "errors", title: "Errors and refusals per second", unit: rate, lines: () => [["errors of nodes", (s) => s.errors_per_second], ["over a limit", (s) => s.refused_per_second]] },
  { id: "checks", title: "Checks of limits per second", unit: rate, lines: () => [["admitted", (s) => s.admitted_per_second], ["refused", (s) => s.refused_per_second]] },
  { id: "lag", title: "Replication lag", unit: seconds, lines: (nodes) => nodes.map((name) => [name, (s) => s.nodes.find((n) => n.name === name)?.lag_seconds]), skip: "primary" },
  { id: "traffic", title: "Calls per second, by node", unit: rate, lines: (nodes) => nodes.map((name) => [name, (s) => s.nodes.find((n) => n.name === name)?.calls_per_second]) },
  { id: "cpu", title: "Processors in use, by node", unit: percent, lines: (nodes) => nodes.map((name) => [name, (s) => s.nodes.find((n) => n.name === name)?.cpu_percent]), range: [0, 100] },
  { id: "pools", title: "Connections in use", unit: percent, lines: () => [["of all that may be open", (s) => s.utilization_percent]], range: [0, 100] },
  { id: "waiting", title: "Calls that wait for a connection", unit: number, least: 4, lines: () => [["waiting", (s) => s.waiting]] },
  { id: "hits", title: "Look-ups answered by the cache", unit: percent, lines: () => [["hit rate", (s) => s.hit_rate_percent]], range: [0, 100] },
];

const clock = (at) => new Date(at * 1000).toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", second: at % 60 ? "2-digit" : undefined, hourCycle: "h23" });

const plots = new Map();

/** The places of all charts: all before the first is drawn, as each takes the width that the others leave. */
function place() {
  const fit = new ResizeObserver(() => plots.forEach(({ drawn, box }) => drawn?.setSize(size(box))));
  for (const chart of CHARTS) {
    const [box, latest] = [make("div"), make("span")];
    $("#plots").append(make("div", { class: "plot", id: `plot-${chart.id}` }, make("h3", {}, chart.title, latest), box));
    plots.set(chart.id, { box, latest });
  }
  fit.observe($("#plots"));
}

const size = (box) => ({ width: Math.max(box.clientWidth, 200), height: 190 });

function build(chart, box, names) {
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
  const lines = names.map((label, i) => ({
    label, stroke: colour(colours[i % colours.length]), width: 2, points: { show: false },
    // Colours are not all that tells lines apart.
    dash: i < 3 ? [[], [8, 4], [2, 3]][i] : [12, 3, 3, 3], value: (_, value) => (value === null ? "–" : chart.unit(value)),
  }));
  return new uPlot({
    ...size(box), ms: 1e-3, legend: { live: true },
    cursor: { sync: { key: "dbopt" }, drag: { x: false, y: false } },
    scales: { x: { time: true }, y: { range: (_, low, high) => chart.range ?? [0, Math.max(high * 1.1, chart.least ?? 0.1)] } },
    axes: [{ ...axis, values: (_, ticks) => ticks.map(clock) }, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => chart.unit(tick)) }],
    series: [{ value: (_, at) => (at ? clock(at) : "–") }, ...lines],
  }, null, box);
}

export function drawCharts(samples, status) {
  if (!plots.size) place();
  const now = Date.now() / 1000;
  const at = samples.map((sample) => sample.taken / 1000);
  for (const chart of CHARTS) {
    const nodes = status.nodes.map((node) => node.name).filter((name) => chart.skip !== "primary" || name !== status.primary);
    const lines = chart.lines(nodes);
    const names = lines.map(([name]) => name);
    const plot = plots.get(chart.id);
    if (plot.names !== names.join()) {
      plot.drawn?.destroy();
      plot.drawn = build(chart, plot.box, names);
      plot.names = names.join();
    }
    const columns = lines.map(([, value]) => samples.map((sample) => value(sample) ?? null));
    plot.drawn.setData([at, ...columns], false);
    plot.drawn.setScale("x", { min: now - 900, max: now });
    const last = columns.map((column) => column.at(-1) ?? null);
    const text = lines.length === 1 ? chart.unit(last[0]) : lines.map(([name], i) => `${name} ${chart.unit(last[i])}`).join(", ");
    plot.latest.textContent = lines.length <= 2 ? text : "";
    plot.box.setAttribute("role", "img");
    plot.box.setAttribute("aria-label", `${chart.title}, now: ${text}`);
  }
}

export function redrawCharts() {
  for (const plot of plots.values()) plot.names = null;
}
