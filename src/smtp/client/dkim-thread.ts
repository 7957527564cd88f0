/** The thread that signs: a message comes in, its DKIM-Signature field goes out. */
import { buffer } from "node:stream/consumers";
import { parentPort, workerData } from "node:worker_threads";
import DKIM from "nodemailer/lib/dkim";
import type { DkimKey, Signed } from "./dkim.ts";

const { domain, selector, privateKey } = workerData as DkimKey;
const signer = new DKIM({ domainName: domain, keySelector: selector, privateKey });

parentPort?.on("message", async ({ id, bytes }: { id: number; bytes: Uint8Array }) => {
  parentPort?.postMessage(
    await answer(id, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)),
  );
});

async function answer(id: number, bytes: Buffer): Promise<Signed> {
  try {
    const signed = await buffer(signer.sign(bytes));
    const field = signed
      .subarray(0, signed.length - bytes.length)
      .toString("latin1")
      .trimEnd();
    // A key that cannot be used gives no error there, only no signature.
    if (/^DKIM-Signature:/i.test(field)) return { id, field };
    return { id, error: "the private key gives no signature" };
  } catch (error) {
    return { id, error: String(error) };
  }
}
