import { $, ago, make, note, number, percent, seconds, table } from "./dom.js";

export function drawMethods(status) {
  const merged = new Map();
  for (const one of status.methods) {
    const key = `${one.method} ${one.lane}`;
    const known = merged.get(key) ?? { ...one, count: 0, application_errors: 0, infrastructure_errors: 0, p50_ms: 0, p99_ms: 0 };
    // Of several nodes the slowest is shown; half of all calls is that of the node that had most of them.
    if (one.count > (known.most ?? 0)) [known.most, known.p50_ms] = [one.count, one.p50_ms];
    known.p99_ms = Math.max(known.p99_ms, one.p99_ms);
    for (const part of ["count", "application_errors", "infrastructure_errors"]) known[part] += one[part];
    merged.set(key, known);
  }
  const busiest = [...merged.values()].sort((one, other) => other.count - one.count).slice(0, 50);
  $("#methods tbody").replaceChildren(...(busiest.length ? busiest.map((one) => make("tr", {},
    make("td", {}, one.method), make("td", {}, one.lane), make("td", { class: "n" }, number(one.count)),
    make("td", { class: "n" }, number(one.p50_ms, 1)), make("td", { class: `n${one.p99_ms > 100 ? " bad" : ""}` }, number(one.p99_ms, 1)),
    make("td", { class: `n${one.infrastructure_errors ? " bad" : ""}` }, number(one.infrastructure_errors)), make("td", { class: "n" }, number(one.application_errors))))
    : [make("tr", {}, make("td", { colspan: "7" }, "Nothing was called yet."))]));
}

export function drawTables(status) {
  const circuits = status.nodes.flatMap((node) => node.pools.map((pool) => [node.name, pool]));
  const open = circuits.filter(([, pool]) => pool.circuit.state !== "closed");
  $("#circuits > div").replaceChildren(open.length
    ? table("Open circuits", [["node"], ["lane"], ["state"], ["cause"], ["tested in", "n"]], open.map(([name, pool]) => [
        name, pool.lane, pool.circuit.state.replace("_", "-"), pool.circuit.cause ?? "", pool.circuit.test_in_seconds === null ? "" : seconds(pool.circuit.test_in_seconds)]))
    : note(`All ${circuits.length} are closed.`));

  const limits = status.limits;
  const refused = limits.methods.filter((one) => one.refused > 0).sort((one, other) => other.refused - one.refused).slice(0, 10);
  $("#limits > div").replaceChildren(...(limits.limits.length ? [
    table("Limits", [["limit"], ["scope"], ["rate"], ["callers", "n"]], limits.limits.map((one) => [one.name, one.scope, one.rates, number(one.callers)])),
    refused.length
      ? table("Methods that were refused", [["refused by"], ["scope"], ["refused", "n"], ["admitted", "n"]], refused.map((one) => [one.method, one.scope, number(one.refused), number(one.admitted)]))
      : note("No call was refused."),
  ] : [note("No limit was used yet.")]));

  const cache = status.cache;
  const lookups = cache.l1_hits + cache.l1_misses;
  $("#cache > div").replaceChildren(
    lookups || cache.l1_entries ? table("Layers of the cache", [["layer"], ["hits", "n"], ["misses", "n"], ["hit rate", "n"]], [
      ["memory", number(cache.l1_hits), number(cache.l1_misses), percent(lookups ? (100 * cache.l1_hits) / lookups : null)],
      [`Redis (${cache.redis})`, number(cache.l2_hits), number(cache.l2_misses), percent(cache.l2_hits + cache.l2_misses ? (100 * cache.l2_hits) / (cache.l2_hits + cache.l2_misses) : null)],
    ]) : note("Nothing was looked up yet."),
    note(`${number(cache.l1_entries)} entries in memory; ${number(cache.loads)} loads, ${number(cache.shared_loads)} calls shared one; ${number(cache.invalidations)} invalidations.`));

  $("#alerts > div").replaceChildren(...(status.alerts.length
    ? status.alerts.map((alert) => make("p", { class: "card" }, make("strong", { class: alert.severity === "info" ? "" : alert.severity === "warning" ? "odd-text" : "bad-text" }, `${alert.severity}: ${alert.rule}${alert.subject ? ` ${alert.subject}` : ""}`), ` for ${seconds(alert.for_seconds)}. ${alert.summary}`))
    : [note("None lasts.")]));

  $("#events ol").replaceChildren(...(status.events.length
    ? status.events.slice(0, 30).map((event) => make("li", {}, make("time", {}, ago(event.ago_seconds)), make("span", { class: "kind" }, event.kind), make("span", {}, `${event.subject}: ${event.text}`)))
    : [make("li", {}, note("Nothing happened."))]));
}
