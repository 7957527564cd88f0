/** Opens the TCP connection of a client session: with a timeout, and from `localAddress` if set. */
import { connect, type Socket } from "node:net";
import { maxAddressMs, RouteFailure, type SessionOptions, type SessionTarget } from "./target.ts";

/**
 * Connects to a host by name, trying its addresses in turn (RFC 8305), or to one address.
 *
 * @throws {RouteFailure} When no connection is made in time. The signal's reason when it aborts.
 */
export function openSocket(
  { host, address = host, port }: SessionTarget,
  { localAddress, timeouts, clock }: SessionOptions,
  signal: AbortSignal,
): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  if (signal.aborted) return Promise.reject(signal.reason);
  const socket = connect({
    host: address,
    port,
    noDelay: true,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: Math.ceil(Math.min(maxAddressMs, timeouts.connectMs / 2)),
    localAddress,
  });
  const fail = (why: string, cause?: unknown) => {
    const text = `Cannot connect to ${host}:${port}: ${why}`;
    reject(new RouteFailure({ code: 451, enhanced: "4.4.1", text, phase: "connect" }, { cause }));
    socket.destroy();
  };
  const timer = clock.setTimeout(() => fail("no answer in time"), timeouts.connectMs);
  const abort = () => {
    reject(signal.reason);
    socket.destroy();
  };
  const onError = (error: NodeJS.ErrnoException) => fail(error.code ?? error.message, error);
  signal.addEventListener("abort", abort, { once: true });
  socket.once("error", onError);
  socket.once("connect", () => resolve(socket));
  return promise.finally(() => {
    clock.clearTimeout(timer);
    signal.removeEventListener("abort", abort);
    // Until the session listens for errors, an error of the socket must not end the process.
    socket.on("error", () => {});
    socket.off("error", onError);
  });
}
