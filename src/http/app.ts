/**
 * The server's face: `Request` in, `Response` out, no socket.
 *
 * `/healthz` says that the process answers, `/readyz` whether mail should be sent here, `/metrics` is
 * for Prometheus and `/` for people. What tells about the machine or its mail is open to this machine;
 * beyond it only the holder of the access token sees more than ok or not.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { Hono } from "hono";
import type { StatusSource } from "./status.ts";
import { statusPage } from "./status-page.ts";

export interface FaceOptions extends StatusSource {
  /** Whether only this machine can ask; then everything is open. */
  readonly loopback: boolean;
  /** Opens `/` and `/metrics` beyond this machine: as bearer token, or as password in a browser. */
  readonly accessToken?: string;
}

/** Builds the face with all its pages. */
export function createFace(options: FaceOptions): Hono {
  const face = new Hono();
  const open = (request: Request) =>
    options.loopback ||
    (options.accessToken !== undefined && holdsToken(request, options.accessToken));

  face.use(async (context, next) => {
    await next();
    context.header("Cache-Control", "no-store");
    context.header("X-Content-Type-Options", "nosniff");
    context.header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
  });
  for (const path of ["/", "/metrics"]) {
    face.use(path, async (context, next) => {
      if (open(context.req.raw)) return next();
      if (options.accessToken === undefined) {
        return context.text(
          "Closed beyond this machine; the setting accessTokenFile opens it.\n",
          403,
        );
      }
      return context.text("The access token is needed.\n", 401, {
        "WWW-Authenticate": 'Basic realm="Postbag", charset="UTF-8"',
      });
    });
  }

  face.get("/", async (context) => context.html(statusPage(await options.status())));
  face.get("/healthz", (context) => context.text("ok\n"));
  face.get("/readyz", async (context) => {
    const { ready, reason } = await options.health();
    if (ready) return context.text("ok\n");
    return context.text(open(context.req.raw) ? `not ready: ${reason}\n` : "not ready\n", 503);
  });
  face.get("/metrics", async () => metricsResponse(await options.metrics()));
  face.notFound((context) => context.text("There is nothing here. Try / or /readyz.\n", 404));
  return face;
}

/** Builds the face of an address that serves `/metrics` and nothing else, open to whoever reaches it. */
export function createMetricsFace({ metrics }: Pick<StatusSource, "metrics">): Hono {
  const face = new Hono();
  face.get("/metrics", async () => metricsResponse(await metrics()));
  return face;
}

function metricsResponse(text: string): Response {
  return new Response(text, {
    headers: { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" },
  });
}

function holdsToken(request: Request, token: string): boolean {
  const [scheme = "", value = ""] = (request.headers.get("authorization") ?? "").split(" ");
  if (/^bearer$/i.test(scheme)) return same(value, token);
  if (!/^basic$/i.test(scheme)) return false;
  const userAndPassword = Buffer.from(value, "base64").toString("utf8");
  return same(userAndPassword.slice(userAndPassword.indexOf(":") + 1), token);
}

/** Compares digests, so that the time taken tells nothing of the token, its length included. */
function same(given: string, token: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(token));
}
