
/** How the page writes numbers, sizes and times. */
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clockTime = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const dayAndTime = new Intl.DateTimeFormat([], {
  month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});

const count = (number) => whole.format(number);
const rate = (number) => (number < 100 ? tenths : whole).format(number);
const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(Math.floor(Math.log2(Math.max(number, 1)) / 10), units.length - 1);
  const value = number / 1024 ** power;
  return `${(value < 10 && power > 0 ? tenths : whole).format(value)} ${units[power]}`;
}

const milliseconds = (ms) => (ms >= 1000 ? `${tenths.format(ms / 1000)} s` : `${ms} ms`);

/** "3 d 4 h": the two largest units. */
function duration(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, length]) => seconds >= length);
  if (first < 0) return "0 s";
  let rest = seconds;
  return units.slice(first, first + 2).flatMap(([unit, length]) => {
    const times = Math.floor(rest / length);
    rest -= times * length;
    return times > 0 ? [`${times} ${unit}`] : [];
  }).join(" ");
}
