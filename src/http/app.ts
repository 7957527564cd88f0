/**
 * The status app: the HTTP pages of a server, `Request` in, `Response` out, without a socket.
 *
 * `/healthz` answers 200 while the process runs, `/readyz` 200 while the server is ready for mail
 * and else 503; `/metrics` is for Prometheus and `/` for people. At a loopback address everything
 * is open. At other addresses a client sees `/healthz`, and `/readyz` without the reason; the
 * access token opens the rest.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { Hono } from "hono";
import type { StatusSource } from "./status.ts";
import { statusPage } from "./status-page.ts";

export interface StatusAppOptions extends StatusSource {
  /** Whether the app listens on loopback only; then every page is open without a token. */
  readonly isLoopback: boolean;
  /**
   * The token that opens `/` and `/metrics` when `isLoopback` is false, as bearer token or as
   * password of HTTP Basic. Without it both pages answer 403.
   */
  readonly accessToken?: string | undefined;
}

/** Builds the status app with all its pages. */
export function createStatusApp(options: StatusAppOptions): Hono {
  const app = new Hono();
  const isOpen = (request: Request) =>
    options.isLoopback ||
    (options.accessToken !== undefined && hasToken(request, options.accessToken));

  app.use(async (context, next) => {
    await next();
    context.header("Cache-Control", "no-store");
    context.header("X-Content-Type-Options", "nosniff");
    context.header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
  });
  for (const path of ["/", "/metrics"]) {
    app.use(path, async (context, next) => {
      if (isOpen(context.req.raw)) return next();
      if (options.accessToken === undefined) {
        return context.text(
          "Closed to other machines; the setting accessTokenFile opens it.\n",
          403,
        );
      }
      return context.text("The access token is missing or wrong.\n", 401, {
        "WWW-Authenticate": 'Basic realm="Postbag", charset="UTF-8"',
      });
    });
  }

  app.get("/", async (context) => context.html(statusPage(await options.status())));
  app.get("/healthz", (context) => context.text("ok\n"));
  app.get("/readyz", async (context) => {
    const { ready, reason } = await options.health();
    if (ready) return context.text("ok\n");
    return context.text(isOpen(context.req.raw) ? `not ready: ${reason}\n` : "not ready\n", 503);
  });
  app.get("/metrics", async () => metricsResponse(await options.metrics()));
  app.notFound((context) => context.text("There is nothing here. Try / or /readyz.\n", 404));
  return app;
}

/** Builds an app that serves only `/metrics`, without a token to every client that can connect. */
export function createMetricsApp({ metrics }: Pick<StatusSource, "metrics">): Hono {
  const app = new Hono();
  app.get("/metrics", async () => metricsResponse(await metrics()));
  return app;
}

function metricsResponse(text: string): Response {
  return new Response(text, {
    headers: { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" },
  });
}

function hasToken(request: Request, token: string): boolean {
  const [scheme = "", value = ""] = (request.headers.get("authorization") ?? "").split(" ");
  if (/^bearer$/i.test(scheme)) return isSame(value, token);
  if (!/^basic$/i.test(scheme)) return false;
  const userAndPassword = Buffer.from(value, "base64").toString("utf8");
  return isSame(userAndPassword.slice(userAndPassword.indexOf(":") + 1), token);
}

/** Compares digests, so that the time taken reveals neither the token nor its length. */
function isSame(given: string, token: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(token));
}
