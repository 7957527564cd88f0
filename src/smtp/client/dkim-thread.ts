/** The thread that dkim.ts starts: a request is a message, the answer its DKIM-Signature field. */
import { buffer } from "node:stream/consumers";
import DKIM from "nodemailer/lib/dkim";
import { threadServer } from "../../system/index.ts";
import type { DkimProtocol } from "./dkim.ts";

const thread = threadServer<DkimProtocol>();
const { domain, selector, privateKey } = thread.options;
const signer = new DKIM({ domainName: domain, keySelector: selector, privateKey });

thread.serve(({ request, answer, fail }) => {
  fieldOf(Buffer.from(request.buffer, request.byteOffset, request.length)).then(answer, fail);
});

async function fieldOf(bytes: Buffer): Promise<string> {
  const signed = await buffer(signer.sign(bytes));
  const field = signed
    .subarray(0, signed.length - bytes.length)
    .toString("latin1")
    .trimEnd();
  // nodemailer gives no error for a key that cannot be used, only no signature.
  if (/^DKIM-Signature:/i.test(field)) return field;
  throw new Error("the private key gives no signature");
}
