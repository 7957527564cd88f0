/**
 * Finds the sender for a route of the outbox: the mailboxes here, and for other domains the
 * captured folder, the relay, or the hosts of the domain, as the setting `outbound` says at that
 * moment.
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
  /** Finds the function that sends mail on a route. */
  readonly senderOf: (route: string) => Deliver;
}

export interface SendersOptions {
  readonly settings: Settings;
  /** The folder for captured mail. */
  readonly captured: string;
  /** Delivers into the mailboxes here; without it the worker must leave those routes out. */
  readonly local?: Deliver | undefined;
}

/**
 * Opens the senders. They connect when there is mail.
 *
 * @throws {AppError} `ERR_APP_SETTING_INVALID` or `ERR_APP_CONFIG_FILE` for settings that do not
 *   fit.
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

/** The relay as a target. Its password needs TLS with a valid certificate, except on loopback. */
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

/** Mail in the outbox has CRLF; mailboxes have the line endings of `storedLineEndings`. */
function inStoredForm(local: Deliver, lineEndings: "lf" | "crlf"): Deliver {
  return async (envelope, message, { beforeCommit, ...options }) => {
    const intake = new MessageIntake({ lineEndings, bareNewlines: "normalise" });
    const bytes = Buffer.concat([intake.push(await message.bytes()), intake.end()]);
    await beforeCommit?.();
    return local(envelope, messageFromBytes(bytes), options);
  };
}
