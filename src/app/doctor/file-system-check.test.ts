import assert from "node:assert/strict";
import { test } from "node:test";
import { judge, mountOf } from "./file-system-check.ts";

const table = `
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 22 0:25 / /tmp rw,nosuid - tmpfs tmpfs rw,size=1g
31 30 254:1 / /tmp/my\\040disk rw - xfs /dev/vdb rw,attr2
32 22 254:2 / /tmpfiles rw - btrfs /dev/vdc rw
`;

test("a folder belongs to the longest mount point that matches whole names of its path", () => {
  assert.equal(mountOf("/etc", table)?.type, "ext4");
  assert.equal(mountOf("/tmp/none/such", table)?.type, "tmpfs");
  assert.equal(mountOf("/tmp", table)?.type, "tmpfs");
  assert.equal(mountOf("/", table)?.type, "ext4");
});

test("of two mounts at one mount point the later line of the mount table counts", () => {
  const covered = `${table}40 22 254:3 / / rw - xfs /dev/vdd rw\n`;
  assert.equal(mountOf("/etc", covered)?.type, "xfs");
});

const mount = (type: string, ...options: string[]) =>
  judge({ mountPoint: "/mail", type, options: ["rw", ...options] });

test("ext4, XFS and Btrfs are safe", () => {
  for (const type of ["ext4", "xfs", "btrfs"]) assert.equal(mount(type).kind, "safe", type);
});

test("file systems that lose mail in a power cut are unsafe, with advice", () => {
  for (const type of ["tmpfs", "ramfs", "nfs4", "fuse.sshfs", "fuseblk", "cifs", "9p"]) {
    const verdict = mount(type);
    assert.equal(verdict.kind, "unsafe", type);
    assert.match(verdict.text, /Keep mail on a local ext4, XFS or btrfs/);
  }
  assert.equal(mount("overlay", "volatile").kind, "unsafe");
});

test("mount options that weaken a flush are doubtful, with advice", () => {
  assert.match(mount("ext4", "nobarrier").text, /without barriers/);
  assert.match(mount("ext4", "barrier=0").text, /without barriers/);
  assert.match(mount("ext4", "data=writeback").text, /data=ordered/);
  assert.equal(mount("overlay").kind, "doubtful");
  assert.equal(mount("zfs").kind, "doubtful");
});
