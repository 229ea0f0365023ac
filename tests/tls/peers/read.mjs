// Requests a URL and prints the body as it arrives: read.mjs URL CA CIPHER. A body without its last chunk is an error.

import { readFileSync } from "node:fs";
import { get } from "node:https";
import { pipeline } from "node:stream/promises";

const [url, ca, ciphers] = process.argv.slice(2);
get(url, { ca: readFileSync(ca), ciphers, minVersion: "TLSv1.3", agent: false }, async (response) => {
  console.error(response.socket.getProtocol(), response.socket.getCipher().name);
  await pipeline(response, process.stdout);
});
