// npm `ws` in either role, for scripts/autobahn --reference. `server`: sends every message back and prints where it listens.
// `client --url URL`: runs every case of a fuzzing server, one after the other.
const { WebSocket, WebSocketServer } = require("ws");

// The suite's messages compress from the first byte on, and are 16 MiB at most.
const options = { perMessageDeflate: { threshold: 0 }, maxPayload: 32 << 20 };

function echo(socket) {
  socket.on("message", (data, binary) => socket.send(data, { binary }));
  // A case that breaks the protocol ends its own connection only.
  socket.on("error", () => {});
}

function serve() {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, ...options });
  server.on("listening", () => console.log(`listening on ws://127.0.0.1:${server.address().port}`));
  server.on("connection", echo);
}

function open(url) {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, options);
    let said = "";
    echoUnlessAsked(socket, url, (text) => (said = text));
    socket.on("close", () => resolve(said));
  });
}

function echoUnlessAsked(socket, url, tell) {
  if (url.includes("/runCase")) return echo(socket);
  socket.on("message", (data) => tell(data.toString()));
  socket.on("error", (error) => { throw error; });
}

async function runCases(url) {
  const count = Number(await open(`${url}/getCaseCount`));
  for (let number = 1; number <= count; number += 1) await open(`${url}/runCase?case=${number}&agent=ws`);
  await open(`${url}/updateReports?agent=ws`);
}

if (process.argv[2] === "server") serve();
else runCases(process.argv[4]);
