/** Certificates for tests, good and bad, made by openssl when they are asked for. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Certificate {
  readonly key: string;
  readonly cert: string;
}

export interface CertificateOptions {
  /** As openssl writes it: `IP:127.0.0.1`, `DNS:mx.example`. */
  readonly subjectAltName: string;
  /** Days it is valid from now; less than none for one that has expired. @defaultValue 2 */
  readonly days?: number;
  /** Signs itself instead of being signed by the authority. @defaultValue false */
  readonly selfSigned?: boolean;
}

/** Why none can be made here, or `undefined` when they can. */
export function whyNoCertificates(): string | undefined {
  return spawnSync("openssl", ["version"]).status === 0 ? undefined : "needs openssl";
}

/** An authority of its own, in a folder of its own until `remove`. */
export function certificateAuthority() {
  const folder = mkdtempSync(join(tmpdir(), "postbag-certificates-"));
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const openssl = (...args: string[]) =>
    execFileSync("openssl", args, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  const text = (file: string) => readFileSync(join(folder, file), "latin1");
  const subject = ["-subj", "/CN=postbag tests"];
  openssl("req", "-x509", ...newKey, ...subject, "-keyout", "ca.key", "-out", "ca.pem");

  return {
    ca: text("ca.pem"),
    issue({ subjectAltName, days = 2, selfSigned = false }: CertificateOptions): Certificate {
      writeFileSync(join(folder, "names"), `subjectAltName=${subjectAltName}\n`);
      openssl("req", ...newKey, "-subj", "/CN=a server", "-keyout", "key", "-out", "request");
      const signer = selfSigned
        ? ["-signkey", "key"]
        : ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
      const terms = ["-days", String(days), "-extfile", "names"];
      openssl("x509", "-req", "-in", "request", ...signer, ...terms, "-out", "certificate");
      return { key: text("key"), cert: text("certificate") };
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
