// `ws` on Node as its README has it: bufferutil beside it ("opt-in for performance"; utf-8-validate is for Node before
// 18.14 only), no compression, a broadcast that sends to each client in turn. Paths as in the other peers.
//
//   node server.js PORT
"use strict";
const { WebSocketServer } = require(require.resolve("ws", { paths: [process.cwd()] }));

const subscribers = new Map();

function publish(topic, message, binary) {
  for (const client of subscribers.get(topic) ?? []) client.send(message, { binary });
}

function subscribe(client, topics) {
  for (const topic of topics) {
    if (!subscribers.has(topic)) subscribers.set(topic, new Set());
    subscribers.get(topic).add(client);
  }
  client.on("close", () => topics.forEach((topic) => subscribers.get(topic).delete(client)));
}

const options = { host: "127.0.0.1", port: Number(process.argv[2] ?? 9300), perMessageDeflate: false, clientTracking: false };
const server = new WebSocketServer(options, () => console.log(`clients  ws://127.0.0.1:${server.address().port}`));
server.on("connection", (client, request) => {
  const { pathname, searchParams } = new URL(request.url, "ws://peer");
  client.on("error", () => client.terminate());
  if (pathname === "/echo") {
    client.on("message", (message, binary) => client.send(message, { binary }));
  } else if (pathname === "/publish") {
    client.on("message", (message, binary) => {
      const end = message.indexOf(10);
      publish(message.toString("utf8", 0, end), message.subarray(end + 1), binary);
    });
  } else if (pathname.startsWith("/publish/")) {
    const topic = pathname.slice("/publish/".length);
    client.on("message", (message, binary) => publish(topic, message, binary));
  } else {
    const names = searchParams.get("streams") ?? pathname.replace(/^\/(ws\/)?/, "");
    subscribe(client, names.split("/").filter(Boolean));
  }
});
