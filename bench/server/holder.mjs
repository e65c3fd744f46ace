// Holds connections open until standard input ends: `idle` ones have had one answer and wait for the next request, `ws`
// ones are WebSockets that have said hello.   node holder.mjs idle|ws PORT COUNT
import net from 'node:net';
import { randomBytes } from 'node:crypto';

const [kind, port, count] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const PARALLEL = 64, sockets = [];

function open(ask, enough) {
  return new Promise((done, fail) => {
    const s = net.connect(port, '127.0.0.1', () => s.write(ask));
    let text = '';
    s.on('data', (chunk) => {
      if (text === null) return; // events and pings: nobody listens
      text += chunk.toString('latin1');
      if (enough(text)) { text = null; done(s); }
    });
    s.on('error', fail);
    s.on('close', () => { if (text !== null) fail(new Error(`closed: ${text}`)); });
  });
}
const host = `Host: 127.0.0.1:${port}\r\n`;
const idle = () => open(`GET /healthz HTTP/1.1\r\n${host}\r\n`, (text) => text.endsWith('ok\n'));
async function ws() {
  const reply = await fetch(`http://127.0.0.1:${port}/api/v1/events/tickets`, { method: 'POST' });
  const { ticket } = await reply.json();
  return open(`GET /api/v1/events?ticket=${encodeURIComponent(ticket)} HTTP/1.1\r\n${host}Connection: Upgrade\r\nUpgrade: websocket\r\n` +
    `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`, (text) => text.includes('"welcome"'));
}
let next = 0;
await Promise.all(Array.from({ length: PARALLEL }, async () => {
  while (next++ < count) sockets.push(await (kind === 'ws' ? ws() : idle()));
}));
process.stdout.write('ready\n');
process.stdin.on('end', () => process.exit(0)).resume();
