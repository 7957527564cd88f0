/**
 * A minimal SMTP sink in a child process: Postfix's smtp-sink where that is installed, else the
 * server below. It accepts every mail and stores none.
 */
import { type ChildProcess, fork, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export interface BenchSink extends AsyncDisposable {
  readonly name: string;
  readonly port: number;
}

/** Stops the sink when its standard input ends, as it does at every end of this process. */
const GUARD = 'smtp-sink "$@" & read _; kill $!; wait';
const toGuard: ["pipe", "ignore", "ignore"] = ["pipe", "ignore", "ignore"];
/** The user for smtp-sink, which refuses to run as root. */
const user = process.getuid?.() === 0 ? ["-u", "nobody"] : [];

export async function startSink(): Promise<BenchSink> {
  const installed = spawnSync("smtp-sink").error === undefined;
  const port = await freePort();
  const child = installed
    ? spawn("sh", ["-c", GUARD, "sh", ...user, `127.0.0.1:${port}`, "1024"], { stdio: toGuard })
    : fork(import.meta.filename, [String(port)]);
  await answering(port, child);
  return {
    name: installed ? "Postfix's smtp-sink" : "the project's own sink",
    port,
    async [Symbol.asyncDispose]() {
      const ended = once(child, "exit");
      if (installed) child.stdin?.end();
      else child.kill();
      await ended;
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

async function answering(port: number, child: ChildProcess): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    const socket = connect(port, "127.0.0.1");
    try {
      await once(socket, "connect");
      return;
    } catch (error) {
      if (tries === 100 || child.exitCode !== null) throw error;
      await sleep(50);
    } finally {
      socket.destroy();
    }
  }
}

/** Reads commands, and messages up to their final dot; answers all of them positively. */
function serve(socket: Socket): void {
  let pending = "";
  let inData = false;
  socket.setEncoding("latin1").on("error", () => {});
  socket.write("220 sink ESMTP\r\n");
  socket.on("data", (chunk: string) => {
    pending += chunk;
    let replies = "";
    for (;;) {
      const mark = inData ? "\r\n.\r\n" : "\r\n";
      const end = pending.indexOf(mark);
      if (end < 0) break;
      const verb = inData ? "." : pending.slice(0, 4).toUpperCase();
      pending = pending.slice(end + mark.length);
      inData = verb === "DATA";
      replies += verb === "EHLO" ? "250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n" : reply(verb);
    }
    socket.write(replies);
  });
}

function reply(verb: string): string {
  if (verb === "DATA") return "354 Go on\r\n";
  return verb === "QUIT" ? "221 Bye\r\n" : "250 Ok\r\n";
}

if (process.argv[1] === import.meta.filename) {
  createServer({ noDelay: true }, serve).listen(Number(process.argv[2]), "127.0.0.1");
  process.on("disconnect", () => process.exit());
}
