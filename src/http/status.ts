/** The values that the status app shows, supplied by the caller. */

export interface Health {
  readonly ready: boolean;
  /** Why it is not ready, for a person; shown only to this machine. */
  readonly reason?: string | undefined;
}

export interface Status {
  readonly version: string;
  readonly hostname: string;
  readonly startedAt: Date;
  /** Name of the protocol and its address, such as `["SMTP", "127.0.0.1:2525"]`. */
  readonly listeners: readonly (readonly [protocol: string, address: string])[];
  readonly domains: readonly string[];
  readonly mailboxes: "create" | "existing";
  readonly health: Health;
  /** Figures since the start, each with its name, formatted for people. */
  readonly figures: readonly (readonly [name: string, value: string])[];
}

/** Supplies the values; the status app calls it anew for each request. */
export interface StatusSource {
  readonly health: () => Promise<Health>;
  readonly status: () => Promise<Status>;
  /** The metrics in the Prometheus text format. */
  readonly metrics: () => Promise<string>;
}
