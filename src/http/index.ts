/** The door of `http`: the server's face as `Request → Response`, and its listener. */
export { createFace, createMetricsFace, type FaceOptions } from "./app.ts";
export { type HttpListener, listenHttp } from "./listen.ts";
export type { Health, Status, StatusSource } from "./status.ts";
