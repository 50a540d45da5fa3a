// Bun's WebSocket server (uWebSockets inside) with its own publish and subscribe. `/publish` takes messages in, `/echo`
// sends them back, whoever asks for another path gets every publication.
const port = Number(process.argv[2] ?? 9200);

const server = Bun.serve({
  hostname: "127.0.0.1",
  port,
  fetch(request, server) {
    const { pathname } = new URL(request.url);
    const job = pathname.startsWith("/publish") ? "publish" : pathname === "/echo" ? "echo" : "subscribe";
    return server.upgrade(request, { data: { job } }) ? undefined : new Response("a WebSocket is wanted", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    backpressureLimit: 16 << 20,
    open(client) {
      if (client.data.job === "subscribe") client.subscribe("all");
    },
    message(client, message) {
      if (client.data.job === "publish") server.publish("all", message);
      else if (client.data.job === "echo") client.send(message);
    },
  },
});

console.log(`clients  ws://127.0.0.1:${server.port}`);
