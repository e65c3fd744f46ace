// A receiver of webhooks that checks their signatures with its own code (https://www.standardwebhooks.com).
import { createHmac, timingSafeEqual } from 'node:crypto';
import http from 'node:http';
import { after } from 'node:test';
import { until } from '../../e2e/support/serve.mjs';

export function verify(secret, { headers, text }) {
  const key = Buffer.from(secret.slice('whsec_'.length), 'base64');
  const signed = createHmac('sha256', key).update(`${headers['webhook-id']}.${headers['webhook-timestamp']}.${text}`).digest();
  const age = Math.abs(Date.now() / 1000 - Number(headers['webhook-timestamp']));
  return age < 60 && headers['webhook-signature'].split(' ').some((one) => {
    const [version, value] = one.split(',');
    const theirs = Buffer.from(value ?? '', 'base64');
    return version === 'v1' && theirs.length === signed.length && timingSafeEqual(theirs, signed);
  });
}

// answer(n, message) gives the status, or [status, headers], of the n-th message; null: never.
export async function receiver(answer = () => 200) {
  const messages = [];
  const server = http.createServer((request, reply) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      const text = Buffer.concat(parts).toString();
      const message = { method: request.method, path: request.url, headers: request.headers, text, at: Date.now() };
      try { message.body = JSON.parse(text); } catch { message.body = null; }
      messages.push(message);
      const said = answer(messages.length, message);
      if (said === null) return;
      const [status, headers] = [said].flat();
      reply.writeHead(status, headers).end('thank you');
    });
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  after(() => { server.closeAllConnections(); server.close(); });
  return {
    messages, server, port: server.address().port, url: `http://127.0.0.1:${server.address().port}/hook`,
    received: (n, options) => until(() => messages.length >= n && messages, options),
  };
}
