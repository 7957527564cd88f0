/** Explains why the server cannot listen on an address, with the flag that chooses another. */
import { errnoOf } from "../../system/index.ts";
import { AppError, messageOf } from "../errors.ts";
import { type ListenAddress, showListenAddress } from "./kinds.ts";
import { flagOf } from "./table.ts";

export function listenError(setting: string, listen: ListenAddress, cause: unknown): AppError {
  const name = setting === "metrics" ? "metrics" : setting.toUpperCase();
  const errno = errnoOf(cause);
  const advice: Record<string, string> = {
    EADDRINUSE: "another program listens there. Stop it, or choose another address",
    EACCES: "this user may not use it. Choose another address",
    EPERM: "this user may not use it. Choose another address",
    EADDRNOTAVAIL: "this machine has no such address. Choose another",
    ENOTFOUND: "there is no such host. Choose another address",
    ENOENT: "the folder of the socket does not exist. Create it, or choose another path",
  };
  const why =
    errno === undefined ? messageOf(cause) : `${advice[errno] ?? "choose another address"}`;
  return new AppError(
    "ERR_APP_LISTEN",
    `Cannot listen on ${showListenAddress(listen)} for ${name}${errno ? ` (${errno})` : ""}: ${why} with ${flagOf(setting)}`,
    { cause },
  );
}
