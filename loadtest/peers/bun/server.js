// Bun's WebSocket server (uWebSockets inside) with its own publish and subscribe, as its documentation has it: topics are
// Bun's, messages are published natively, compression is `perMessageDeflate` with the compress flag of each message.
//
//   bun server.js PORT [--deflate] [--tls CERTIFICATE KEY]
//
// Whoever connects to /ws/TOPIC hears that topic, to /stream?streams=A/B those; every message from /publish/TOPIC goes to
// all who hear it, from /publish a message is the topic, a line feed and the payload; /echo sends back.
const [port = "9200", ...flags] = process.argv.slice(2);
const deflate = flags.includes("--deflate");
const identity = flags.indexOf("--tls");
const tls = identity < 0 ? undefined : { cert: Bun.file(flags[identity + 1]), key: Bun.file(flags[identity + 2]) };

function roleOf(url) {
  const { pathname, searchParams } = new URL(url);
  if (pathname === "/echo") return { echo: true };
  if (pathname.startsWith("/publish")) return { publish: true, topic: pathname.slice("/publish/".length) };
  const names = searchParams.get("streams") ?? pathname.replace(/^\/(ws\/)?/, "");
  return { topics: names.split("/").filter(Boolean) };
}

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(port),
  tls,
  fetch(request, server) {
    return server.upgrade(request, { data: roleOf(request.url) }) ? undefined : new Response("a WebSocket is wanted", { status: 426 });
  },
  websocket: {
    perMessageDeflate: deflate,
    backpressureLimit: 16 << 20,
    open(client) {
      for (const topic of client.data.topics ?? []) client.subscribe(topic);
    },
    message(client, message) {
      const { echo, publish, topic } = client.data;
      if (echo) client.send(message, deflate);
      else if (publish && topic) server.publish(topic, message, deflate);
      else if (publish) {
        const end = message.indexOf("\n");
        server.publish(message.slice(0, end).toString(), message.slice(end + 1), deflate);
      }
    },
  },
});

console.log(`clients  ${tls ? "wss" : "ws"}://127.0.0.1:${server.port}`);
