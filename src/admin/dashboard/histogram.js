
/** How many events took how long, in the server's buckets. */
class Histogram {
  constructor(id) {
    this.box = $(id);
    this.box.setAttribute("role", "img");
  }

  /** `buckets` are `{le_ms, count}`, the last without a bound. */
  show(buckets) {
    const most = Math.max(1, ...buckets.map((bucket) => bucket.count));
    const longest = buckets.at(-2).le_ms;
    this.box.replaceChildren(...buckets.map(({ le_ms, count: events }) => {
      const number = make("span", { className: "count" }, events ? compact.format(events) : "");
      const bar = make("div", { className: "bar" }, number);
      bar.style.height = `${(events / most) * 100}%`;
      const bound = le_ms === null ? `>${shortTime(longest)}` : shortTime(le_ms);
      return make("div", {
        className: events ? "bin" : "bin is-empty",
        title: `${plural(events, "event", "events")} ${atMost(le_ms, longest)}`,
      },
      make("div", { className: "space" }, bar),
      make("span", { className: "bound" }, bound));
    }));
    const [p50, p99] = [0.5, 0.99].map((part) => quantile(buckets, part));
    say($("p50"), p50);
    say($("p99"), p99);
    const all = buckets.reduce((sum, bucket) => sum + bucket.count, 0);
    this.box.setAttribute("aria-label", `${plural(all, "event", "events")}; half of them ${p50}, 99 % ${p99}`);
  }
}

const shortTime = (ms) => (ms >= 1000 ? `${ms / 1000}s` : `${ms}ms`);
const atMost = (ms, longest) => (ms === null ? `> ${milliseconds(longest)}` : `≤ ${milliseconds(ms)}`);

/** The bound of the bucket that holds it: more is not known. */
function quantile(buckets, part) {
  const all = buckets.reduce((sum, bucket) => sum + bucket.count, 0);
  if (all === 0) return "–";
  let below = 0;
  const bucket = buckets.find(({ count: events }) => (below += events) >= all * part);
  return atMost(bucket.le_ms, buckets.at(-2).le_ms);
}
