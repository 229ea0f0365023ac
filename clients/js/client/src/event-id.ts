// The order of event ids. Idlewild's are `<ms>-<seq>` and rise strictly within a log.

/** Whether `id` comes after `last`; ids of another shape have no order and count as newer unless they are the same. */
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
