/** What becomes of mail for other domains, in words, and whether the settings for it fit together. */

import { dataDirectoryAt } from "../data-directory.ts";
import { AppError } from "../errors.ts";
import { openSenders } from "../outbound/senders.ts";
import { relayAddress } from "../settings/outbound-kinds.ts";
import type { Settings } from "../settings/table.ts";
import { bad, type Check, good } from "./check.ts";

/** Says where mail for other domains goes; never a password. */
export function wayOut({ outbound, relay }: Pick<Settings, "outbound" | "relay">): string {
  if (outbound === "capture") return "captured, never sent";
  if (outbound === "direct") return "sent to the hosts of each domain";
  return relay === undefined ? "sent by a relay" : `sent by the relay ${relayAddress.show(relay)}`;
}

/** Whether mail out could start with these settings. Connects nowhere. */
export async function checkMailOut(settings: Settings): Promise<Check> {
  try {
    await using _ = openSenders({ settings, captured: dataDirectoryAt(settings.data).captured });
    return good("Mail out", wayOut(settings));
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return bad("Mail out", error.message, "See docs/guides/relay-or-direct.md.");
  }
}
