/**
 * Finds the sender of a route (a domain, or the relay's address) for the worker in outbound.ts. A
 * domain of this server goes to its mailboxes. Every other route goes where the setting `outbound`
 * of this process says: the captured folder, the relay, or the mail hosts of the domain.
 */
import { readFileSync } from "node:fs";
import { hostname as machineName } from "node:os";
import {
  type Deliver,
  MessageIntake,
  messageFromBytes,
  normaliseDomain,
} from "../../mail/index.ts";
import { captureMail } from "../../outbox/index.ts";
import {
  type ClientOptions,
  type DirectClientOptions,
  type DkimKey,
  directClient,
  relayClient,
  type SessionTarget,
  type SmtpClient,
} from "../../smtp/index.ts";
import { AppError } from "../errors.ts";
import { isLoopback } from "../settings/kinds.ts";
import type { RelayAddress } from "../settings/outbound-kinds.ts";
import type { Settings } from "../settings/table.ts";
import { ownDomains } from "./open-outbox.ts";

export interface Senders extends AsyncDisposable {
  /** Returns the function that sends mail on a route; the worker calls it for each delivery. */
  readonly senderOf: (route: string) => Deliver;
}

export interface SendersOptions {
  readonly settings: Settings;
  /** The folder for captured mail. */
  readonly captured: string;
  /**
   * Delivers into the mailboxes of this server. Without it the worker must be given the domains of
   * this server as `exceptRoutes`, so that it does not send their mail elsewhere.
   */
  readonly local?: Deliver | undefined;
}

/**
 * Opens the senders; a connection is made with the first mail.
 *
 * @throws {AppError} `ERR_APP_SETTING_INVALID` for settings that contradict each other,
 *   `ERR_APP_CONFIG_FILE` for a password or key file that cannot be read.
 */
export function openSenders({ settings, captured, local }: SendersOptions): Senders {
  const ours = new Set(local ? ownDomains(settings) : []);
  const client = openClient(settings);
  const beyond = client?.deliver ?? captureMail({ folder: captured });
  const here = local && inStoredForm(local, settings.storedLineEndings);
  return {
    senderOf: (route) => (here && ours.has(route) ? here : beyond),
    [Symbol.asyncDispose]: async () => client?.close(),
  };
}

function openClient(settings: Settings): SmtpClient | undefined {
  const { outbound, relay, routeConnections, messagesPerConnection } = settings;
  if (outbound === "capture") return undefined;
  const dkim = dkimOf(settings);
  const options: ClientOptions = {
    name: settings.hostname ?? normaliseDomain(machineName()) ?? "localhost",
    maxMessagesPerConnection: messagesPerConnection,
    maxConnections: routeConnections,
    dkim,
  };
  if (outbound === "direct") return directClient({ ...options, ...directOf(settings) });
  if (relay !== undefined) return relayClient({ ...options, relay: targetOf(relay, settings) });
  throw invalid("outbound relay needs the address of a relay, such as --relay smtp://HOST:PORT");
}

function directOf({ nameServers, directPort, privateHosts }: Settings): DirectClientOptions {
  return {
    nameServers,
    port: directPort,
    allowPrivateAddresses: privateHosts === "use",
  };
}

/**
 * The relay as the target of the SMTP client. A password is sent only over TLS with a valid
 * certificate, except to a relay on loopback.
 */
export function targetOf(relay: RelayAddress, { relayPasswordFile }: Settings): SessionTarget {
  const { host, port, implicitTls, user } = relay;
  const password = relayPasswordFile === undefined ? relay.password : secretIn(relayPasswordFile);
  if (password !== undefined && user === undefined) {
    throw invalid("relayPasswordFile needs a user: --relay smtp://USER@HOST:PORT");
  }
  if (user !== undefined && password === undefined) {
    throw invalid(`relay names the user ${user} without a password; give it in relayPasswordFile`);
  }
  const mustEncrypt = password !== undefined && !isLoopback({ host, port });
  return {
    host,
    port,
    tls: implicitTls ? "implicit" : mustEncrypt ? "required" : "opportunistic",
    ...(user !== undefined && password !== undefined && { auth: { user, pass: password } }),
  };
}

function dkimOf({ dkimDomain, dkimSelector, dkimKeyFile }: Settings): DkimKey | undefined {
  if (dkimDomain === undefined && dkimSelector === undefined && dkimKeyFile === undefined) {
    return undefined;
  }
  if (dkimDomain === undefined || dkimSelector === undefined || dkimKeyFile === undefined) {
    throw invalid("dkimDomain, dkimSelector and dkimKeyFile belong together; give all three");
  }
  return { domain: dkimDomain, selector: dkimSelector, privateKey: secretIn(dkimKeyFile) };
}

function secretIn(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (cause) {
    throw new AppError("ERR_APP_CONFIG_FILE", `Cannot read ${file}: ${cause}`, { cause });
  }
}

function invalid(text: string): AppError {
  return new AppError("ERR_APP_SETTING_INVALID", text);
}

/** Converts mail from the CRLF of the outbox to the line endings of the mailboxes. */
function inStoredForm(local: Deliver, lineEndings: "lf" | "crlf"): Deliver {
  return async (envelope, message, { beforeCommit, ...options }) => {
    const intake = new MessageIntake({ lineEndings, bareNewlines: "normalise" });
    const bytes = Buffer.concat([intake.push(await message.bytes()), intake.end()]);
    await beforeCommit?.();
    return local(envelope, messageFromBytes(bytes), options);
  };
}
