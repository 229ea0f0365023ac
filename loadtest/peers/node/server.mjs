// A hub for Server-Sent Events with plain `node:http`, and one worker per core as `node:cluster` recommends. Each worker
// keeps its clients in a map by user. The primary passes each event to all workers. `POST /publish/` needs no key.
import cluster from "node:cluster";
import { createServer } from "node:http";
import { availableParallelism } from "node:os";
import { verifier } from "../tokens.mjs";

const [port, secretFile] = process.argv.slice(2);
const PING_MS = 30_000;
/** Bytes that may wait for a client. One that does not keep up is disconnected. */
const MOST_WAITING_BYTES = 1 << 20;

if (cluster.isPrimary) {
  for (let worker = 0; worker < availableParallelism(); worker++) cluster.fork();
  cluster.on("message", (_, event) => {
    for (const worker of Object.values(cluster.workers)) worker.send(event);
  });
  cluster.on("exit", (worker, code) => {
    console.error(`worker ${worker.id} has ended with ${code}`);
    process.exit(1);
  });
  process.on("SIGTERM", () => process.exit(0)); // the workers end with their channel
} else {
  serve();
}

function serve() {
  const userOf = verifier(secretFile);
  const clients = new Set();
  const users = new Map();

  const send = (responses, frame) => {
    for (const response of responses) {
      if (response.writableLength > MOST_WAITING_BYTES) response.destroy();
      else response.write(frame);
    }
  };

  const stream = (url, response) => {
    const user = userOf(url.searchParams.get("token"));
    if (user === undefined) return response.writeHead(401).end();
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
    response.flushHeaders();
    const own = users.get(user) ?? new Set();
    users.set(user, own.add(response));
    clients.add(response);
    response.on("close", () => {
      clients.delete(response);
      own.delete(response);
      if (own.size === 0) users.delete(user);
    });
  };

  const publish = (request, response) => {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (part) => (body += part));
    request.on("end", () => {
      const { user, message } = JSON.parse(body);
      process.send({ user, frame: `data: ${JSON.stringify(message)}\n\n` });
      response.writeHead(202).end();
    });
  };

  process.on("message", ({ user, frame }) => {
    // Encoded once for all clients.
    send(user === undefined ? clients : (users.get(user) ?? []), Buffer.from(frame));
  });
  process.on("disconnect", () => process.exit(0));
  setInterval(() => send(clients, "event: heartbeat\ndata: {}\n\n"), PING_MS);

  createServer((request, response) => {
    const url = new URL(request.url, "http://localhost");
    if (request.method === "GET" && url.pathname === "/events/") stream(url, response);
    else if (request.method === "POST" && url.pathname === "/publish/") publish(request, response);
    else response.writeHead(404).end();
  }).listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
}
