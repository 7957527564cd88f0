/** The check of `doctor` that the settings for mail to other domains fit together. */
import { dataDirectoryAt } from "../data-directory.ts";
import { AppError } from "../errors.ts";
import { openSenders } from "../outbound/senders.ts";
import { describeOutbound } from "../settings/describe.ts";
import type { Settings } from "../settings/table.ts";
import { bad, type Check, good } from "./check.ts";

/** Opens and closes the senders of these settings; no connection is made. */
export async function checkOutbound(settings: Settings): Promise<Check> {
  try {
    await using _ = openSenders({ settings, captured: dataDirectoryAt(settings.data).captured });
    return good("Outbound mail", describeOutbound(settings));
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return bad("Outbound mail", error.message, "See docs/guides/relay-or-direct.md.");
  }
}
