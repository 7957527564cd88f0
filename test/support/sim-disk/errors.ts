/** The errors of a simulated disk: those of system calls, and of calls after the end. */

/** Thrown once the power is cut or the process killed. */
export class Gone extends Error {
  override readonly name = "Gone";
}

/** Makes an error of a system call, as Node does. */
export function errnoError(code: string, syscall: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: simulated, ${syscall} '${path}'`), {
    code,
    syscall,
    path,
  });
}
