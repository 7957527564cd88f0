/** Sentences about settings that several places show: the banner, the status page and `doctor`. */
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
