/** The part of the table of settings that is about mail out. */

import { file, hostName, oneOf, wholeNumber } from "./kinds.ts";
import { nameServers, networks, relayAddress, storeAddress, tcpPort } from "./outbound-kinds.ts";
import { setting } from "./setting.ts";

const day = 24 * 60 * 60 * 1_000;

export const outboundSettings = {
  outbound: setting(
    "outbound",
    oneOf("capture", "relay", "direct"),
    "capture",
    "What becomes of mail for other domains: kept and never sent, sent by a relay, or to its own hosts.",
  ),
  relay: setting(
    "outbound",
    relayAddress,
    undefined,
    "The server that passes mail on, with --outbound relay.",
    "none",
  ),
  relayPasswordFile: setting(
    "outbound",
    file,
    undefined,
    "File with the relay's password, instead of one in its address.",
    "none",
  ),
  relayFrom: setting(
    "outbound",
    networks,
    undefined,
    "Clients whose mail for other domains is taken by SMTP.",
    "those on this machine while SMTP listens on loopback only, else off",
  ),
  nameServers: setting(
    "outbound",
    nameServers,
    undefined,
    "Name servers that are asked for the hosts of a domain, with --outbound direct.",
    "those of this machine",
  ),
  directPort: setting(
    "outbound",
    tcpPort,
    25,
    "Port of the hosts of a domain, with --outbound direct.",
  ),
  privateHosts: setting(
    "outbound",
    oneOf("refuse", "use"),
    "refuse",
    "Hosts of a domain that are on a private network or this machine, with --outbound direct.",
  ),
  store: setting(
    "outbound",
    storeAddress,
    undefined,
    "Where the outbox is kept: a file, or a PostgreSQL database that several machines share.",
    "outbox.db in the data folder",
  ),
  expireAfterMs: setting(
    "outbound",
    wholeNumber(1, "MS"),
    5 * day,
    "How long mail is tried before it becomes a dead letter.",
  ),
  retry: setting(
    "outbound",
    oneOf("mta", "reference"),
    "mta",
    "Pauses between attempts: 5 minutes to 3 hours, or 5 seconds to 1 hour.",
  ),
  maxAttempts: setting(
    "outbound",
    wholeNumber(1),
    undefined,
    "Attempts before mail becomes a dead letter.",
    "any number, until expireAfterMs",
  ),
  doubt: setting(
    "outbound",
    oneOf("resend", "hold"),
    "resend",
    "Mail of which nobody knows whether it was sent: sent again, or held for postbag outbox resolve.",
  ),
  concurrency: setting("outbound", wholeNumber(1), 100, "Deliveries under way at a time."),
  routeConnections: setting(
    "outbound",
    wholeNumber(1),
    undefined,
    "Connections to the relay, or to the hosts of one domain.",
    "10 to a relay, 3 to a domain",
  ),
  messagesPerConnection: setting(
    "outbound",
    wholeNumber(1),
    100,
    "Messages after which a connection is replaced.",
  ),
  leaseMs: setting(
    "outbound",
    wholeNumber(1_000, "MS"),
    60_000,
    "How long mail in the hands of a worker that vanished waits for another.",
  ),
  dkimDomain: setting(
    "outbound",
    hostName,
    undefined,
    "Domain that signs outgoing mail with DKIM.",
    "none, and mail is not signed",
  ),
  dkimSelector: setting(
    "outbound",
    hostName,
    undefined,
    "Selector of the DKIM key: the public key is at SELECTOR._domainkey.DOMAIN.",
    "none",
  ),
  dkimKeyFile: setting(
    "outbound",
    file,
    undefined,
    "File with the private RSA key for DKIM, in PEM.",
    "none",
  ),
} as const;
