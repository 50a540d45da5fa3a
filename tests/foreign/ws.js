// npm `ws` as a client. Arguments: URL, number of messages, requests to send first. Prints each message on a line, then
// pings, then closes and prints how that went. DEFLATE_PARAMETERS: what of permessage-deflate is offered (JSON); DEFLATE:
// whether it must be `agreed` or `declined`.
const path = require("node:path");
const { WebSocket } = require(path.join(process.env.NODE_PARTS, "ws"));

const [url, count, ...requests] = process.argv.slice(2);
const { DEFLATE, DEFLATE_PARAMETERS } = process.env;
const offer = DEFLATE_PARAMETERS ? { threshold: 0, ...JSON.parse(DEFLATE_PARAMETERS) } : true;
const client = new WebSocket(url, "tidegate.v1", { perMessageDeflate: offer });
let left = Number(count);

client.on("open", () => {
  if (client.protocol !== "tidegate.v1") throw new Error(`subprotocol ${client.protocol}`);
  const agreed = client.extensions.startsWith("permessage-deflate") ? "agreed" : "declined";
  if (DEFLATE && agreed !== DEFLATE) throw new Error(`permessage-deflate: ${agreed}, ${client.extensions}`);
  requests.forEach((request) => client.send(request));
});
client.on("message", (data, binary) => {
  if (left === 0) return;
  console.log(binary ? data.toString("hex") : data.toString());
  left -= 1;
  if (left === 0) client.ping("are you there");
});
client.on("pong", (data) => {
  console.log(`pong ${data}`);
  client.close(1000, "enough");
});
client.on("close", (code) => console.log(`closed ${code}`));
client.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
