// Opens the dashboard in a browser, reads what it says, clicks through every part of it, and takes pictures.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [, , executablePath, url, shots, state, ...words] = process.argv;
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const complaints = [];

async function open(options, address = url) {
  const page = await browser.newPage(options);
  // What the browser itself refuses (a policy, a file that is missing) is a fault of the page; an application that does not answer is not.
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => request.url().startsWith(new URL(url).origin) || request.url().startsWith("data:") || complaints.push(`asks ${request.url()}`));
  await page.goto(address);
  await page.locator("#verdict .verdict").waitFor();
  return page;
}

try {
  const page = await open({ viewport: { width: 1300, height: 1000 }, colorScheme: "light" });
  const verdict = page.locator("#verdict");
  for (const word of words) await verdict.filter({ hasText: word }).waitFor({ timeout: 20_000 });
  await page.locator("#plot-lag canvas").waitFor();
  await page.locator("#fresh", { hasText: "live" }).waitFor();

  // Every link of the page leads to a part that is there and has something in it.
  for (const link of await page.locator("nav a").all()) {
    await link.click();
    const target = await link.getAttribute("href");
    const text = await page.locator(target).innerText();
    assert.ok(text.trim().split("\n").length > 1, `${target} is empty: ${text}`);
  }
  // Every chart has a picture of its own and says in words what it shows.
  const charts = await page.locator(".plot").all();
  assert.equal(charts.length, 10);
  for (const chart of charts) {
    await chart.scrollIntoViewIfNeeded();
    await chart.locator(".u-over").hover();
    assert.match(await chart.locator("[role=img]").getAttribute("aria-label"), /, now: /);
  }
  // Every node opens by keyboard, and stays open while the page is drawn anew.
  for (const node of await page.locator(".node").all()) {
    const name = await node.getAttribute("data-name");
    await page.locator(`.node[data-name="${name}"] summary`).focus();
    await page.keyboard.press("Enter");
    await page.waitForTimeout(2500);
    const details = page.locator(`.node[data-name="${name}"] details`);
    assert.ok(await details.evaluate((element) => element.open), `${name} closed by itself`);
    assert.match(await details.innerText(), /position/);
    await page.locator(`.node[data-name="${name}"] summary`).press("Enter");
  }
  // A slow statement tells where it is written and how it is planned; a loop, what to write instead.
  for (const [kind, wanted] of [["slow", /pg_sleep[\s\S]*waited/], ["repeated", /Write instead/]]) {
    const part = page.locator(`#queries details[data-key^="${kind} "]`).first();
    await part.locator("summary").click();
    await page.waitForTimeout(2500);
    assert.match(await part.innerText(), wanted);
  }
  // Advice on indexes: the text to take along, who says so, whose statements want it.
  const advice = page.locator("#indexes");
  for (const wanted of [/CREATE INDEX CONCURRENTLY bookings_passenger/, /by nobody/, /HypoPG/, /Bookings::of .*main\.rs/, /DROP INDEX CONCURRENTLY bookings_twice/, /covered/])
    assert.match(await advice.innerText(), wanted);
  await advice.locator("button").first().click();
  await advice.locator("button", { hasText: /Copied|Selected/ }).waitFor();
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: `${shots}/${state}.png`, fullPage: true });

  // Dark, by the button, and it is remembered.
  await page.locator("#theme").click();
  await page.reload();
  await page.locator("#plot-lag canvas").waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  await page.screenshot({ path: `${shots}/${state}-dark.png`, fullPage: true });
  await page.locator("#indexes").screenshot({ path: `${shots}/${state}-indexes-dark.png` });
  await page.close();

  const phone = await open({ viewport: { width: 375, height: 800 }, colorScheme: "light" });
  await phone.locator("#plot-lag canvas").waitFor();
  const [inner, outer] = await phone.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(inner <= outer, `wider than a phone: ${inner} of ${outer}`);
  await phone.locator("#indexes").screenshot({ path: `${shots}/${state}-indexes-phone.png` });
  await phone.screenshot({ path: `${shots}/${state}-phone.png`, fullPage: true });
  await phone.close();

  // Before there is any advice, where there is none, and where the last look failed, the page says so.
  const report = { missing: [], unneeded: [], rejected: [], skipped: [], statements: 12, notes: ["3 tables cannot be read by this user, and their statements not be explained: grant pg_read_all_data"] };
  for (const [name, told, wanted] of [
    ["not-yet", { report: null, ago_seconds: null, absent: "not looked yet", next_seconds: 200 }, /next look is in 3 min[\s\S]*No advice: not looked yet/],
    ["off", { report: null, ago_seconds: null, absent: 'insight.index_advice is "0s"', next_seconds: null }, /No advice: insight\.index_advice is "0s"/],
    ["failed", { report, ago_seconds: 4000, absent: "no primary is known at the moment", next_seconds: 700 }, /The last look failed: no primary/],
    ["nothing", { report, ago_seconds: 60, next_seconds: 20000 }, /Nothing to do: 12 statements[\s\S]*cannot be read by this user/],
    ["older", undefined, /No advice: this version/],
  ]) {
    const strange = await browser.newPage({ viewport: { width: 1300, height: 1000 } });
    await strange.route("**/metrics/json", async (route) => {
      const answer = await route.fetch();
      const json = await answer.json();
      json.insight.indexes = told;
      await route.fulfill({ response: answer, json });
    });
    await strange.goto(url);
    await strange.locator("#indexes > div p").first().waitFor();
    assert.match(await strange.locator("#indexes").innerText(), wanted);
    if (state === "healthy") await strange.locator("#indexes").screenshot({ path: `${shots}/indexes-${name}.png` });
    await strange.close();
  }

  // Nested below another path it finds its files and data all the same.
  const nested = await open({}, new URL("operations/db", url).href);
  await nested.locator("#plot-lag canvas").waitFor();
  await nested.close();

  assert.deepEqual(complaints, []);
  console.log(`${state}: as it should be`);
} catch (error) {
  console.error(`${state}: ${error.message}`, complaints);
  process.exitCode = 1;
} finally {
  await browser.close();
}
