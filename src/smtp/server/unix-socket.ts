/**
 * Frees the path of a UNIX socket before the server listens. A crash leaves a socket file without a
 * listener, which is removed. A socket with a listener belongs to a running program and stays.
 */
import { lstat, unlink } from "node:fs/promises";
import { connect } from "node:net";
import { SmtpError } from "../errors.ts";

/** Removes a stale socket file; rejects with `ERR_SMTP_SOCKET_IN_USE` when the path is not free. */
export async function removeStaleSocket(path: string): Promise<void> {
  const status = await lstat(path).catch(() => undefined);
  if (!status) return;
  if (!status.isSocket()) {
    throw new SmtpError(
      "ERR_SMTP_SOCKET_IN_USE",
      `${path} exists and is not a socket; move it away`,
    );
  }
  if (await answers(path)) {
    const text = `another program listens on ${path}; stop it or choose another path`;
    throw new SmtpError("ERR_SMTP_SOCKET_IN_USE", text);
  }
  await unlink(path);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code !== "ECONNREFUSED"));
  });
}
