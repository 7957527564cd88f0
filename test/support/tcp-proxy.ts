/**
 * A TCP proxy that fails on request: it resets, delays, closes one side, or silently loses data. It
 * calls `actionFor` of the test for each chunk. See also peers/reply-dropping-proxy.ts.
 */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export type ProxyDirection = "to server" | "to client";

/**
 * `drop` resets both sides. `half-close` ends the direction of this chunk only. `blackhole` loses
 * this chunk and all later ones in both directions, and the connection stays open.
 */
export type ProxyAction =
  | "pass"
  | "drop"
  | "half-close"
  | "blackhole"
  | { readonly delayMs: number };

export interface ProxyChunk {
  readonly direction: ProxyDirection;
  readonly text: string;
  /** Number of the connection, from 1. */
  readonly connection: number;
}

export interface TcpProxy extends AsyncDisposable {
  readonly port: number;
  /** Connections accepted so far. */
  readonly connections: number;
}

/** Starts a proxy on loopback to a port on loopback, or to a UNIX socket. */
export async function startTcpProxy(
  target: number | string,
  actionFor: (chunk: ProxyChunk) => ProxyAction,
): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    connections += 1;
    const address =
      typeof target === "string" ? { path: target } : { port: target, host: "127.0.0.1" };
    const upstream = connect({ ...address, allowHalfOpen: true });
    upstream.setNoDelay(true);
    const pair = { isDead: false, connection: connections };
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        // After `blackhole` the proxy does not pass on a close either.
        if (!pair.isDead) for (const one of [client, upstream]) one.destroy();
      });
    }
    forward(client, upstream, "to server", pair, actionFor);
    forward(upstream, client, "to client", pair, actionFor);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as { port: number }).port,
    get connections() {
      return connections;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      if (server.listening) await once(server, "close");
    },
  };
}

function forward(
  from: Socket,
  to: Socket,
  direction: ProxyDirection,
  pair: { isDead: boolean; readonly connection: number },
  actionFor: (chunk: ProxyChunk) => ProxyAction,
): void {
  /** Chunks pass one after the other, so that a delay also delays later chunks. */
  let last = Promise.resolve();
  async function pass(chunk: Buffer): Promise<void> {
    if (pair.isDead) return;
    const action = actionFor({
      direction,
      text: chunk.toString("latin1"),
      connection: pair.connection,
    });
    switch (action) {
      case "pass":
        to.write(chunk);
        return;
      case "drop":
        for (const socket of [from, to]) reset(socket);
        return;
      case "half-close":
        to.end();
        return;
      case "blackhole":
        pair.isDead = true;
        return;
      default:
        await new Promise((resolve) => setTimeout(resolve, action.delayMs));
        to.write(chunk);
    }
  }
  from.on("data", (chunk: Buffer) => {
    last = last.then(() => pass(chunk));
  });
  from.on("end", () => {
    last = last.then(() => {
      if (!pair.isDead) to.end();
    });
  });
}

/** A UNIX socket has no reset. */
function reset(socket: Socket): void {
  if (socket.remoteFamily === undefined) socket.destroy();
  else socket.resetAndDestroy();
}
