// The accessibility rules of axe-core.

import assert from "node:assert/strict";
import axe from "axe-core";

const WIDE = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 844 };

/** Checks that axe-core reports nothing about a page, light and dark, wide and on a phone, and that the page fits. */
export async function assertAccessible(page) {
  await page.evaluate(axe.source);
  for (const viewport of [WIDE, PHONE]) {
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      const [problems, overflow] = await page.evaluate(async () => {
        const { violations } = await globalThis.axe.run(document);
        return [
          violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(" ")}`)),
          document.documentElement.scrollWidth - window.innerWidth,
        ];
      });
      assert.deepEqual(problems, [], `${colorScheme}, ${viewport.width} px wide`);
      assert.ok(overflow <= 0, `${colorScheme}: ${overflow} px wider than ${viewport.width} px`);
    }
  }
}
