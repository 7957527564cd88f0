/**
 * A proxy between two mail programs. It passes all bytes on, except that after `dropNextReply` it
 * drops the server's reply to the next message, as a crash between commit and reply does.
 */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

export class ReplyDroppingProxy {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #onDropped: (() => void) | undefined;

  private constructor(server: Server, target: number) {
    this.#server = server;
    this.port = (server.address() as { port: number }).port;
    server.on("connection", (client) => this.#join(client, connect(target, "127.0.0.1")));
  }

  static async start(target: number): Promise<ReplyDroppingProxy> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    return new ReplyDroppingProxy(server, target);
  }

  /**
   * Drops all that the server sends after the next final dot of a client, and calls `onDropped` for
   * each dropped piece.
   */
  dropNextReply(onDropped: () => void): void {
    this.#onDropped = onDropped;
  }

  /** Closes every open connection; new ones are accepted. */
  disconnect(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.disconnect();
    this.#server.close();
  }

  #join(client: Socket, server: Socket): void {
    let tail = "";
    let onReply: (() => void) | undefined;
    client.on("data", (bytes) => {
      const text = tail + bytes.toString("latin1");
      tail = text.slice(-4);
      // A QUIT may be pipelined after the dot.
      if (text.includes("\r\n.\r\n") && this.#onDropped !== undefined) {
        onReply = this.#onDropped;
        this.#onDropped = undefined;
      }
      server.write(bytes);
    });
    server.on("data", (bytes) => (onReply === undefined ? client.write(bytes) : onReply()));
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(one);
      one.on("error", () => {});
      // After a dropped reply the close of one side does not close the other: the test calls
      // `disconnect`.
      one.on("close", () => {
        this.#sockets.delete(one);
        if (onReply === undefined) other.destroy();
      });
    }
  }
}
