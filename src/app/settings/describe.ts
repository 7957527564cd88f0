/** The sentence about outbound mail for the banner of `serve`, the status page and `doctor`. */
import { relayAddress } from "./outbound-kinds.ts";
import type { Settings } from "./table.ts";

/** Says where mail for other domains goes, without the relay's password. */
export function describeOutbound({
  outbound,
  relay,
}: Pick<Settings, "outbound" | "relay">): string {
  if (outbound === "capture") return "captured, never sent";
  if (outbound === "direct") return "sent to the hosts of each domain";
  return relay === undefined ? "sent by a relay" : `sent by the relay ${relayAddress.show(relay)}`;
}
