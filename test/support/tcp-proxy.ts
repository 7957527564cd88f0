/**
 * A TCP connection between two parties that can be made bad: cut, delayed, closed on one side, or dead
 * without a word. A test decides, chunk by chunk.
 */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export type ProxyDirection = "to server" | "to client";

/**
 * `drop` resets both sides; `half-close` ends towards the receiver of this chunk, and lets the other
 * way be; `blackhole` loses this chunk and all that follows, both ways, on a connection that stays open.
 */
export type ProxyDeed = "pass" | "drop" | "half-close" | "blackhole" | { readonly delayMs: number };

export interface ProxyChunk {
  readonly direction: ProxyDirection;
  readonly text: string;
  /** Number of the connection, from 1. */
  readonly connection: number;
}

export interface TcpProxy extends AsyncDisposable {
  readonly port: number;
  readonly connections: number;
}

/** Starts a proxy on loopback to a port on loopback, or to a UNIX socket. */
export async function startTcpProxy(
  target: number | string,
  deed: (chunk: ProxyChunk) => ProxyDeed,
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
        // A connection that is dead says nothing of the other side's end either.
        if (!pair.isDead) for (const one of [client, upstream]) one.destroy();
      });
    }
    carry(client, upstream, "to server", pair, deed);
    carry(upstream, client, "to client", pair, deed);
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

function carry(
  from: Socket,
  to: Socket,
  direction: ProxyDirection,
  pair: { isDead: boolean; readonly connection: number },
  deed: (chunk: ProxyChunk) => ProxyDeed,
): void {
  /** One chunk after the other, so that a delay delays what comes behind it. */
  let last = Promise.resolve();
  async function pass(chunk: Buffer): Promise<void> {
    if (pair.isDead) return;
    const todo = deed({ direction, text: chunk.toString("latin1"), connection: pair.connection });
    switch (todo) {
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
        await new Promise((resolve) => setTimeout(resolve, todo.delayMs));
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

/** A UNIX socket knows no reset. */
function reset(socket: Socket): void {
  if (socket.remoteFamily === undefined) socket.destroy();
  else socket.resetAndDestroy();
}
