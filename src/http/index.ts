/** The door of `http`: the status app as `Request → Response`, and its listener. */
export { createMetricsApp, createStatusApp, type StatusAppOptions } from "./app.ts";
export { type HttpListener, listenHttp } from "./listen.ts";
export type { Health, Status, StatusSource } from "./status.ts";
