/**
 * What the batcher uses of its platform, so that one build runs in Node, Deno, Bun and browsers.
 *
 * No module is imported: a bundler has to resolve a `node:` specifier even where it is never used.
 * Async context is optional; the macrotask and the warning have fallbacks with the same meaning.
 */

type Callback = () => void;

/** The globals that not every platform has. */
interface Platform {
  readonly process?: {
    nextTick?(callback: Callback): void;
    emitWarning?(warning: Error): void;
    getBuiltinModule?(name: string): unknown;
  };
  setImmediate?(callback: Callback): unknown;
  readonly MessageChannel?: new () => {
    readonly port1: Port & { addEventListener(type: "message", listener: Callback): void };
    readonly port2: Port;
  };
}

interface Port {
  start(): void;
  postMessage(message: unknown): void;
  /** Whether an open port keeps the program running; browsers have neither. */
  ref?(): void;
  unref?(): void;
}

/** Calls a function in the async context that was captured. */
type RunInContext = <Arguments extends unknown[], Result>(
  body: (...values: Arguments) => Result,
  ...values: Arguments
) => Result;

const platform: Platform = globalThis;
const { process } = platform;

const asyncHooks = builtin<{ AsyncLocalStorage?: { snapshot?(): RunInContext } }>(
  "node:async_hooks",
);

/** Captures the async context of the caller; without one on this platform, calls go through. */
export function captureOwnContext(): RunInContext {
  return asyncHooks?.AsyncLocalStorage?.snapshot?.() ?? ((body, ...values) => body(...values));
}

/** Runs `callback` in the next turn of the event loop, behind the I/O of this one. */
export const inNextTurn: (callback: Callback) => unknown = chooseNextTurn();

/** Runs `callback` behind the promise reactions that are due now and those they cause. */
export const afterReactions: (callback: Callback) => unknown = process?.nextTick
  ? (callback) => process.nextTick?.(callback)
  : inNextTurn;

export function emitWarning(warning: Error): void {
  if (process?.emitWarning) process.emitWarning(warning);
  else console.warn(warning);
}

function builtin<Module>(name: string): Module | undefined {
  return process?.getBuiltinModule?.(name) as Module | undefined;
}

/** Timers come last: browsers clamp nested ones to 4 ms, and to a second in a background tab. */
function chooseNextTurn(): (callback: Callback) => unknown {
  // Read at each call, so that a test can replace it.
  if (platform.setImmediate) return (callback) => platform.setImmediate?.(callback);
  // Deno before 2.4 has it as a module only.
  const timers = builtin<{ setImmediate(callback: Callback): unknown }>("node:timers");
  if (timers) return (callback) => timers.setImmediate(callback);
  if (platform.MessageChannel) return byMessage(platform.MessageChannel);
  return (callback) => setTimeout(callback, 0);
}

/**
 * Runs callbacks as message events. A pending one keeps the program running, like a pending
 * immediate in Node; an idle port does not.
 */
function byMessage(Channel: NonNullable<Platform["MessageChannel"]>): (callback: Callback) => void {
  const pending: Callback[] = [];
  let channel: InstanceType<typeof Channel> | undefined;
  return (callback) => {
    channel ??= open();
    if (pending.length === 0) channel.port1.ref?.();
    pending.push(callback);
    channel.port2.postMessage(undefined);
  };

  function open(): InstanceType<typeof Channel> {
    const opened = new Channel();
    opened.port1.addEventListener("message", () => {
      const callback = pending.shift();
      if (pending.length === 0) opened.port1.unref?.();
      callback?.();
    });
    opened.port1.start();
    return opened;
  }
}
