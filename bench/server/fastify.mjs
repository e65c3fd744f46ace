// What one would write in Node for GET /status: Fastify with a schema (its fast serialiser), better-sqlite3 with a prepared statement.
import Database from 'better-sqlite3';
import Fastify from 'fastify';

const [port, file] = process.argv.slice(2);
const db = new Database(file);
db.pragma('mmap_size = 1073741824');
const find = db.prepare('SELECT id, status, verdict, p, error_code FROM analyses WHERE id = ?');
const app = Fastify({ logger: false });
const text = { type: ['string', 'null'] }, number = { type: ['number', 'null'] };
const reply = { 200: { type: 'object', properties: { id: text, status: text, progress: number, probability: number, verdict: text, error: text } } };
app.get('/status', { schema: { response: reply } }, (request, answer) => {
  const a = find.get(request.query.id);
  if (!a) return answer.code(404).send({ code: 'no_such' });
  const done = a.status === 'done';
  return answer.send({ id: a.id, status: a.status, progress: done ? 1 : null, probability: done ? a.p : null, verdict: a.verdict, error: a.error_code });
});
await app.listen({ port: Number(port), host: '127.0.0.1' });
process.on('SIGTERM', () => process.exit(0));
