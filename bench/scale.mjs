// What so many uploads a second take, from what was measured (docs/scaling.md): processors for each role and server, what the
// one writer has to do, and whether it can.   node bench/scale.mjs [uploads/s [seconds of speech [round trip ms]]]
const [rate = 1000, seconds = 10, rtt = 0.5] = process.argv.slice(2).map(Number);
// Milliseconds of CPU for each recording of 10 s (wav), as bench/cluster.mjs measures; the network and decoding grow with length.
const cost = { upload: 1.8, rest: 2.1, keeper: 0.1, analyse: 17.4, postgres: 3.5, rabbitmq: 2.6, redis: 0.2 };
// Of the writer: milliseconds under the lock for each transaction of a full group beside the server, and round trips under it.
const write = { accept: { own: 0.3, trips: 2 }, checked: { own: 0.3, trips: 3 }, start: { own: 0.25, trips: 3 }, finish: { own: 0.4, trips: 3 }, relay: { own: 0.1, trips: 0.1 } };
const full = 0.7; // of a core's time, or of the writer's, at most
const megabytes = 0.032 * seconds;
const cores = (ms) => (rate * ms / 1000 / full);
const analyse = cost.analyse * seconds / 10;
const rows = [
  ['upload', cores(cost.upload), 'cores'],
  ['inference, decoding and network', cores(analyse), 'cores'],
  ['inference, the rest', cores(cost.rest), 'cores'],
  ['keeper', cores(cost.keeper), 'cores'],
  ['PostgreSQL', cores(cost.postgres), 'cores'],
  ['RabbitMQ', cores(cost.rabbitmq), 'cores'],
  ['Redis', cores(cost.redis), 'cores'],
  ['S3: put', rate, '1/s'], ['S3: get', rate, '1/s'], ['S3: head', rate, '1/s'],
  ['S3: in, and out again', rate * megabytes, 'MB/s each'], ['S3: kept in 30 days', rate * megabytes * 86400 * 30 / 1e6, 'TB'],
  ['RabbitMQ: messages', rate * 2, '1/s'], ['Redis: bells, at most 50/s from each process', 50, '1/s'],
];
for (const [name, value, unit] of rows) console.log(`${name.padEnd(48)} ${value >= 100 ? Math.round(value) : value.toFixed(1)} ${unit}`);
const own = Object.values(write).reduce((sum, w) => sum + w.own, 0), trips = Object.values(write).reduce((sum, w) => sum + w.trips, 0);
const near = full * 1000 / own, far = full * 1000 / (own + trips * rtt), single = full * 1000 / (own + 4 * rtt);
console.log(`one writer, whole jobs: ${Math.round(near)}/s beside the server, ${Math.round(far)}/s at ${rtt} ms, ${Math.round(single)}/s there with one trip for each transaction`);
console.log(`writers for ${rate}/s: ${Math.ceil(rate / near)}, ${Math.ceil(rate / far)}, ${Math.ceil(rate / single)}`);
