/**
 * A doubly linked list whose links live in its members.
 *
 * It is the queue of a key, the ring of runnable keys and the line of waiting adds. All three need
 * first-in-first-out order and removal of any member in constant time, without a reference to a
 * removed member. Invariant: a member is in at most one list, and its `list` says which.
 */
export interface Linked<Self extends Linked<Self>> {
  list: List<Self> | undefined;
  previous: Self | undefined;
  next: Self | undefined;
}

export class List<Member extends Linked<Member>> {
  size = 0;
  first: Member | undefined = undefined;
  last: Member | undefined = undefined;

  /** Appends a member that is in no list. */
  push(member: Member): void {
    member.list = this;
    member.previous = this.last;
    if (this.last) this.last.next = member;
    else this.first = member;
    this.last = member;
    this.size += 1;
  }

  /** Removes and returns the first member. */
  shift(): Member | undefined {
    const { first } = this;
    if (first) this.remove(first);
    return first;
  }

  /** Removes a member; one that is not in this list stays where it is. */
  remove(member: Member): void {
    if (member.list !== this) return;
    const { previous, next } = member;
    if (previous) previous.next = next;
    else this.first = next;
    if (next) next.previous = previous;
    else this.last = previous;
    member.list = undefined;
    member.previous = undefined;
    member.next = undefined;
    this.size -= 1;
  }
}
