/**
 * The door of `http`, the room of the status page, `/readyz` and `/metrics`: the apps as
 * `Request → Response`, and a listener for them. Uses no other room; `app` supplies the values.
 */
export { createMetricsApp, createStatusApp, type StatusAppOptions } from "./app.ts";
export { type HttpListener, listenHttp } from "./listen.ts";
export type { Health, Status, StatusSource } from "./status.ts";
