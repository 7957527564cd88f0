import { Batcher, fail } from "postbag/batcher";

await using inserts = new Batcher<"orders", { id: number }, string>({
  // Called with the items that arrived during the last call; one output per item, in order.
  process: async ({ items }) =>
    items.map(({ id }) => (id > 0 ? `order ${id} stored` : fail(new Error(`no order ${id}`)))),
  maxBatchItems: 500,
});

const orders = [1, 2, -3].map((id) => inserts.add("orders", { id }));
for (const order of await Promise.allSettled(orders)) {
  console.log(order.status === "fulfilled" ? order.value : order.reason.message);
}
