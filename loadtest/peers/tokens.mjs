// Verifies the clients' tokens, for the servers in Node.
import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";

/** A function that returns the user of a token that HS256 signed and that has not expired, or undefined. */
export function verifier(secretFile) {
  const secret = readFileSync(secretFile, "utf8").replace(/[\r\n]+$/, "");
  return (token) => {
    const [head, claims, signature] = (token ?? "").split(".");
    const expected = createHmac("sha256", secret).update(`${head}.${claims}`).digest();
    const given = Buffer.from(signature ?? "", "base64url");
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
    const decode = (part) => JSON.parse(Buffer.from(part, "base64url").toString());
    if (decode(head).alg !== "HS256") return undefined;
    const { exp, user_id: user } = decode(claims);
    return exp * 1000 > Date.now() && user !== undefined ? String(user) : undefined;
  };
}
