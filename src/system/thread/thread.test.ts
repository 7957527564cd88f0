/** Both ends of a worker thread together: each test runs a small thread of its own. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import type { ErrorFacts } from "./error-facts.ts";
import { errorOf, factsOf } from "./error-facts.ts";
import {
  type NoAnswer,
  ThreadClient,
  type ThreadClientOptions,
  type ThreadProtocol,
  threadEntry,
} from "./thread-client.ts";

interface TestProtocol extends ThreadProtocol {
  readonly options: string;
  readonly started: string;
  readonly request: string | Uint8Array;
  readonly answer: unknown;
  readonly event: string;
}

class RoomError extends Error {
  override readonly name = "RoomError";
  readonly reason: NoAnswer;

  constructor(reason: NoAnswer, cause: unknown) {
    super(reason, { cause });
    this.reason = reason;
  }
}

const serverUrl = new URL("./thread-server.ts", import.meta.url).href;

/** A thread of this source, in which `thread` is its server. */
function entryOf(source: string): URL {
  const program = `import { threadServer } from ${JSON.stringify(serverUrl)};
    const thread = threadServer();
    ${source}`;
  return new URL(`data:text/javascript,${encodeURIComponent(program)}`);
}

function start(source: string, options: Partial<ThreadClientOptions<TestProtocol>> = {}) {
  return new ThreadClient<TestProtocol>({
    name: "test",
    entry: entryOf(source),
    options: "an option",
    errorFor: (reason, cause) => new RoomError(reason, cause),
    ...options,
  });
}

test("each request gets its own answer, in whatever order the thread answers", async () => {
  const thread = start(`
    const calls = [];
    thread.serve((call) => {
      calls.push(call);
      if (calls.length === 3) for (const call of calls.reverse()) call.answer("re " + call.request);
    });
    thread.started("with " + thread.options);`);
  assert.equal(await thread.started(), "with an option");
  const answers = await Promise.all(["a", "b", "c"].map((request) => thread.ask(request)));
  assert.deepEqual(answers, ["re a", "re b", "re c"]);
  await thread.close();
});

test("a buffer is transferred both ways without a copy", async () => {
  const thread = start(`
    thread.serve((call) => {
      const { buffer } = call.request;
      call.answer(buffer, [buffer]);
    });`);
  const bytes = new Uint8Array([1, 2, 3]);
  const answered = thread.ask(bytes, [bytes.buffer]);
  assert.equal(bytes.length, 0, "the caller's buffer is gone");
  assert.deepEqual(new Uint8Array((await answered) as ArrayBuffer), new Uint8Array([1, 2, 3]));
  await thread.terminate();
});

test("answers and events are reported in the order of the thread's messages", async () => {
  const order: unknown[] = [];
  const thread = start(
    `thread.serve((call) => {
      thread.post("before");
      call.answer("answer");
      thread.post("after");
      call.request === "last" && thread.post("end");
    });`,
    { onAnswer: (answer) => order.push(answer), onEvent: (event) => order.push(event) },
  );
  await thread.ask("last");
  await thread.close();
  assert.deepEqual(order, ["before", "answer", "after", "end"]);
});

test("a failed request rejects alone, as the room's error with the original as its cause", async () => {
  const thread = start(`
    thread.serve((call) => {
      if (call.request !== "bad") return call.answer("good");
      call.fail(Object.assign(new TypeError("no"), { code: "EIO", errno: -5, cause: new Error("why") }));
    });`);
  const bad = thread.ask("bad").catch((error: unknown) => error);
  assert.equal(await thread.ask("fine"), "good");
  const error = (await bad) as RoomError;
  assert.equal(error.reason, "failed");
  const { name, message, code, errno, cause } = error.cause as NodeJS.ErrnoException;
  assert.deepEqual([name, message, code, errno], ["TypeError", "no", "EIO", -5]);
  assert.equal((cause as Error).message, "why");
  await thread.close();
});

test("a dead thread is reported, then rejects its requests as lost and new ones as gone", async () => {
  const order: string[] = [];
  const thread = start(`thread.serve(() => process.exit(7));`, {
    onDeath: (cause) => order.push((cause as Error).message),
  });
  const asked = ["a", "b"].map((request) =>
    thread.ask(request).catch((error: RoomError) => {
      order.push(error.reason);
      assert.match(String(error.cause), /the thread test ended with code 7/);
    }),
  );
  await Promise.all(asked);
  assert.deepEqual(order, ["the thread test ended with code 7", "lost", "lost"]);
  assert.equal(thread.hasDied, true);
  await assert.rejects(thread.ask("c"), { reason: "gone" });
  await thread.close();
});

test("an uncaught error in the thread is the cause of its death", async () => {
  const deaths: unknown[] = [];
  const thread = start(`thread.serve(() => { throw new Error("unforeseen"); });`, {
    onDeath: (cause) => deaths.push(cause),
  });
  await assert.rejects(thread.ask("a"), (error: RoomError) => {
    assert.match(String(error.cause), /unforeseen/);
    return error.reason === "lost";
  });
  assert.equal(deaths.length, 1);
});

test("a thread that cannot start reports its error; its end is not a death", async () => {
  const thread = start(
    `thread.notStarted(Object.assign(new Error("locked"), { code: "EAGAIN" }));`,
    {
      onDeath: () => assert.fail("it was not asked to live"),
    },
  );
  await assert.rejects(thread.started(), (error: RoomError) => {
    assert.equal((error.cause as NodeJS.ErrnoException).code, "EAGAIN");
    return error.reason === "not started";
  });
  await assert.rejects(thread.ask("a"), { reason: "gone" });
  await thread.close();
});

test("a thread that ends before it is ready rejects the start with its error", async () => {
  const deaths: unknown[] = [];
  const thread = start(`throw new Error("no such module");`, {
    onDeath: (cause) => deaths.push(cause),
  });
  await assert.rejects(thread.started(), /no such module/);
  assert.equal(deaths.length, 1);
});

test("close waits for open requests of the thread; terminate does not", async () => {
  const source = `
    let call;
    thread.serve((next) => { call = next; }, async () => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      call.answer("done");
    });`;
  const closed = start(source);
  const answered = closed.ask("a");
  await Promise.all([closed.close(), closed.close()]);
  assert.equal(await answered, "done");
  const terminated = start(source);
  const asked = assert.rejects(terminated.ask("a"), { reason: "gone" });
  await terminated.terminate();
  await asked;
});

test("close waits until a request that is answered late has its answer", async () => {
  const thread = start(`
    thread.serve(({ request, answer, fail }) => {
      setTimeout(() => request === "good" ? answer("late") : fail(new Error("late too")), 20);
    });`);
  const good = thread.ask("good");
  const failed = assert.rejects(thread.ask("bad"), { reason: "failed" });
  await thread.close();
  assert.equal(await good, "late");
  await failed;
});

test("a thread whose answer cannot be cloned dies of an error that says so", async () => {
  const thread = start(`thread.serve(({ answer }) => answer(() => 1));`);
  await assert.rejects(thread.ask("a"), (error: RoomError) => {
    assert.match(String(error.cause), /cannot post this answer: .* could not be cloned/);
    return error.reason === "lost";
  });
});

test("a handler can take requests that arrived meanwhile, up to a close", async () => {
  const thread = start(`
    thread.serve((first) => {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
      const calls = [first];
      for (let call; (call = thread.next()); ) calls.push(call);
      for (const call of calls) call.answer(calls.length);
    });
    thread.started("");`);
  await thread.started();
  const answers = ["a", "b", "c"].map((request) => thread.ask(request));
  await thread.close();
  const [first, ...others] = await Promise.all(answers);
  assert.ok(first === 1 || first === 3, "the first may have been taken before the others came");
  assert.deepEqual(others, first === 3 ? [3, 3] : [2, 2]);
});

test("an idle thread lets the process end; an open request keeps it alive", async () => {
  const client = new URL("./thread-client.ts", import.meta.url).href;
  const entry = entryOf(`thread.serve(({ answer }) => setTimeout(() => answer("late"), 50));`).href;
  const program = `
    const { ThreadClient } = await import(${JSON.stringify(client)});
    const thread = new ThreadClient({ name: "t", entry: new URL(${JSON.stringify(entry)}) });
    console.log(await thread.ask("a"));`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let printed = "";
  child.stdout.on("data", (chunk) => {
    printed += chunk;
  });
  const [code] = await once(child, "close");
  assert.deepEqual([code, printed], [0, "late\n"]);
});

test("a thread's file lies beside its caller, in the sources and in the package", () => {
  const inSource = threadEntry("./disk-thread.ts", "file:///src/delivery/thread/start.ts");
  assert.equal(inSource.href, "file:///src/delivery/thread/disk-thread.ts");
  const inPackage = threadEntry("./disk-thread.ts", "file:///dist/delivery/thread/start.js");
  assert.equal(inPackage.href, "file:///dist/delivery/thread/disk-thread.js");
});

test("an error keeps its fields and causes as facts, through structured cloning", () => {
  const fields = { code: "ENOSPC", errno: -28, syscall: "write", path: "/a", dest: "/b" };
  const cause = Object.assign(new Error("ENOSPC: no space left on device, write"), fields);
  const facts: ErrorFacts = structuredClone(factsOf(new RangeError("cannot store", { cause })));
  const error = errorOf(facts);
  assert.deepEqual([error.name, error.message], ["RangeError", "cannot store"]);
  const { message, code, errno, syscall, path, dest } = error.cause as typeof cause;
  assert.equal(message, cause.message);
  assert.deepEqual({ code, errno, syscall, path, dest }, fields);
  assert.equal(errorOf(factsOf("a text")).message, "a text");
});

test("facts of any error can be cloned, whatever its code and its causes", () => {
  const error = Object.assign(new Error("a loop"), { code: Symbol("code"), path: () => "a path" });
  error.cause = error;
  let level: Error | undefined = errorOf(structuredClone(factsOf(error)));
  let levels = 0;
  for (; level !== undefined; level = level.cause as Error | undefined) {
    assert.deepEqual([level.message, "code" in level], ["a loop", false]);
    levels += 1;
  }
  assert.equal(levels, 11);
  const { cause } = errorOf(factsOf(new Error("why", { cause: "a text" })));
  assert.equal((cause as Error).message, "a text");
});
