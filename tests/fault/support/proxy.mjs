// A TCP proxy between sonde and one of its servers, for what a network does: cut (connections end, new ones are closed at
// once), stall (nothing passes, nothing ends), delay. Its port is known before its target is: a configuration names it
// before the server has started.
import { connect, createServer } from 'node:net';
import { once } from 'node:events';

export async function proxy() {
  const pairs = new Set();
  const one = { target: null, mode: 'pass', ms: 0, passed: 0 };
  const listener = createServer({ pauseOnConnect: true }, (client) => {
    client.on('error', () => {});
    if (one.mode === 'cut') return client.destroy();
    if (one.mode === 'stall') return void waiting.add(client);
    return join(client);
  });
  const waiting = new Set(); // connected while nothing passes

  // What comes from one end goes to the other, in order, each piece after the delay of its moment.
  function pipe(from, to) {
    let last = 0;
    from.on('data', (chunk) => {
      one.passed += chunk.length;
      const at = Math.max(performance.now() + one.ms, last);
      last = at;
      const send = () => { if (!to.destroyed && !to.write(chunk)) { from.pause(); to.once('drain', () => { if (one.mode !== 'stall') from.resume(); }); } };
      if (one.ms || at > performance.now()) setTimeout(send, at - performance.now()); else send();
    });
    from.on('end', () => setTimeout(() => to.end(), Math.max(0, last - performance.now())));
  }

  function join(client) {
    const server = connect(one.target, '127.0.0.1');
    const pair = { client, server };
    pairs.add(pair);
    for (const [end, other] of [[client, server], [server, client]]) {
      end.setNoDelay(true);
      end.on('error', () => other.destroy());
      end.on('close', () => { other.destroy(); pairs.delete(pair); });
      pipe(end, other);
    }
    client.resume();
  }

  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  one.port = listener.address().port;
  const each = (f) => { for (const { client, server } of pairs) { f(client); f(server); } };
  one.cut = () => { one.mode = 'cut'; each((socket) => socket.destroy()); };
  one.stall = () => { one.mode = 'stall'; each((socket) => socket.pause()); };
  one.delay = (ms) => { one.ms = ms; };
  one.pass = () => {
    one.mode = 'pass';
    one.ms = 0;
    each((socket) => socket.resume());
    for (const client of waiting) { waiting.delete(client); if (!client.destroyed) join(client); }
  };
  one.stop = () => { one.cut(); for (const client of waiting) client.destroy(); return new Promise((done) => { listener.close(done); }); };
  return one;
}
