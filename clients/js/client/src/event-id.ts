// The order of event ids. Idlewild's have the form `<ms>-<seq>` and strictly increase within a log.

/** Whether `id` comes after `last`. Ids of another form have no order: any different id counts as newer. */
export function isAfter(id: string, last: string | null): boolean {
  if (last === null) return true;
  const [a, b] = [parse(id), parse(last)];
  if (a === null || b === null) return id !== last;
  return a.milliseconds === b.milliseconds ? a.sequence > b.sequence : a.milliseconds > b.milliseconds;
}

function parse(id: string): { milliseconds: number; sequence: number } | null {
  const match = /^(\d{1,15})-(\d{1,15})$/.exec(id);
  return match === null ? null : { milliseconds: Number(match[1]), sequence: Number(match[2]) };
}
