
/** Scales of plots: for the highest value, the ticks and each value's share of the height. */
const linearScale = (base) => (highest, height) => {
  const step = roundStep(highest / (height > 120 ? 3 : 1.5), base);
  const steps = Math.max(1, Math.ceil(highest / step));
  return {
    ticks: Array.from({ length: steps + 1 }, (_, at) => at * step),
    share: (value) => value / (steps * step),
  };
};

/** For milliseconds: 1 ms at the bottom, and the same height for each power of ten. */
const logScale = (highest) => {
  const decades = Math.max(1, Math.ceil(Math.log10(highest)));
  return {
    ticks: Array.from({ length: decades + 1 }, (_, power) => 10 ** power),
    share: (ms) => Math.log10(Math.max(ms, 1)) / decades,
  };
};

/** 1, 2 or 5 times a power of ten, or a power of two for base 1024: at least `least`, and never below 1. */
function roundStep(least, base) {
  const steps = base === 10 ? [1, 2, 5, 10] : [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
  const power = base ** Math.floor(Math.log(Math.max(least, 1)) / Math.log(base));
  return steps.map((step) => step * power).find((step) => step >= least);
}
