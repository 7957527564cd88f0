/** The linked list, compared with an array. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Linked, List } from "./list.ts";

class Letter implements Linked<Letter> {
  list: List<Letter> | undefined = undefined;
  previous: Letter | undefined = undefined;
  next: Letter | undefined = undefined;
}

function contents(list: List<Letter>): Letter[] {
  const letters: Letter[] = [];
  for (let letter = list.first; letter; letter = letter.next) letters.push(letter);
  return letters;
}

test("a list behaves like an array", () => {
  const action = fc.oneof(
    fc.constant("push" as const),
    fc.constant("shift" as const),
    fc.nat(10).map((index) => ({ index })),
  );
  fc.assert(
    fc.property(fc.array(action), (actions) => {
      const list = new List<Letter>();
      let array: Letter[] = [];
      for (const step of actions) {
        if (step === "push") {
          array.push(new Letter());
          list.push(array.at(-1) as Letter);
        } else if (step === "shift") {
          assert.equal(list.shift(), array.shift());
        } else {
          const letter = array[step.index];
          if (letter) list.remove(letter);
          array = array.filter((other) => other !== letter);
        }
        assert.deepEqual(contents(list), array);
        assert.equal(list.size, array.length);
        assert.equal(list.last, array.at(-1));
      }
    }),
  );
});

test("a removed member references no other", () => {
  const list = new List<Letter>();
  const letters = [new Letter(), new Letter(), new Letter()];
  for (const letter of letters) list.push(letter);
  const [, middle] = letters;
  list.remove(middle as Letter);
  assert.deepEqual({ ...middle }, { list: undefined, previous: undefined, next: undefined });
});

test("removing a member from a list that does not contain it changes nothing", () => {
  const [here, elsewhere] = [new List<Letter>(), new List<Letter>()];
  const letter = new Letter();
  here.push(letter);
  elsewhere.remove(letter);
  assert.equal(here.first, letter);
  assert.equal(elsewhere.size, 0);
});
