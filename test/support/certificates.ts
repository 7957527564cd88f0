/** Certificates for tests, valid and invalid, made by openssl when a test needs them. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Certificate {
  readonly key: string;
  readonly cert: string;
}

export interface CertificateOptions {
  /** In the form of openssl: `IP:127.0.0.1`, `DNS:mx.example`. */
  readonly subjectAltName: string;
  /** @defaultValue "a server" */
  readonly commonName?: string;
  /** Days of validity from now; negative for an expired certificate. @defaultValue 2 */
  readonly days?: number;
  /** Whether the certificate is signed by itself instead of the authority. @defaultValue false */
  readonly selfSigned?: boolean;
}

/** Why this machine can make no certificates, or `undefined` if it can. */
export function whyNoCertificates(): string | undefined {
  return spawnSync("openssl", ["version"]).status === 0 ? undefined : "needs openssl";
}

/** Makes a certificate authority in a temporary folder, which `remove` removes. */
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
    issue(options: CertificateOptions): Certificate {
      const { subjectAltName, commonName = "a server", days = 2, selfSigned = false } = options;
      writeFileSync(join(folder, "names"), `subjectAltName=${subjectAltName}\n`);
      openssl("req", ...newKey, "-subj", `/CN=${commonName}`, "-keyout", "key", "-out", "request");
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
