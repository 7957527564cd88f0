/**
 * Lists of rows as parameters of statements on leases: one array per column, which the server turns
 * into rows with `unnest`. The server parses arrays several times faster than JSON.
 *
 * @see https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
 */

/** SQL types by column name, in the order of the parameters; `json` is stored as text. */
export type Columns = Readonly<Record<string, keyof typeof literals>>;

type Value = string | number | boolean | object | null | undefined;
type RowOf<C extends Columns> = { readonly [name in keyof C]?: Value };

/** The literal of a value of each type inside an array. */
const literals = {
  integer: String,
  smallint: String,
  bigint: String,
  boolean: String,
  text: (value: Value) => `"${String(value).replace(/["\\]/g, "\\$&")}"`,
  // A string needs the same escapes in an array as in JSON, so JSON escapes it.
  json: (value: Value) => JSON.stringify(JSON.stringify(value)),
};

/** Makes `unnest($1::…, $2::…) as name (…)`. */
export function unnest(name: string, columns: Columns): string {
  const types = Object.values(columns).map((type) => (type === "json" ? "text" : type));
  const parameters = types.map((type, index) => `$${1 + index}::${type}[]`);
  return `unnest(${parameters.join(", ")}) as ${name} (${Object.keys(columns).join(", ")})`;
}

/** Makes the parameters for {@link unnest}. */
export function arraysOf<C extends Columns>(columns: C, rows: readonly RowOf<C>[]): string[] {
  return Object.entries(columns).map(([column, type]) => {
    const literal = literals[type];
    let list = "";
    for (const row of rows) {
      const value = row[column];
      list += value == null ? ",null" : `,${literal(value)}`;
    }
    return `{${list.slice(1)}}`;
  });
}

/**
 * Makes `column = value` in a form that the server can only look up in the index of the column, row
 * by row: the server can neither hash nor merge by this form.
 */
export function isOne(column: string, value: string): string {
  return `${column} = any (array[${value}])`;
}
