/** The page at `/`: the state of a running server at a glance, without scripts, for any browser. */
import { html } from "hono/html";
import type { Status } from "./status.ts";

const style = `
  :root { color-scheme: light dark; --ink: #1d2733; --soft: #66727f; --line: #dde3e8; --page: #f6f7f9;
    --card: #fff; --good: #1b7f4b; --bad: #b3261e }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e6eaee; --soft: #98a4b0; --line: #2c3641; --page: #12171c; --card: #1a2128;
      --good: #58c98f; --bad: #ff8a80 }
  }
  body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
  main { max-width: 44rem; margin: 0 auto; padding: 3rem 1.25rem }
  h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1rem; margin: 0 0 .5rem; color: var(--soft);
    font-weight: 600 }
  header { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: baseline; margin-bottom: 1.5rem }
  header span { color: var(--soft) }
  .state { margin-left: auto; font-weight: 600; color: var(--good) } .state.bad { color: var(--bad) }
  section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
    padding: 1rem 1.25rem; margin-bottom: 1rem }
  dl { display: grid; grid-template-columns: minmax(9rem, auto) 1fr; gap: .3rem 1rem; margin: 0 }
  dt { color: var(--soft) } dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
  footer { color: var(--soft); font-size: .9rem } a { color: inherit }
`;

/** Renders the page; every value is escaped by `html`. */
export function statusPage(status: Status) {
  const { health } = status;
  const domains = status.domains.join(", ");
  const newcomers =
    status.mailboxes === "create"
      ? "a mailbox is created with its first message"
      : "existing mailboxes only";
  return html`<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta http-equiv="refresh" content="5">
  <title>Postbag on ${status.hostname}</title>
  <style>${style}</style>
</head>
<body><main>
  <header>
    <h1>Postbag</h1><span>${status.version} on ${status.hostname}</span>
    <span class="state${health.ready ? "" : " bad"}">${health.ready ? "ready" : `not ready: ${health.reason ?? "unknown"}`}</span>
  </header>
  <section><h2>Listening</h2>${rows(status.listeners)}</section>
  <section><h2>Accepting</h2>${rows([
    ["Domains", domains],
    ["New addresses", newcomers],
  ])}</section>
  <section><h2>Since ${status.startedAt.toISOString().replace("T", " ").slice(0, 19)} UTC</h2>${rows(status.figures)}</section>
  <footer><a href="/metrics">metrics</a> · <a href="/readyz">readyz</a> · <a href="/healthz">healthz</a></footer>
</main></body>
</html>
`;
}

function rows(pairs: readonly (readonly [string, string])[]) {
  return html`<dl>${pairs.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
}
