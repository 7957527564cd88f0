/**
 * The programs that call syncfs(2) for us. Each opens the directory, flushes once to show that it
 * can, and then flushes for every line that it reads, until its input ends.
 */
import type { Helper } from "./helper-line.ts";

/** The system call's number by Node's name of the processor; perl has no function of that name. */
const syncfsNumber: Readonly<Record<string, number>> = { x64: 306, arm64: 267 };

const perlProgram = `
use strict; use Fcntl; $| = 1;
$SIG{$_} = "IGNORE" for qw(INT TERM HUP);
my ($number, $path) = @ARGV;
sysopen(my $directory, $path, O_RDONLY) or do { print $! + 0, "\\n"; exit 1 };
do {
  my $result = syscall($number + 0, fileno($directory));
  print $result == 0 ? 0 : $! + 0, "\\n";
} while (<STDIN>);
`;

const pythonProgram = `
import ctypes, os, signal, sys
for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(s, signal.SIG_IGN)
libc = ctypes.CDLL(None, use_errno=True)
try: directory = os.open(sys.argv[1], os.O_RDONLY)
except OSError as e: print(e.errno, flush=True); sys.exit(1)
while True:
    print(0 if libc.syncfs(directory) == 0 else ctypes.get_errno(), flush=True)
    if not sys.stdin.readline(): break
`;

/** Lists the programs to try on a processor, the lighter one first. */
export function helpersFor(processor: string): readonly Helper[] {
  const number = syncfsNumber[processor];
  const python = { command: "python3", args: ["-c", pythonProgram] };
  if (number === undefined) return [python];
  return [{ command: "perl", args: ["-e", perlProgram, `${number}`] }, python];
}
