/**
 * Stands between two mail programs and passes everything on, except that on request it keeps back what
 * the server says after the final dot of the next message: the reply that a crash swallows.
 */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

export class SwallowingProxy {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #onSwallowed: (() => void) | undefined;

  private constructor(server: Server, target: number) {
    this.#server = server;
    this.port = (server.address() as { port: number }).port;
    server.on("connection", (client) => this.#join(client, connect(target, "127.0.0.1")));
  }

  static async start(target: number): Promise<SwallowingProxy> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    return new SwallowingProxy(server, target);
  }

  /** Keeps back all that the server says after the next final dot, and calls back when it said it. */
  swallowNextVerdict(onSwallowed: () => void): void {
    this.#onSwallowed = onSwallowed;
  }

  /** Closes every connection that is open; new ones are welcome. */
  drop(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.drop();
    this.#server.close();
  }

  #join(client: Socket, server: Socket): void {
    let tail = "";
    let keepBack: (() => void) | undefined;
    client.on("data", (bytes) => {
      const text = tail + bytes.toString("latin1");
      tail = text.slice(-4);
      // A QUIT may be pipelined behind the dot.
      if (text.includes("\r\n.\r\n") && this.#onSwallowed !== undefined) {
        keepBack = this.#onSwallowed;
        this.#onSwallowed = undefined;
      }
      server.write(bytes);
    });
    server.on("data", (bytes) => (keepBack === undefined ? client.write(bytes) : keepBack()));
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(one);
      one.on("error", () => {});
      // A swallowed verdict must not turn into an orderly end: the client is dropped by hand.
      one.on("close", () => {
        this.#sockets.delete(one);
        if (keepBack === undefined) other.destroy();
      });
    }
  }
}
