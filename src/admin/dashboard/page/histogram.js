
/** How many events took how long, in the server's buckets. */
class Histogram {
  constructor(id) {
    this.box = $(id);
    this.box.setAttribute("role", "img");
    this.bins = [];
  }

  /** `buckets` are `{le_ms, count}`, the last without a bound. */
  show(buckets) {
    if (this.bins.length !== buckets.length) this.build(buckets);
    const most = Math.max(1, ...buckets.map((bucket) => bucket.count));
    buckets.forEach(({ le_ms, count: events }, at) => {
      const { bin, bar, number } = this.bins[at];
      bin.classList.toggle("is-empty", events === 0);
      bin.title = `${plural(events, "event", "events")} ${atMost(le_ms, longest(buckets))}`;
      bar.style.height = `${(events / most) * 100}%`;
      say(number, events ? compact.format(events) : "");
    });
    const [p50, p99] = [0.5, 0.99].map((part) => quantile(buckets, part));
    say($("p50"), p50);
    say($("p99"), p99);
    const all = plural(sum(buckets), "event", "events");
    this.box.setAttribute("aria-label", `${all}; half of them ${p50}, 99 % ${p99}`);
  }

  build(buckets) {
    this.bins = buckets.map(({ le_ms }) => {
      const number = make("span", { className: "count" });
      const bar = make("div", { className: "bar" }, number);
      const bound = le_ms === null ? `>${shortTime(longest(buckets))}` : shortTime(le_ms);
      const bin = make("div", { className: "bin" },
        make("div", { className: "space" }, bar),
        make("span", { className: "bound" }, bound));
      return { bin, bar, number };
    });
    this.box.replaceChildren(...this.bins.map(({ bin }) => bin));
  }
}

const sum = (buckets) => buckets.reduce((all, bucket) => all + bucket.count, 0);
const longest = (buckets) => buckets.at(-2).le_ms;
const shortTime = (ms) => (ms >= 1000 ? `${ms / 1000}s` : `${ms}ms`);
const atMost = (ms, longestMs) => (ms === null ? `> ${milliseconds(longestMs)}` : `≤ ${milliseconds(ms)}`);

/** The bound of the bucket that holds it: more is not known. */
function quantile(buckets, part) {
  const rank = sum(buckets) * part;
  if (rank === 0) return "–";
  let below = 0;
  const bucket = buckets.find(({ count: events }) => (below += events) >= rank);
  return atMost(bucket.le_ms, longest(buckets));
}
