/** Keeps errors of a caller's listener out of the work that it listens to. */

/** Wraps a listener: an error that it throws becomes a warning of the process. */
export function guarded<Event>(
  listener: ((event: Event) => void) | undefined,
): (event: Event) => void {
  if (listener === undefined) return () => undefined;
  return (event) => {
    try {
      listener(event);
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  };
}
