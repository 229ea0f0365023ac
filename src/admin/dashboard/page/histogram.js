
/** How many events took how long, in the server's buckets: `{le_ms, count}`, the last without a bound. */
class Histogram {
  constructor(id) {
    this.box = $(id);
    this.box.setAttribute("role", "img");
    this.bins = [];
  }

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
const atMost = (ms, longestMs) => (ms === null || ms > longestMs ? `> ${milliseconds(longestMs)}` : `≤ ${milliseconds(ms)}`);

/** The upper bound of the bucket that contains a quantile; null without events. The last bucket has no bound and gets
 *  twice its lower one. */
function quantileMs(buckets, part) {
  const rank = sum(buckets) * part;
  if (rank === 0) return null;
  let below = 0;
  return buckets.find(({ count: events }) => (below += events) >= rank).le_ms ?? 2 * longest(buckets);
}

function quantile(buckets, part) {
  const ms = quantileMs(buckets, part);
  return ms === null ? "–" : atMost(ms, longest(buckets));
}
