/** What the HTTP face knows of the server: plain values, handed in by whoever wires it. */

export interface Health {
  readonly ready: boolean;
  /** Why not, for a person; shown only to this machine. */
  readonly reason?: string;
}

export interface Status {
  readonly version: string;
  readonly hostname: string;
  readonly startedAt: Date;
  /** Name of the protocol and where it listens, such as `["SMTP", "127.0.0.1:2525"]`. */
  readonly listeners: readonly (readonly [protocol: string, address: string])[];
  readonly domains: readonly string[];
  readonly mailboxes: "create" | "existing";
  readonly health: Health;
  /** Figures since the start, each with its name, as they shall be shown. */
  readonly figures: readonly (readonly [name: string, value: string])[];
}

/** The questions the HTTP face asks; every answer is made fresh. */
export interface StatusSource {
  readonly health: () => Promise<Health>;
  readonly status: () => Promise<Status>;
  /** The metrics in the Prometheus text format. */
  readonly metrics: () => Promise<string>;
}
