/** The rows of the table of settings (table.ts) about mail for other domains. */
import { file, hostName, oneOf, wholeNumber } from "./kinds.ts";
import { nameServers, networks, relayAddress, storeAddress, tcpPort } from "./outbound-kinds.ts";
import { setting } from "./setting.ts";

const dayMs = 24 * 60 * 60 * 1_000;

export const outboundSettings = {
  outbound: setting("outbound", oneOf("capture", "relay", "direct"), "capture", {
    doc: "Mail for other domains: captured and never sent, sent by a relay, or to its hosts.",
    isEveryday: true,
  }),
  relay: setting("outbound", relayAddress, undefined, {
    doc: "Relay for --outbound relay: smtp[s]://[USER@]HOST[:PORT].",
    otherwise: "none",
    isEveryday: true,
  }),
  relayPasswordFile: setting("outbound", file, undefined, {
    doc: "File with the password of the relay's user.",
    otherwise: "none",
    isEveryday: true,
  }),
  relayFrom: setting("outbound", networks, undefined, {
    doc: "Clients that may submit mail for other domains by SMTP.",
    otherwise: "this machine while SMTP listens on loopback only, else off",
  }),
  nameServers: setting("outbound", nameServers, undefined, {
    doc: "DNS servers that direct delivery asks for the hosts of a domain.",
    otherwise: "those of this machine",
  }),
  directPort: setting("outbound", tcpPort, 25, {
    doc: "Port of the hosts of a domain, for direct delivery.",
  }),
  privateHosts: setting("outbound", oneOf("refuse", "use"), "refuse", {
    doc: "Whether direct delivery uses hosts on a private network or on this machine.",
  }),
  store: setting("outbound", storeAddress, undefined, {
    doc: "Outbox: an SQLite file, or a postgres:// URL that several machines share.",
    otherwise: "outbox.db in the data folder",
    isEveryday: true,
  }),
  expireAfterMs: setting("outbound", wholeNumber(1, "MS"), 5 * dayMs, {
    otherwise: "432000000, 5 days",
    doc: "Age at which unsent mail becomes a dead letter.",
  }),
  retry: setting("outbound", oneOf("mta", "reference"), "mta", {
    doc: "Pauses between attempts: 5 minutes to 3 hours, or 5 seconds to 1 hour.",
  }),
  maxAttempts: setting("outbound", wholeNumber(1), undefined, {
    doc: "Attempts after which mail becomes a dead letter.",
    otherwise: "any number, until expireAfterMs",
  }),
  doubt: setting("outbound", oneOf("resend", "hold"), "resend", {
    doc: "Mail that may have been sent: send it again, or hold it for postbag outbox resolve.",
  }),
  concurrency: setting("outbound", wholeNumber(1), 100, { doc: "Deliveries sent at a time." }),
  routeConnections: setting("outbound", wholeNumber(1), undefined, {
    doc: "Connections to the relay, or to the hosts of one domain.",
    otherwise: "10 to a relay, 3 to a domain",
  }),
  messagesPerConnection: setting("outbound", wholeNumber(1), 100, {
    doc: "Messages after which a connection is replaced.",
  }),
  leaseMs: setting("outbound", wholeNumber(1_000, "MS"), 60_000, {
    doc: "Time after which another worker takes over the mail of a crashed worker.",
  }),
  dkimDomain: setting("outbound", hostName, undefined, {
    doc: "Domain that signs outgoing mail with DKIM.",
    otherwise: "none, mail is not signed",
  }),
  dkimSelector: setting("outbound", hostName, undefined, {
    doc: "DKIM selector: the public key is at SELECTOR._domainkey.DOMAIN.",
    otherwise: "none",
  }),
  dkimKeyFile: setting("outbound", file, undefined, {
    doc: "File with the private RSA key for DKIM, in PEM.",
    otherwise: "none",
  }),
} as const;
