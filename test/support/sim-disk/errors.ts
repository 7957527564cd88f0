/** The errors a simulated disk throws: those of a system call, and its own end. */

/** What is thrown when there is no disk, or no process, any more. */
export class Gone extends Error {
  override readonly name = "Gone";
}

/** Makes the error Node would have made. */
export function errnoError(code: string, syscall: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: simulated, ${syscall} '${path}'`), {
    code,
    syscall,
    path,
  });
}
