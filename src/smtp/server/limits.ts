/** The limits of a mail server: one for every number that a client can make grow. */

export interface SmtpLimits {
  /** Bytes of a message, announced as SIZE; a larger one gets `552 5.3.4`. @defaultValue 50 MiB */
  readonly maxMessageBytes: number;
  /** Recipients of one message; the next one gets `452 4.5.3`. @defaultValue 1,000 */
  readonly maxRecipients: number;
  /** Open sessions; the next client gets `421 4.7.0`. @defaultValue 1,000 */
  readonly maxConnections: number;
  /**
   * Open sessions from one IP address, loopback excepted; the next gets `421 4.7.0`.
   *
   * @defaultValue 50
   */
  readonly maxConnectionsPerIp: number;
  /** Wait for a whole command, in milliseconds; then `421 4.4.2`. @defaultValue 300,000 */
  readonly commandTimeoutMs: number;
  /** Time from `354` to the final dot, in milliseconds; then `421 4.4.2`. @defaultValue 600,000 */
  readonly dataTimeoutMs: number;
  /**
   * Wait until `deliver` admits a message, in milliseconds. After it the signal of `deliver`
   * aborts. Recipients that `deliver` then defers, or all if it rejects, get `452 4.3.1`.
   * @defaultValue 5,000
   */
  readonly admissionTimeoutMs: number;
  /** Bytes of one message held in memory; a larger one goes to a spool file. @defaultValue 1 MiB */
  readonly maxMemoryMessageBytes: number;
  /** Bytes of all messages held in memory; past it spool files are used. @defaultValue 64 MiB */
  readonly maxMemoryBytes: number;
  /** Bytes of a command line; a longer one gets `421 4.5.2`. @defaultValue 2,048 */
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
