/** Serves a status or metrics app at a TCP address. */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import type { Hono } from "hono";

export interface HttpListener {
  /** The address with the port in use, also when port 0 was asked for. */
  readonly address: { readonly host: string; readonly port: number };
  /** Stops listening and cuts all connections; requests in progress get no answer. */
  close(): Promise<void>;
}

/** Listens; rejects with the system's error when the address cannot be used. */
export async function listenHttp(
  app: Hono,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<HttpListener> {
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  server.headersTimeout = 10_000;
  server.requestTimeout = 30_000;
  server.maxConnections = 200;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const { port: actualPort } = server.address() as AddressInfo;
  return {
    address: { host, port: actualPort },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
