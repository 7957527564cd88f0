/** The limits of a mail server: every number that a client can make grow has one here. */

export interface SmtpLimits {
  /** Largest message, announced as SIZE; past it `552 5.3.4`. @defaultValue 50 MiB */
  readonly maxMessageBytes: number;
  /** Most recipients of one message; past it `452 4.5.3`. @defaultValue 1,000 */
  readonly maxRecipients: number;
  /** Most sessions at a time; past it `421 4.7.0`. @defaultValue 1,000 */
  readonly maxConnections: number;
  /** Most sessions from one IP address off loopback; past it `421 4.7.0`. @defaultValue 50 */
  readonly maxConnectionsPerIp: number;
  /** Longest wait for a whole command, in milliseconds; then `421 4.4.2`. @defaultValue 300,000 */
  readonly commandTimeoutMs: number;
  /** Longest time from `354` to the final dot, in milliseconds; then `421 4.4.2`. @defaultValue 600,000 */
  readonly dataTimeoutMs: number;
  /**
   * Longest wait until `deliver` admits a message, in milliseconds; then its signal aborts, and what it
   * refuses after that is answered `452 4.3.1`. @defaultValue 5,000
   */
  readonly admissionTimeoutMs: number;
  /** Largest message held in memory; past it a spool file. @defaultValue 1 MiB */
  readonly maxMemoryMessageBytes: number;
  /** Most octets of all messages held in memory together; past it spool files. @defaultValue 64 MiB */
  readonly maxMemoryBytes: number;
  /** Longest command line in octets; past it `421 4.5.2`. @defaultValue 2,048 */
  readonly maxCommandBytes: number;
}

export const defaultLimits: SmtpLimits = {
  maxMessageBytes: 50 * 1024 * 1024,
  maxRecipients: 1_000,
  maxConnections: 1_000,
  maxConnectionsPerIp: 50,
  commandTimeoutMs: 300_000,
  dataTimeoutMs: 600_000,
  admissionTimeoutMs: 5_000,
  maxMemoryMessageBytes: 1024 * 1024,
  maxMemoryBytes: 64 * 1024 * 1024,
  maxCommandBytes: 2_048,
};
