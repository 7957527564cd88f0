/** The values that the status app shows; `app/observe` supplies them. */

export interface Health {
  readonly ready: boolean;
  /** Why the server is not ready, for a person; only a client with access to `/` sees it. */
  readonly reason?: string | undefined;
}

export interface Status {
  readonly version: string;
  readonly hostname: string;
  readonly startedAt: Date;
  /** Name of the protocol and its address, such as `["SMTP", "127.0.0.1:2525"]`. */
  readonly listeners: readonly (readonly [protocol: string, address: string])[];
  /** The domains whose mail the server accepts. */
  readonly domains: readonly string[];
  /** Whether mail for an address without a mailbox creates the mailbox, or gets 550. */
  readonly mailboxes: "create" | "existing";
  readonly health: Health;
  /** Figures since the start, each with its name, formatted for people. */
  readonly figures: readonly (readonly [name: string, value: string])[];
}

/** Supplies the values; the status app calls a function once for each request that needs it. */
export interface StatusSource {
  readonly health: () => Promise<Health>;
  readonly status: () => Promise<Status>;
  /** The metrics in the Prometheus text format. */
  readonly metrics: () => Promise<string>;
}
