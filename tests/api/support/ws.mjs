// A small client for WebSockets (RFC 6455) over a plain socket, so that tests can send what no library would.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import net from 'node:net';

// One frame. Clients mask; `mask: false` and `rsv` are for wrong ones.
export function frame(opcode, payload = Buffer.alloc(0), { fin = true, mask = true, rsv = 0, length } = {}) {
  const bytes = Buffer.from(payload), size = length ?? bytes.length;
  const head = [(fin ? 0x80 : 0) | (rsv << 4) | opcode];
  if (size < 126) head.push((mask ? 0x80 : 0) | size);
  else if (size < 65536) head.push((mask ? 0x80 : 0) | 126, size >> 8, size & 255);
  else head.push((mask ? 0x80 : 0) | 127, 0, 0, 0, 0, (size >>> 24) & 255, (size >>> 16) & 255, (size >>> 8) & 255, size & 255);
  if (!mask) return Buffer.concat([Buffer.from(head), bytes]);
  const key = randomBytes(4), masked = Buffer.from(bytes.map((b, i) => b ^ key[i & 3]));
  return Buffer.concat([Buffer.from(head), key, masked]);
}

// Opens a WebSocket; resolves with { status } when the server refuses.
//   { status, headers, messages, send(object), write(bytes), next(pick), close(), closed }
// messages: every object so far. closed: a promise of { code, reason } (code null: the connection just ended).
export function connect(server, path = '/api/v1/events', { headers = {}, key = randomBytes(16).toString('base64'), timeout = 20_000 } = {}) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(server.port, '127.0.0.1');
    socket.setNoDelay(true);
    const all = { Host: `127.0.0.1:${server.port}`, Upgrade: 'websocket', Connection: 'Upgrade', 'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': key, ...headers };
    socket.write(`GET ${path} HTTP/1.1\r\n${Object.entries(all).filter(([, v]) => v !== undefined).map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n`);
    let buffer = Buffer.alloc(0), open = false, finish;
    const messages = [], waiting = [], pongs = [];
    const closed = new Promise((done) => { finish = done; });
    const ws = {
      messages, closed, pongs, socket,
      send: (object) => socket.write(frame(1, Buffer.from(JSON.stringify(object)))),
      write: (bytes) => socket.write(bytes),
      // The next message, from those that were not picked yet, that `pick` likes.
      next(pick = () => true, ms = timeout) {
        const look = () => {
          const at = messages.findIndex((m) => !m.picked && pick(m.value));
          if (at < 0) return undefined;
          messages[at].picked = true;
          return messages[at].value;
        };
        const found = look();
        if (found) return Promise.resolve(found);
        return new Promise((done, fail) => {
          const timer = setTimeout(() => fail(new Error(`no such message; there were ${JSON.stringify(messages.map((m) => m.value)).slice(0, 600)}`)), ms);
          waiting.push(() => {
            const one = look();
            if (one) { clearTimeout(timer); done(one); }
            return !!one;
          });
        });
      },
      close(code = 1000) { socket.write(frame(8, Buffer.from([code >> 8, code & 255]))); return closed; },
      drop() { socket.destroy(); },
    };
    const take = () => {
      while (buffer.length >= 2) {
        const opcode = buffer[0] & 15;
        let size = buffer[1] & 127, at = 2;
        assert.equal(buffer[1] & 128, 0, 'a server does not mask');
        if (size === 126) { if (buffer.length < 4) return; size = buffer.readUInt16BE(2); at = 4; }
        else if (size === 127) { if (buffer.length < 10) return; size = Number(buffer.readBigUInt64BE(2)); at = 10; }
        if (buffer.length < at + size) return;
        const payload = buffer.subarray(at, at + size);
        buffer = buffer.subarray(at + size);
        if (opcode === 1) {
          messages.push({ value: JSON.parse(payload.toString()), picked: false });
          for (let i = 0; i < waiting.length; i++) if (waiting[i]()) waiting.splice(i--, 1);
        } else if (opcode === 9) socket.write(frame(10, payload));
        else if (opcode === 10) pongs.push(Buffer.from(payload));
        else if (opcode === 8) { finish({ code: payload.length >= 2 ? payload.readUInt16BE(0) : null, reason: payload.subarray(2).toString() }); socket.end(frame(8, payload.subarray(0, 2))); }
      }
    };
    socket.on('data', (chunk) => {
      buffer = Buffer.concat([buffer, chunk]);
      if (!open) {
        const end = buffer.indexOf('\r\n\r\n');
        if (end < 0) return;
        const head = buffer.subarray(0, end).toString().split('\r\n');
        ws.status = Number(head[0].split(' ')[1]);
        ws.headers = Object.fromEntries(head.slice(1).map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]));
        buffer = buffer.subarray(end + 4);
        if (ws.status !== 101) {
          const size = Number(ws.headers['content-length'] ?? 0);
          const rest = () => { if (buffer.length >= size) { ws.text = buffer.toString(); ws.body = ws.text ? JSON.parse(ws.text) : null; socket.destroy(); resolve(ws); return true; } return false; };
          open = true;
          if (!rest()) socket.on('data', rest);
          return;
        }
        open = true;
        const expected = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
        if (ws.headers['sec-websocket-accept'] !== expected) { reject(new Error('a wrong Sec-WebSocket-Accept')); return; }
        resolve(ws);
      }
      if (ws.status === 101) take();
    });
    socket.on('error', (error) => { if (!open) reject(error); finish({ code: null, reason: String(error) }); });
    socket.on('close', () => { if (!open) reject(new Error('closed before an answer')); finish({ code: null, reason: 'closed' }); });
  });
}

// A ticket, a connection, the hello and its welcome.
export async function listen(api, { after } = {}) {
  const { body } = await api.post('/api/v1/events/tickets');
  const ws = await connect(api.server);
  assert.equal(ws.status, 101);
  ws.send({ type: 'hello', ticket: body.ticket, ...(after === undefined ? {} : { after }) });
  ws.welcome = await ws.next((m) => m.type === 'welcome');
  return ws;
}
